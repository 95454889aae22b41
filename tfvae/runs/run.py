"""Runs on disk: start, resume, save, load. Every file appears whole or not at all; loading one cannot execute code.

A run's directory holds `recipe.json` and `data.json`, by which its data are known again; during training
`checkpoint.npz`, the state after the last finished epoch; and at the end `weights.npz`, `history.json`,
`evaluation_card.json` and pictures.

Of several machines the chief alone reads and writes the directory; it broadcasts the state, and all return together.
"""

import contextlib
import sys

import matplotlib
import matplotlib.pyplot as plt
import tensorflow as tf
import tf_keras as tfk
from tqdm import tqdm

from tfvae import diagnostics, plots, recipes
from tfvae.runs import checkpoint
from tfvae.runs.checkpoint import RECIPE, assign, to_arrays
from tfvae.support import files, pieces
from tfvae.support.rules import FromTwo, checked
from tfvae.support.weights import model_variables
from tfvae.train import AveragedWeights, strategies

CHECKPOINT, WEIGHTS = "checkpoint.npz", "weights.npz"
HISTORY, CARD, DATA = "history.json", "evaluation_card.json", "data.json"


@checked
def save(vae, directory):
    """Writes recipe and weights to a new directory; `load` is the inverse.

    >>> tfvae.save(tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli")), "model")
    >>> tfvae.load("model").latent_size
    20

    ValueError for a model without a recipe; OSError if the directory is not empty, or cannot be written.
    """
    if vae.recipe is None:
        raise ValueError(
            "vae must come from tfvae.build(recipe), got one assembled by hand: keep its weights with vae.save_weights"
        )
    with files.staged_directory(files.local("directory", directory)) as staged:
        files.write_json(staged / RECIPE, vae.recipe.to_dict())
        checkpoint.write(staged / WEIGHTS, to_arrays(model_variables(vae)))


@checked
def load(run):
    """The trained `VAE` of a run's or a saved model's directory, not compiled.

    >>> tfvae.load("digits")
    Traceback (most recent call last):
    FileNotFoundError: run must be a directory ..., which does not exist: tfvae.data.load('digits') loads the data

    OSError if the directory or a file in it is missing; ValueError if a file is corrupt, or does not fit the recipe.
    """
    run = _existing(run)
    recipe, arrays = _recipe_in(run / RECIPE), checkpoint.read(run / WEIGHTS)
    vae = recipes.build(recipe)
    assign(model_variables(vae), arrays, run / WEIGHTS)
    return vae


@checked
def read_recipe(path) -> recipes.Recipe:
    """The `Recipe` in a JSON file; raises OSError if it is missing, ValueError if it is corrupt or no recipe.

    >>> tfvae.runs.read_recipe("recipe.json")
    Traceback (most recent call last):
    FileNotFoundError: path must be a file, got recipe.json, which does not exist
    """
    return _recipe_in(files.existing("path", path))


def _recipe_in(path):
    values = files.read_json(path)
    try:
        return recipes.Recipe.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path} must hold a recipe: {error}") from None


@checked
def start(recipe: recipes.Recipe, output, *, strategy=None, go_on: bool = False, force: bool = False, **options):
    """Trains a recipe into a new directory; with `go_on`, resumes a run of this recipe there. The rest as `resume`.

    >>> tfvae.runs.start(tfvae.Recipe(batch_size=10_000), "run")
    Traceback (most recent call last):
    ValueError: batch_size must be at most the number of training images, 9000, got 10000

    OSError if the directory is not empty or cannot be written, or the data cannot be loaded; ValueError if the recipe
    does not fit its data or, unless `force`, the memory, or is not that of the run to resume.
    """
    output = files.local("output", output)
    data = recipe.load_data()
    if len(data.x_test) < 2:
        raise ValueError(f"data must have at least 2 test images to be measured, got {len(data.x_test)} of {data.name}")
    recipe = recipe.complete(data)
    strategies.check_fits(strategy, recipe.batch_size, recipe.jit)
    with contextlib.nullcontext() if force else recipes.within_memory(recipe):
        vae = recipes.build(recipe)
    if strategies.is_chief(strategy):
        if go_on and (output / RECIPE).exists():
            if (found := _recipe_in(output / RECIPE)) != recipe:
                raise ValueError(f"recipe must be that of the run in {output}, {found}, got {recipe}")
            _checked_data(output, data)
        else:
            files.check_new(output, "output")
            with files.staged_directory(output, "output") as staged:
                files.write_json(staged / DATA, data.fingerprint())
                files.write_json(staged / RECIPE, recipe.to_dict())
    return _run(recipe, data, output, strategy, vae if strategy is None else None, **options)


