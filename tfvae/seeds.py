"""Stateless seeds: every random number is a function of what it is for, never of what was drawn before it."""

import tensorflow as tf

__all__ = ["fold_in", "stateless_seed"]


def __dir__():
    return __all__


def stateless_seed(seed):
    """The pair of int32, shape [2], that TensorFlow's and TFP's stateless samplers take.

    Args:
        seed: an integer (any int64), or a pair already.

    Raises:
        ValueError: anything else.
    """
    pair = None if seed is None else tf.convert_to_tensor(seed)
    if pair is None or not pair.dtype.is_integer:
        raise ValueError(f"seed must be an integer or a pair of integers, got {seed!r}")
    if pair.shape.rank == 0:
        return tf.bitcast(tf.cast(pair, tf.int64), tf.int32)
    return tf.cast(pair, tf.int32)


def fold_in(seed, *numbers):
    """A new pair, shape [2], for each distinct sequence of integers (say: a step, an image, a chunk)."""
    seed = stateless_seed(seed)
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int32))
    return seed
