"""Weights, or a training's whole state, as arrays in one file, which belongs to a recipe and cannot execute code."""

import hashlib
import json
import pathlib
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from tfvae.objectives import Stateful
from tfvae.support import files
from tfvae.support.weights import model_variables

RECIPE = "recipe.json"


class Checkpoint(tfk.callbacks.Callback):
    """Keeps weights, optimizer, averages and history as of the last finished epoch, in a file replaced in one step.

    With `reads` it restores the state in the file, if it exists; ValueError if that is corrupt or does not fit.
    """

    def __init__(self, path: pathlib.Path, vae, averages: Sequence, reads: bool):
        super().__init__()
        self.path = path
        of_objective = vae.objective.state if isinstance(vae.objective, Stateful) else ()
        self.variables = [*model_variables(vae), *vae.optimizer.variables, *of_objective]
        self.variables += [variable for average in averages for variable in average.variables]
        self.history: dict[str, list[float]] = {}
        if not reads:
            return
        for unfinished in path.parent.glob(f".{path.name}.*"):  # left by a process killed while writing
            unfinished.unlink()
        if path.exists():
            state = read(path)
            try:
                self.history = json.loads(bytes(state.pop("history")))
            except (KeyError, ValueError, RecursionError) as error:
                raise ValueError(f"{path} must hold a training history, but is corrupt: {error}") from None
            assign(self.variables, state, path)

    def on_epoch_end(self, epoch, logs=None):
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        history = np.frombuffer(json.dumps(self.history).encode(), np.uint8)
        write(self.path, {**to_arrays(self.variables), "history": history})


def write(path: pathlib.Path, arrays: dict[str, np.ndarray]):
    """Writes arrays in one step, with a digest of them and of the recipe beside them."""
    files.write_arrays(path, arrays | {"digest": _digest(path, arrays)})


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of `write`; ValueError if they, or the recipe, are not those that were written.

    Older files have no digest.
    """
    arrays = files.read_arrays(path)
    digest = arrays.pop("digest", None)
    if digest is not None and not np.array_equal(digest, _digest(path, arrays)):
        raise ValueError(
            f"{path} must hold what was written for the {RECIPE} beside it, got a file or recipe changed since"
        )
    return arrays


def _digest(path, arrays):
    """SHA-256 of the recipe's values, and of names, types, shapes and values of the arrays: uint8 [32]."""
    found = hashlib.sha256(json.dumps(files.read_json(path.with_name(RECIPE)), sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return np.frombuffer(found.digest(), np.uint8)


def to_arrays(variables: Sequence[tf.Variable]) -> dict[str, np.ndarray]:
    """The variables' values, under names that sort in their order."""
    # Keras numbers unnamed layers, such as those within TFP's networks, by a counter of the process.
    names = [re.sub(r"\bdense_\d+/", "dense/", variable.name) for variable in variables]
    return {f"{i:03d} {name}": v.numpy() for i, (name, v) in enumerate(zip(names, variables, strict=True))}


def assign(variables: Sequence[tf.Variable], arrays: dict[str, np.ndarray], path: pathlib.Path):
    """Sets the variables to the arrays of `to_arrays`; raises ValueError, naming the file, if they do not fit."""
    expected, values = to_arrays(variables), sorted(arrays.items())
    for (name, old), (found, new) in zip(expected.items(), values, strict=False):
        if (name, old.shape, old.dtype) != (found, new.shape, new.dtype):
            raise ValueError(f"{path} must fit the recipe: {name} {list(old.shape)}, got {found} {list(new.shape)}")
    if len(expected) != len(arrays):
        raise ValueError(f"{path} must hold {len(expected)} arrays, as the recipe says, got {len(arrays)}")
    for variable, (_, value) in zip(variables, values, strict=True):
        variable.assign(value)
