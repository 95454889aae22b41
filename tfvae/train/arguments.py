"""Arguments of `fit` that Keras would ignore, or fail at later, and what its callbacks and data ask for."""

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from tfvae.support import checks


def check_arguments(epochs, callbacks, *, validation_split=0.0, **kwargs):
    """Raises ValueError for arguments of `fit` that Keras would ignore, or fail at later."""
    checks.count("epochs", epochs)
    checks.count("initial_epoch", kwargs.get("initial_epoch", 0), 0)
    for name in ("steps_per_epoch", "validation_steps", "validation_batch_size"):
        checks.steps(kwargs.get(name), name)
    if not isinstance(freq := kwargs.get("validation_freq", 1), list | tuple | set):
        checks.count("validation_freq", freq)
    checks.number("validation_split", validation_split, 0)
    if validation_split >= 1:
        raise ValueError(f"validation_split must be below 1, got {validation_split}")
    check_callbacks(callbacks)
    for callback in callbacks:
        # Keras minimises what it does not know.
        minimises = getattr(callback, "monitor_op", None) is np.less or getattr(callback, "mode", "max") != "max"
        if minimises and str(monitor := getattr(callback, "monitor", None)).endswith(("elbo", "log_likelihood")):
            raise ValueError(f"callbacks must maximise {monitor}, got a {type(callback).__name__} without mode='max'")


def check_callbacks(callbacks):
    """Raises TypeError unless all are of tf_keras: those of Keras 3 are not."""
    for callback in tf.nest.flatten(callbacks or []):
        if not isinstance(callback, tfk.callbacks.Callback):
            raise checks.InputTypeError(f"callbacks must be a list of tf_keras.callbacks.Callback, got {callback!r}")


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
