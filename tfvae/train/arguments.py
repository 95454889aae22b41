"""Arguments of `fit` that Keras would ignore, or fail at later, and what its callbacks and data ask for."""

from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from tfvae.support import checks
from tfvae.support.rules import Count, FromZero, NonNegative, Verbosity, checked


@checked
def check_compiling(
    *,
    jit_compile: bool | None = None,
    steps_per_execution: Count | None = None,
    run_eagerly: bool | None = None,
    **others,
):
    """Raises ValueError for arguments of `compile` that Keras would fail at later."""


@checked
def check_arguments(
    epochs: Count,
    callbacks,
    *,
    verbose: Verbosity = "auto",
    initial_epoch: FromZero = 0,
    steps_per_epoch: Count | None = None,
    validation_steps: Count | None = None,
    validation_batch_size: Count | None = None,
    validation_freq: Any = 1,
    validation_split: NonNegative = 0.0,
    shuffle: Literal[True, False, "batch"] = True,
    **others,
):
    """Raises ValueError for arguments of `fit` that Keras would ignore, or fail at later."""
    if not isinstance(validation_freq, list | tuple | set):
        checks.count("validation_freq", validation_freq)
    if validation_split >= 1:
        raise ValueError(f"validation_split must be below 1, got {validation_split}")
    for callback in callbacks:
        # Keras minimises what it does not know.
        minimises = getattr(callback, "monitor_op", None) is np.less or getattr(callback, "mode", "max") != "max"
        if minimises and str(monitor := getattr(callback, "monitor", None)).endswith(("elbo", "log_likelihood")):
            raise ValueError(f"callbacks must maximise {monitor}, got a {type(callback).__name__} without mode='max'")


def listens_to_batches(callback):
    """Whether a Keras callback has methods of its own that are called before or after a batch."""
    names = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
    plain = tfk.callbacks.Callback
    return any(getattr(getattr(callback, n, None), "__func__", None) is not getattr(plain, n) for n in names)


def may_end(data, num_steps):
    """Whether Keras cannot know how many batches it will read."""
    data = next(iter(data), None) if isinstance(data, tuple) else data
    if isinstance(data, tf.data.Dataset):
        return data.cardinality() < 0 if num_steps is None else data.cardinality() >= 0
    return isinstance(data, np.ndarray | tf.Tensor) and num_steps is not None
