"""The fields of a recipe, in order: these, and behind the name of each kind of piece the options of its pieces.

It needs no TensorFlow, so that `--help` answers at once.
"""

from tfvae.support import pieces
from tfvae.support.pieces import Option, option

# What only the data know: see `Recipe.complete`.
FILLED_IN = ("event_shape", "num_classes", "total_count")
BINARIZATIONS = (None, "static", "stochastic")
_FIELDS = {
    "data": option("mnist10k", "Images: {names}"),
    "binarize": option(
        None, "static (once), stochastic (fresh at each draw) or none: grey levels", of=str, one_of=BINARIZATIONS
    ),
    "validation_size": option(None, "Training images held out to choose by; 0 for none", of=int, least=0),
    "event_shape": option(None, "Of one image", of=tuple),
    "conditional": option(False, "Encoder and decoder read the labels: samples by class"),
    "num_classes": option(None, "Of a conditional model", of=int, least=2),
    "likelihood": option(None, "p(x|z): {names}; default: what fits the data", of=str),
    "total_count": option(None, "Of likelihoods of grey levels", of=int),
    "posterior": option("diagonal_normal", "q(z|x): {names}"),
    "prior": option("standard_normal", "p(z): {names}"),
    "latent_sizes": option(None, "Latents of each layer of bottom_up and top_down, data upwards: 100,50", of=tuple),
    "latent_size": option(8, "Dimensions of z", least=1),
    "network": option("mlp", "Network: {names}"),
    "activation": option("tanh", "Any Keras activation"),
    "objective": option("elbo", "What is maximised: {names}"),
    "num_samples": option(1, "Samples of z for each image and update; the k of iwae", least=1),
    "epochs": option(150, "Passes over the training images", least=1),
    "batch_size": option(64, "Images an update", least=1),
    "optimizer": option("adam", "Optimizer: {names}"),
    "learning_rate": option(2e-3, "Of the optimizer", above=0),
    "schedule": option("cosine", "Of the learning rate; cosine falls to a hundredth", one_of=("constant", "cosine")),
    "jit": option(None, "Compile training with XLA; default: where it pays", of=bool),
    "averaged_epochs": option(0, "Last epochs whose weights are averaged in the end", least=0),
    "mean_bias": option(False, "Start the decoder at the mean image"),
    "seed": option(0, "Of weights, order, binarization and noise", least=0, below=2**31),
}


def options() -> dict[str, Option]:
    """{field: `Option`} of all fields, with those of pieces that were declared since."""
    found = {}
    for name, one in _FIELDS.items():
        found[name] = one
        if name in pieces.KINDS:
            found |= {field: new for field, new in pieces.fields_of(name).items() if field not in found}
    return found


def help_of(name: str) -> str:
    """What a field means, for `--help`."""
    if name in pieces.KINDS:
        return _FIELDS[name].text.format(names=", ".join(pieces.of_kind(name)))
    return _FIELDS[name].text if name in _FIELDS else pieces.help_of(name)
