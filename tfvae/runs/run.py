"""Training runs on disk: start, resume after any interruption, save, load.

A run's directory holds `recipe.json`; while it trains `checkpoint.npz` (all as of the last finished epoch); and in the
end `weights.npz`, `history.json`, `evaluation_card.json` and pictures. Every file appears whole or not at all, and
nothing that is read can execute.

Of several machines that train together one, the chief, reads and writes the directory; the others get from it what they
need. Nobody returns before all are done.
"""

import pathlib
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tf_keras as tfk
from tqdm import tqdm

from tfvae import diagnostics, plots, recipes
from tfvae.support import files
from tfvae.runs.checkpoint import Checkpoint, assign, model_variables, to_arrays
from tfvae.train import AveragedWeights, strategies

RECIPE, CHECKPOINT, WEIGHTS = "recipe.json", "checkpoint.npz", "weights.npz"
HISTORY, CARD = "history.json", "evaluation_card.json"


def save(vae, directory):
    """Writes recipe and weights to a new directory; `load` is the inverse.

    Raises:
        ValueError: a model that no recipe describes.
        OSError: the directory exists and is not empty, or cannot be written.
    """
    if vae.recipe is None:
        raise ValueError(
            "vae must come from tfvae.build(recipe), got one assembled by hand: keep its weights with vae.save_weights"
        )
    with files.staged_directory(directory) as staged:
        files.write_json(staged / RECIPE, vae.recipe.to_dict())
        files.write_arrays(staged / WEIGHTS, to_arrays(model_variables(vae)))


def load(directory):
    """The trained `VAE` of a run's or a saved model's directory, not compiled.

    Raises:
        OSError: the directory, or a file in it, is missing.
        ValueError: a file is corrupt, or does not fit the recipe.
    """
    directory = _existing(directory)
    recipe = read_recipe(directory / RECIPE)
    arrays = files.read_arrays(directory / WEIGHTS)
    vae = recipes.build(recipe)
    assign(model_variables(vae), arrays, directory / WEIGHTS)
    return vae


def read_recipe(path):
    """The `Recipe` in a JSON file.

    Raises:
        OSError: it is missing.
        ValueError: it is corrupt, or no recipe.
    """
    values = files.read_json(path)
    try:
        return recipes.Recipe.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path} must hold a recipe: {error}") from None


def start(recipe, directory, *, strategy=None, go_on=False, **options):
    """Trains a recipe into a new directory. Arguments and result as for `resume`.

    Args:
        strategy: see `resume`.
        go_on: if the directory holds a run of this recipe, goes on with it.

    Raises:
        OSError: the directory exists and is not empty, or cannot be written; or the data cannot be had.
        ValueError: a recipe that does not fit its data, or is not that of the run to go on with.
        FloatingPointError: training turned non-finite; the last good epoch stays in the directory.
    """
    directory = pathlib.Path(directory)
    data = recipe.load_data()
    recipe = recipe.complete(data)
    strategies.check_fits(strategy, recipe.batch_size, recipe.jit)
    if strategies.is_chief(strategy):
        _claim(directory, recipe, go_on)
    return _run(recipe, data, directory, strategy, **options)


def resume(directory, *, strategy=None, **options):
    """Goes on from a run's last finished epoch, to the weights of a run that was never interrupted.

    Args:
        strategy: of `tf.distribute`, or None for one device. Those of several machines all call this; where they
            share no file system, the others need a copy of the recipe.
        num_samples: of the evaluation card.
        verbose: shows progress on stderr.
        callbacks: Keras callbacks.

    Returns:
        The trained `VAE`, its `ImageData` and the evaluation card; None on machines other than the chief.

    Raises:
        OSError, ValueError: a file is missing or corrupt.
        ConnectionError: another worker was lost; all must be started again.
        FloatingPointError: training turned non-finite; the last good epoch stays in the directory.
    """
    directory = _existing(directory)
    recipe = read_recipe(directory / RECIPE)
    strategies.check_fits(strategy, recipe.batch_size, recipe.jit)
    return _run(recipe, recipe.load_data(), directory, strategy, **options)


def _claim(directory, recipe, go_on):
    """Puts the recipe into a new directory, or finds it there."""
    if not (go_on and (directory / RECIPE).exists()):
        files.check_new(directory)
        with files.staged_directory(directory) as staged:
            files.write_json(staged / RECIPE, recipe.to_dict())
    elif (found := read_recipe(directory / RECIPE)) != recipe:
        raise ValueError(f"recipe must be that of the run in {directory}, {found}, got {recipe}")


