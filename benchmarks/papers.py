"""The published likelihoods of MNIST: each row of the table is trained and measured by a command.

    python benchmarks/papers.py vae-1               trains, measures and stores a row, or goes on where it was stopped
    python benchmarks/papers.py --evaluate vae-1    measures the stored weights again
    python benchmarks/papers.py --list              what is stored

A training lives in runs/papers/ and is saved after each epoch; kill it as you like. What is stored is in
benchmarks/results/: ROW.json and the weights, ROW.npz, rounded to half precision before they are measured.

The protocol is that of Burda et al. (2015, arXiv 1509.00519): all 60,000 training images, binarized anew at each
draw; the negative log-likelihood of all 10,000 test images, binarized once (by seed 0, whatever the training's), by
5,000 importance samples each.
"""

import datetime
import pathlib
import time

import click
import numpy as np
import tensorflow as tf
import tf_keras as tfk
from reports import RESULTS, machine
from tables import paper_rows

from tfvae import Recipe, build, diagnostics, linear, runs
from tfvae.support import files

RUNS = pathlib.Path("runs/papers")
NUM_SAMPLES = 5000
# Test images that are also measured by themselves, and stored, so that a quick check has something to compare with.
NUM_FIRST = 50
TEST_IMAGES = RESULTS / "test_images.npz"
FIELDS = ("nll", "mc_standard_error", "data_standard_error", "elbo", "active_units", "epochs", "minutes", "seed")

# Chosen on 5,000 images held out of the training set, before the row was measured.
ONE_LAYER = Recipe(
    data="mnist",
    binarize="stochastic",
    validation_size=0,
    latent_size=50,
    hidden_sizes=(200, 200),
    epochs=400,
    batch_size=400,
    optimizer="muon",
    learning_rate=8e-3,
    mean_bias=True,
    jit=False,
)
# 784-200-200-100-100-100-50.
TWO_LAYERS = ONE_LAYER.replace(
    posterior="bottom_up", prior="hierarchical", latent_sizes=(100, 50), layer_hidden_sizes=(100, 100)
)
IWAE_5 = {"objective": "dreg_iwae", "num_samples": 5}
# The samples grow in number over nine tenths of the training, which takes a third of the time.
IWAE_50 = {"objective": "dreg_iwae", "num_samples": 50, "warmup_steps": 54_000}
ROWS = {
    "vae-1": ONE_LAYER,
    "vae-1-adam": ONE_LAYER.replace(optimizer="adam", batch_size=100, learning_rate=3e-3, epochs=1100),
    "iwae-5": ONE_LAYER.replace(**IWAE_5),
    "iwae-5-plain": ONE_LAYER.replace(objective="iwae", num_samples=5),
    "iwae-50": ONE_LAYER.replace(**IWAE_50),
    "iwae-50-plain": ONE_LAYER.replace(objective="iwae", num_samples=50, jit=True),  # for a GPU, where XLA pays
    "2l-vae-1": TWO_LAYERS,
    "2l-iwae-5": TWO_LAYERS.replace(**IWAE_5),
    "2l-iwae-50": TWO_LAYERS.replace(**IWAE_50),
    "iaf": ONE_LAYER.replace(posterior="iaf"),
    "vamp": ONE_LAYER.replace(prior="vamp"),
    "iaf-vamp": ONE_LAYER.replace(posterior="iaf", prior="vamp"),
    "linear": ONE_LAYER.replace(
        **{"binarize": None, "likelihood": "normal", "hidden_sizes": (), "epochs": 30},
        **{"optimizer": "adam", "batch_size": 100, "learning_rate": 2e-3},
    ),
}


