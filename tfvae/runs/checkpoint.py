"""A training's whole state as arrays in one file: read without a shared file system, and nothing in it can execute."""

import json
import re

import numpy as np
import tf_keras as tfk

from tfvae.support import files


class Checkpoint(tfk.callbacks.Callback):
    """Keeps weights, optimizer and history as of the last finished epoch, in one file that is replaced in one step."""

    def __init__(self, path, vae, averages, reads):
        super().__init__()
        self.path = path
        self.variables = [*model_variables(vae), *vae.optimizer.variables, *getattr(vae.objective, "state", ())]
        self.variables += [variable for average in averages for variable in average.variables]
        self.history = {}
        if reads:
            self._restore()

    def _restore(self):
        for unfinished in self.path.parent.glob(f".{self.path.name}.*"):  # what a kill left of a write
            unfinished.unlink()
        if not self.path.exists():
            return
        state = files.read_arrays(self.path)
        try:
            self.history = json.loads(bytes(state.pop("history")))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{self.path} must hold a training history, but is corrupt: {error}") from None
        assign(self.variables, state, self.path)

    @property
    def num_epochs(self):
        return len(self.history.get("loss", ()))

    def on_epoch_end(self, epoch, logs=None):
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        history = np.frombuffer(json.dumps(self.history).encode(), np.uint8)
        files.write_arrays(self.path, {**to_arrays(self.variables), "history": history})


def model_variables(vae):
    return [*vae.encoder.variables, *vae.decoder.variables, *vae.prior.variables]


def to_arrays(variables):
    """Arrays under names that keep the variables' order."""
    # Layers that nobody named, as those within TFP's networks, Keras counts through the whole process.
    names = [re.sub(r"\bdense_\d+/", "dense/", variable.name) for variable in variables]
    return {
        f"{i:03d} {name}": variable.numpy() for i, (name, variable) in enumerate(zip(names, variables, strict=True))
    }


def assign(variables, arrays, path):
    expected = to_arrays(variables)
    for (name, old), (found, new) in zip(expected.items(), sorted(arrays.items()), strict=False):
        if name != found or old.shape != new.shape or old.dtype != new.dtype:
            raise ValueError(f"{path} must fit the recipe: {name} {list(old.shape)}, got {found} {list(new.shape)}")
    if len(expected) != len(arrays):
        raise ValueError(f"{path} must hold {len(expected)} arrays, as the recipe says, got {len(arrays)}")
    for variable, (_, value) in zip(variables, sorted(arrays.items()), strict=True):
        variable.assign(value)