def _run(recipe, data, directory, strategy, *, num_samples=5000, verbose=True, callbacks=()):
    chief, result = strategies.is_chief(strategy), None
    is_trained = tf.Variable(int(chief and (directory / WEIGHTS).exists()))
    with strategies.losses_of_workers(strategy):
        strategies.share(strategy, [is_trained])
        if not is_trained.numpy():
            vae = _train(recipe, data, directory, strategy, verbose, callbacks)
        elif chief:
            vae = load(directory)
        if chief:
            result = vae, data, _evaluated(vae, data, directory, num_samples, verbose)
            (directory / CHECKPOINT).unlink(missing_ok=True)
        strategies.wait(strategy)
    return result


def _train(recipe, data, directory, strategy, verbose, callbacks):
    """The trained model, free of the strategy, and its files; None on workers other than the chief."""
    chief = strategies.is_chief(strategy)
    with strategies.scope(strategy):
        vae = _untrained(recipe, data)
    first_averaged = recipe.epochs - recipe.averaged_epochs
    averages = [AveragedWeights(vae.trainable_variables, first_averaged)] if recipe.averaged_epochs else []
    checkpoint = Checkpoint(directory / CHECKPOINT, vae, averages, chief)
    first_epoch = tf.Variable(checkpoint.num_epochs)
    strategies.share(strategy, [first_epoch, *checkpoint.variables])
    first_epoch = int(first_epoch)
    validation = None
    if len(data.x_validation):
        validation = data.validation(min(1000, len(data.x_validation)), labels=recipe.conditional)
    for_chief = [checkpoint, _Progress(recipe.epochs, first_epoch, verbose), *callbacks] if chief else []
    # Where no epoch is left too, to take the mean.
    vae.fit(
        data.train(recipe.batch_size, labels=recipe.conditional),
        validation_data=validation,
        initial_epoch=first_epoch,
        epochs=recipe.epochs,
        callbacks=[*averages, *for_chief],  # in this order: the checkpoint keeps the mean
        verbose=0,
    )
    if not chief:
        return None
    arrays = to_arrays(model_variables(vae))
    if strategy is not None:  # what follows is for the chief alone: nothing in it may wait for another worker
        vae = recipes.build(recipe)
        assign(model_variables(vae), arrays, directory)
    files.write_json(directory / HISTORY, checkpoint.history)
    _pictures(vae, data, checkpoint.history, directory)
    # Last: where the weights are, the training is done.
    files.write_arrays(directory / WEIGHTS, arrays)
    return vae


def _untrained(recipe, data):
    vae = recipes.build(recipe)
    recipes.compile(vae, recipe, data.train_size)
    vae.optimizer.build(vae.trainable_variables)
    if recipe.mean_bias:
        recipes.start_at_mean(vae, data)
    return vae


def _evaluated(vae, data, directory, num_samples, verbose):
    if (directory / CARD).exists():
        return files.read_json(directory / CARD)
    card = diagnostics.evaluation_card(vae, data, num_samples, progress=verbose)
    files.write_json(directory / CARD, card)
    return card


def _pictures(vae, data, history, directory):
    given = vae.for_labels(data.y_test)
    with matplotlib.rc_context(plots.STYLE):
        figures = {
            "reconstructions": plots.reconstructions(given.rows(slice(12)), data.x_test[:12], num=12),
            "samples": plots.samples(vae, num=60, columns=12),
            "traversals": plots.traversals(given.rows(0), data.x_test[0]),
            "training_curves": plots.training_curves(history),
        }
        if vae.latent_size >= 2:
            labels = None if data.y_test is None else data.y_test[:2000]
            figures["latent_scatter"] = plots.latent_scatter(given.rows(slice(2000)), data.x_test[:2000], labels)
        if vae.latent_size == 2:
            figures["manifold"] = plots.manifold(given.rows(0))
        for name, figure in figures.items():
            figure.savefig(directory / f"{name}.png", dpi=120, bbox_inches="tight")
            plt.close(figure)


class _Progress(tfk.callbacks.Callback):
    """A bar over epochs in a terminal, elsewhere about ten lines in all."""

    def __init__(self, epochs, first, verbose):
        super().__init__()
        self.epochs, self.first = epochs, first
        self.mode = ("bar" if sys.stderr.isatty() else "lines") if verbose else "off"
        self.bar = None

    def on_train_begin(self, logs=None):
        self.bar = tqdm(
            total=self.epochs, initial=self.first, unit="epoch", desc="training", disable=self.mode != "bar"
        )

    def on_epoch_end(self, epoch, logs=None):
        shown = {k: f"{logs[k]:.2f}" for k in ("elbo", "val_elbo") if k in logs}
        self.bar.set_postfix(shown)
        self.bar.update()
        if self.mode == "lines" and ((epoch + 1) % max(1, self.epochs // 10) == 0 or epoch + 1 == self.epochs):
            text = "  ".join(f"{k} {v}" for k, v in shown.items())
            print(f"epoch {epoch + 1}/{self.epochs}  {text}", file=sys.stderr, flush=True)

    def on_train_end(self, logs=None):
        self.bar.close()


def _existing(directory):
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"run must be a directory of a training run, got {directory}, which does not exist")
    return directory
