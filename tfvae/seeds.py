"""Stateless seeds: every random number is a function of its purpose, not of what was drawn before it."""

import tensorflow as tf

from tfvae.support import checks, tensors

__all__ = ["fold_in", "stateless_seed"]


def __dir__():
    return __all__


def stateless_seed(seed) -> tf.Tensor:
    """The int32 pair [2] of an integer (any int64) or of a pair, for stateless samplers; else ValueError.

    >>> tfvae.seeds.stateless_seed(5).numpy(), tfvae.seeds.stateless_seed([5, 7]).numpy()
    (array([5, 0], dtype=int32), array([5, 7], dtype=int32))
    """
    pair = tensors.tensor("seed", seed, "an integer or a pair of integers")
    if not pair.dtype.is_integer or pair.shape.rank not in (0, 1):
        raise checks.InputTypeError(f"seed must be an integer or a pair of integers, got {checks.shown(seed)}")
    return tf.bitcast(tf.cast(pair, tf.int64), tf.int32) if pair.shape.rank == 0 else tf.cast(pair, tf.int32)


def fold_in(seed, *numbers: int | tf.Tensor) -> tf.Tensor:
    """A new pair [2] for each sequence of integers, such as (step, image, chunk).

    The second of the pair is the last integer, and the first a 32-bit hash of all that goes before it: sequences that
    differ in the last integer give distinct pairs; two others give the same one with a probability of 2^-32.

    >>> first, again, other = (tfvae.seeds.fold_in(0, step) for step in (1, 1, 2))
    >>> np.array_equal(first, again), np.array_equal(first, other)
    (True, False)
    """
    seed = stateless_seed(seed)
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int32))
    return seed