@checked
def resume(run, *, strategy=None, **options):
    """Resumes a run after its last finished epoch, and ends with the weights of an uninterrupted run.

    >>> vae, data, card = tfvae.runs.resume("run")
    Traceback (most recent call last):
    FileNotFoundError: run must be a directory of a training run, got run, which does not exist

    It gives the trained `VAE`, its `ImageData` and the evaluation card; None on workers other than the chief.

    Args:
        strategy: of `tf.distribute`, or None for one device. Each of several machines calls this; without a shared
            file system, each needs a copy of the recipe.
        num_samples: of the evaluation card.
        verbose: shows progress on stderr.
        callbacks: Keras callbacks.

    Raises:
        OSError, ValueError: a file is missing or corrupt.
        ConnectionError: another worker was lost; all must be started again.
        FloatingPointError: training turned non-finite; the last good epoch stays in the directory.
    """
    run = _existing(run)
    recipe = _recipe_in(run / RECIPE)
    strategies.check_fits(strategy, recipe.batch_size, recipe.jit)
    return _run(recipe, load_data(run), run, strategy, **options)


@checked
def load_data(run):
    """The data of a run, the same as when it was started.

    >>> tfvae.runs.load_data("run")
    Traceback (most recent call last):
    FileNotFoundError: run must be a directory of a training run, got run, which does not exist

    OSError if they are not there; ValueError if they have changed since, as a folder's pictures may.
    """
    run = _existing(run)
    return _checked_data(run, _recipe_in(run / RECIPE).load_data())


def _checked_data(directory, data):
    if (directory / DATA).exists() and (known := files.read_json(directory / DATA)) != (found := data.fingerprint()):
        raise ValueError(f"data must be those that the run was started with, {known}, got {found}")
    return data


def _existing(directory):
    directory = files.local("run", directory)
    if not directory.is_dir():
        name = str(directory)
        hint = f": tfvae.data.load({name!r}) loads the data" if name in pieces.of_kind("data") else ""
        raise FileNotFoundError(f"run must be a directory of a training run, got {name}, which does not exist{hint}")
    return directory


@checked
def _run(
    recipe,
    data,
    directory,
    strategy: tf.distribute.Strategy | None,
    vae=None,
    *,
    num_samples: FromTwo | None = None,
    verbose=True,
    callbacks=(),
):
    chief, result = strategies.is_chief(strategy), None
    is_trained = tf.Variable(int(chief and (directory / WEIGHTS).exists()))
    with strategies.losses_of_workers(strategy):
        strategies.share(strategy, [is_trained])
        if not is_trained.numpy():
            vae = _train(recipe, data, directory, strategy, vae, verbose, callbacks)
        elif chief:
            vae = load(directory)
        if chief:
            if not (directory / CARD).exists():
                card = diagnostics.evaluation_card(vae, data, num_samples, progress=verbose)
                files.write_json(directory / CARD, card)
            result = vae, data, files.read_json(directory / CARD)
            (directory / CHECKPOINT).unlink(missing_ok=True)
        strategies.wait(strategy)
    return result


