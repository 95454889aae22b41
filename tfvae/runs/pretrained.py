"""Models that come with the package."""

import tensorflow as tf

from tfvae import recipes
from tfvae.support import checks, files
from tfvae.support.rules import checked
from tfvae.support.weights import model_variables


@checked
def pretrained(name: str):
    """A `VAE` that comes with the package, trained, not compiled: the one of `saved_models/NAME/1`.

    >>> tfvae.pretrained("digits").latent_size
    8

    ValueError for an unknown name; the message lists those that there are.
    """
    exports = {path.parent.parent.name: path.parent for path in files.course().glob("saved_models/*/1/model_card.json")}
    checks.check_name("name", name, sorted(exports))
    recipe = recipes.Recipe.from_dict(files.read_json(exports[name] / "model_card.json")["recipe"])
    vae = recipes.build(recipe)
    weights = tf.train.load_checkpoint(str(exports[name] / "variables" / "variables"))
    for i, variable in enumerate(model_variables(vae)):
        variable.assign(weights.get_tensor(f"variables_of_the_model/{i}/.ATTRIBUTES/VARIABLE_VALUE"))
    return vae