def recipe_of(row, seed, epochs=None):
    """A row's recipe, for a number of epochs other than its own if one is given."""
    recipe = ROWS[row]
    epochs = epochs or recipe.epochs
    changed = {"averaged_epochs": epochs // 10, "warmup_steps": recipe.warmup_steps * epochs // recipe.epochs}
    return recipe.replace(seed=seed, epochs=epochs, **changed)


class Clock(tfk.callbacks.Callback):
    """Adds up the time of a training over all its interruptions, and says now and then how far it is."""

    def __init__(self, path, epochs, every=10):
        super().__init__()
        self.path, self.epochs, self.every = path, epochs, every
        self.minutes = files.read_json(path) if path.exists() else {"minutes": 0.0, "processor_minutes": 0.0}

    def on_train_begin(self, logs=None):
        self.last = self._now()

    def on_epoch_end(self, epoch, logs=None):
        now = self._now()
        self.minutes = {name: total + now[name] - self.last[name] for name, total in self.minutes.items()}
        self.last = now
        files.write_json(self.path, self.minutes)
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.epochs:
            click.echo(f"epoch {epoch + 1}/{self.epochs}  elbo {logs['elbo']:.2f}  {self.minutes['minutes']:.1f} min")

    @staticmethod
    def _now():
        return {"minutes": time.perf_counter() / 60, "processor_minutes": time.process_time() / 60}


def train(recipe, directory):
    """Starts a training, or goes on with it: the `VAE` and the minutes that it took."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    clock = Clock(directory.with_suffix(".minutes.json"), recipe.epochs)
    if not directory.exists():
        runs.start(recipe, directory, num_samples=50, verbose=False, callbacks=[clock])
    elif runs.read_recipe(directory / runs.RECIPE) != recipe.complete(recipe.load_data()):
        raise click.UsageError(f"{directory} holds a training of another recipe: remove it")
    else:
        runs.resume(directory, num_samples=50, verbose=False, callbacks=[clock])
    return runs.load(directory), clock.minutes


def test_images(recipe):
    """A row's 10,000 test images: the same ones, binarized alike, whatever the seed of the training."""
    return recipe.replace(seed=0).load_data().x_test


def measured(vae, x):
    """What the table says of a model, in nats per image, means over the images."""
    found = diagnostics.measure(vae, x, NUM_SAMPLES)
    return {
        "nll": -float(found.log_evidence.mean()),
        "mc_standard_error": error_of_mean(found.log_evidence_standard_error),
        "data_standard_error": float(found.log_evidence.std(ddof=1) / np.sqrt(len(x))),
        "elbo": float(found.elbo.mean()),
    }


def error_of_mean(errors):
    """The standard error of a mean over images, of the images' own."""
    return float(np.sqrt(np.sum(errors**2)) / len(errors))


def exact(vae, data):
    """Mean log p(x) of a linear model on both sets, and of the best of all such models (probabilistic PCA), exactly."""
    kernel, bias = (weight.numpy() for weight in vae.decoder.params.weights)
    own = linear.LinearGaussian(kernel.T, bias, float(tf.convert_to_tensor(vae.decoder.scale)) ** 2)
    flat = {split: x.reshape(len(x), -1) for split, x in (("train", data.x_train), ("test", data.x_test))}
    best = linear.maximum_likelihood(flat["train"], vae.latent_size)
    return {
        f"{name}_{split}": float(np.mean(model.evidence.log_prob(x.astype(np.float64))))
        for name, model in (("log_evidence", own), ("maximum", best))
        for split, x in flat.items()
    }


def finished(row, vae, minutes, history):
    """A row's result and its weights, which are rounded first and then measured."""
    weights = {f"{i:02d} {v.name}": v.numpy().astype(np.float16) for i, v in enumerate(vae.trainable_variables)}
    _set_weights(vae, weights)
    recipe = vae.recipe
    x = test_images(recipe)
    every = max(1, recipe.epochs // 100)
    result = {
        "row": row,
        **measured(vae, x),
        "active_units": int(diagnostics.active_units(vae, x).sum()),
        "num_samples": NUM_SAMPLES,
        "num_images": len(x),
        "first_images": {"count": NUM_FIRST, **measured(vae, x[:NUM_FIRST])},
        "epochs": recipe.epochs,
        **{key: round(value, 1) for key, value in minutes.items()},
        "seed": recipe.seed,
        "date": f"{datetime.date.today()}",
        "machine": machine(),
        "recipe": recipe.to_dict(),
        "training_elbo": {"every": every, "values": [round(v, 2) for v in history["elbo"][every - 1 :: every]]},
    }
    if not recipe.hidden_sizes:
        result["exact"] = exact(vae, recipe.load_data())
    return result, weights


def store(name, result, weights):
    """Writes NAME.npz and NAME.json, and the first test images."""
    store_first_test_images(Recipe.from_dict(result["recipe"]))
    files.write_arrays(RESULTS / f"{name}.npz", weights)
    files.write_json(RESULTS / f"{name}.json", result)


def stored(name):
    """A row's `VAE`, from its stored weights, and its result."""
    result = files.read_json(RESULTS / f"{name}.json")
    vae = build(Recipe.from_dict(result["recipe"]))
    _set_weights(vae, files.read_arrays(RESULTS / f"{name}.npz"))
    return vae, result


def _set_weights(vae, weights):
    for variable, (_, value) in zip(vae.trainable_variables, sorted(weights.items()), strict=True):
        variable.assign(value.astype(np.float32))


def store_first_test_images(recipe):
    """The first test images: as bits under "binary" if they are binarized, else as bytes under "grey"."""
    x = test_images(recipe)[:NUM_FIRST].reshape(NUM_FIRST, -1)
    arrays = files.read_arrays(TEST_IMAGES) if TEST_IMAGES.exists() else {}
    if recipe.binarize is None:
        arrays["grey"] = np.round(255 * x).astype(np.uint8)
    else:
        arrays["binary"] = np.packbits(x.astype(bool), axis=1)
    files.write_arrays(TEST_IMAGES, arrays)


def first_test_images(row):
    """The first test images as a row's model takes them: float32 [50, 28, 28, 1]."""
    with np.load(TEST_IMAGES) as file:
        if ROWS[row].binarize is None:
            x = (file["grey"] / 255).astype(np.float32)
        else:
            x = np.unpackbits(file["binary"], axis=1).astype(np.float32)
    return x.reshape(-1, 28, 28, 1)


def show(result):
    click.echo(f"{result['row']:<14}" + "  ".join(f"{key} {result[key]:.4g}" for key in FIELDS if key in result))


@click.command()
@click.argument("rows", nargs=-1, type=click.Choice(ROWS))
@click.option("--seed", default=0, type=click.IntRange(0), show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Other than the row's own: measured and shown, not stored.")
@click.option("--evaluate", is_flag=True, help="Measure the stored weights again; nothing is written.")
@click.option("--images", type=click.IntRange(2), help="With --evaluate: the first so many test images [10000].")
@click.option("--list", "only_list", is_flag=True, help="Show what is stored.")
def main(rows, seed, epochs, evaluate, images, only_list):
    """Train and measure ROWS of the table, one after the other; see the file's head."""
    if only_list:
        for result in paper_rows().values():
            show(result)
    elif not rows:
        raise click.UsageError(f"a row must be named: {', '.join(ROWS)}")
    for row in () if only_list else rows:
        name = row if seed == 0 else f"{row}-seed{seed}"
        is_row = epochs in (None, ROWS[row].epochs)  # a shortened training is none
        if evaluate:
            vae, result = stored(name)
            show(result)
            show({"row": "again", **measured(vae, test_images(vae.recipe)[:images])})
        else:
            directory = RUNS / (name if is_row else f"{name}-epochs{epochs}")
            vae, minutes = train(recipe_of(row, seed, epochs), directory)
            result, weights = finished(row, vae, minutes, files.read_json(directory / runs.HISTORY))
            show(result)
            if is_row:
                store(name, result, weights)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