def _train(recipe, data, directory, strategy, vae, verbose, callbacks):
    """Trains, writes the run's files, and returns the model outside of the strategy; None on other workers."""
    chief = strategies.is_chief(strategy)
    with strategies.scope(strategy):
        vae = vae or recipes.build(recipe)
        recipes.compile(vae, recipe, data.train_size)
        vae.optimizer.build(vae.trainable_variables)
        if recipe.mean_bias:
            recipes.start_at_mean(vae, data)
    first_averaged = recipe.epochs - recipe.averaged_epochs
    averages = [AveragedWeights(vae.trainable_variables, first_averaged)] if recipe.averaged_epochs else []
    state = checkpoint.Checkpoint(directory / CHECKPOINT, vae, averages, chief)
    first_epoch = tf.Variable(len(state.history.get("loss", ())))
    strategies.share(strategy, [first_epoch, *state.variables])
    first_epoch = int(first_epoch)
    for_chief = [state, _Progress(recipe.epochs, first_epoch, verbose), *callbacks] if chief else []
    size = min(1000, len(data.x_validation))
    # Also if no epoch is left: the end of training sets the weights to their mean.
    vae.fit(
        data.train(recipe.batch_size, labels=recipe.conditional),
        validation_data=data.validation(size, labels=recipe.conditional) if size else None,
        initial_epoch=first_epoch,
        epochs=recipe.epochs,
        callbacks=[*averages, *for_chief],  # in this order: the checkpoint keeps the mean
        verbose=0,
    )
    if not chief:
        return None
    arrays = to_arrays(model_variables(vae))
    if strategy is not None:  # from here on the chief runs alone, and must not wait for other workers
        vae = recipes.build(recipe)
        assign(model_variables(vae), arrays, directory)
    files.write_json(directory / HISTORY, state.history)
    _draw(vae, data, state.history, directory)
    checkpoint.write(directory / WEIGHTS, arrays)  # last, as this file marks the training as finished
    return vae


def _draw(vae, data, history, directory):
    given = vae.for_labels(data.y_test)
    with matplotlib.rc_context(plots.STYLE):
        figures = {"training_curves": plots.training_curves(history)}
        if len(vae.event_shape) == 3:
            figures |= {
                "reconstructions": plots.reconstructions(given.rows(slice(12)), data.x_test[:12], num=12),
                "samples": plots.samples(vae, num=60, columns=12),
                "traversals": plots.traversals(given.rows(0), data.x_test[0]),
            }
        if vae.latent_size >= 2:
            labels = None if data.y_test is None else data.y_test[:2000]
            figures["latent_scatter"] = plots.latent_scatter(given.rows(slice(2000)), data.x_test[:2000], labels)
        if vae.latent_size == 2 and len(vae.event_shape) == 3:
            figures["manifold"] = plots.manifold(given.rows(0))
        for name, figure in figures.items():
            figure.savefig(directory / f"{name}.png", dpi=120, bbox_inches="tight")
            plt.close(figure)


class _Progress(tfk.callbacks.Callback):
    """A bar over epochs in a terminal, elsewhere about ten lines.

    `tqdm.keras.TqdmCallback` would show every metric with all digits, and import a second Keras.
    """

    def __init__(self, epochs, first, verbose):
        super().__init__()
        hidden = None if verbose else True  # None: outside of a terminal
        self.bar = tqdm(total=epochs, initial=first, unit="epoch", desc="training", disable=hidden)
        self.epochs, self.lines = epochs, verbose and self.bar.disable

    def on_epoch_end(self, epoch, logs=None):
        shown = {k: f"{logs[k]:.2f}" for k in ("elbo", "val_elbo") if k in logs}
        self.bar.set_postfix(shown)
        self.bar.update()
        if self.lines and ((epoch + 1) % max(1, self.epochs // 10) == 0 or epoch + 1 == self.epochs):
            text = "".join(f"  {k} {v}" for k, v in shown.items())
            print(f"epoch {epoch + 1}/{self.epochs}{text}", file=sys.stderr, flush=True)

    def on_train_end(self, logs=None):
        self.bar.close()
