"""What each of several workers reads: its part of every batch, so that all step together as one device would."""

import functools

import tensorflow as tf

from tfvae.data.batches import Batches
from tfvae.data.epochs import bounds, replicas_of
from tfvae.support import checks


def several_workers(strategy):
    """Whether more than one device steps, and other processes may hold some of them."""
    several = strategy.num_replicas_in_sync > 1
    return several and isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def parts(dataset, context):
    """Of each batch of a dataset that every worker reads whole, what this one's replicas take, in turn."""

    def mine(*batch):
        first_to_end = bounds(tf.shape(batch[0])[0], replicas_of(context), context.num_replicas_in_sync)
        pairs = tf.data.Dataset.from_tensor_slices((first_to_end[:-1], first_to_end[1:]))
        images_or_pair = batch if len(batch) > 1 else batch[0]
        return pairs.map(lambda first, end: tf.nest.map_structure(lambda part: part[first:end], images_or_pair))

    return dataset.flat_map(mine).prefetch(tf.data.AUTOTUNE)


def training(x, first_epoch, strategy):
    """What each worker reads of a training set: a function of a `tf.distribute.InputContext` that gives a Dataset.

    Raises:
        ValueError: an x that the workers cannot share.
    """
    least = strategy.num_replicas_in_sync
    if not isinstance(x, Batches):
        return functools.partial(parts, x.repeat())
    if x.batch_size < least:
        raise ValueError(f"batch_size must be at least the number of replicas, {least}, got {x.batch_size}")
    if x.parts is None:
        raise ValueError("x must not be taken in part under several workers, got the first batches of each epoch")
    return functools.partial(x.parts, first_epoch)


def num_steps(x, given, argument, steps):
    """How many batches workers read that wait for each other.

    Raises:
        ValueError: an x that is no Dataset, or does not know its length where `steps` is not given.
    """
    if isinstance(x, Batches):
        known = x.num_steps
    elif isinstance(x, tf.data.Dataset):
        known = None if x.cardinality() < 0 else int(x.cardinality())
    else:
        raise checks.InputTypeError(
            f"{argument} must be a tf.data.Dataset under several workers, got {type(x).__name__}: "
            "data.from_arrays makes one of arrays, in an order that all workers know"
        )
    if given is None and known is None:
        raise ValueError(
            f"{steps} must be given under several workers where {argument} does not know its length, got None"
        )
    return known if given is None else given
