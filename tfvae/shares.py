"""What each of several workers reads: its part of every batch, so that all step together as one device would."""

import functools

import tensorflow as tf

from tfvae.epochs import bounds


def several_workers(strategy):
    """Whether more than one device steps, and other processes may hold some of them."""
    several = strategy.num_replicas_in_sync > 1
    return several and isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def replicas_of(context):
    """The numbers, a range, of the replicas that one worker's pipeline feeds.

    Args:
        context: a `tf.distribute.InputContext`.
    """
    count = context.num_replicas_in_sync // context.num_input_pipelines
    return range(context.input_pipeline_id * count, (context.input_pipeline_id + 1) * count)


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
    if getattr(x, "batch_size", least) < least:
        raise ValueError(f"batch_size must be at least the number of replicas, {least}, got {x.batch_size}")
    if hasattr(x, "parts_from"):
        return functools.partial(x.parts_from, first_epoch)
    return functools.partial(parts, x.repeat())


def num_steps(x, given, argument, steps):
    """How many batches workers read that wait for each other.

    Raises:
        ValueError: an x that is no Dataset, or does not know its length where `steps` is not given.
    """
    if not isinstance(x, tf.data.Dataset):
        raise ValueError(
            f"{argument} must be a tf.data.Dataset under several workers, got {type(x).__name__}: "
            "data.from_arrays makes one of arrays, in an order that all workers know"
        )
    if given is None and x.cardinality() < 0:
        raise ValueError(
            f"{steps} must be given under several workers where {argument} does not know its length, got None"
        )
    return int(x.cardinality()) if given is None else given
