"""What each of several workers reads: its part of every batch, so that all step together as one device would."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfvae.data.batches import Batches
from tfvae.data.epochs import replica_spans
from tfvae.support import checks


def several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether several replicas step together, possibly in several processes."""
    return strategy.num_replicas_in_sync > 1 and isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def parts(dataset: tf.data.Dataset, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """The parts of each batch that this worker's replicas take; every worker reads the dataset whole."""

    def of_replicas(*batch):
        images_or_pair = batch if len(batch) > 1 else batch[0]
        spans = replica_spans(tf.shape(batch[0])[0], context)
        return spans.map(lambda first, end: tf.nest.map_structure(lambda part: part[first:end], images_or_pair))

    return dataset.flat_map(of_replicas).prefetch(tf.data.AUTOTUNE)


def training(x: Batches | tf.data.Dataset, first_epoch: int, strategy: tf.distribute.Strategy) -> Callable:
    """`tf.distribute.InputContext` -> the Dataset that one worker reads; ValueError if workers cannot share x."""
    least = strategy.num_replicas_in_sync
    if not isinstance(x, Batches):
        return functools.partial(parts, x.repeat())
    if x.batch_size < least:
        raise ValueError(f"batch_size must be at least the number of replicas, {least}, got {x.batch_size}")
    if x.parts is None:
        raise ValueError("x must not be taken in part under several workers, got the first batches of each epoch")
    return functools.partial(x.parts, first_epoch)


def num_steps(x: Any, given: int | None, argument: str, steps: str) -> int:
    """How many batches each worker reads; ValueError unless x is a Dataset, of known length if `steps` is missing."""
    if not isinstance(x, Batches | tf.data.Dataset):
        rule = f"{argument} must be a tf.data.Dataset under several workers, got {type(x).__name__}"
        raise checks.InputTypeError(f"{rule}: data.from_arrays makes one of arrays, in an order that all workers know")
    if given is not None:
        return given
    known = x.num_steps if isinstance(x, Batches) else int(x.cardinality())
    if known is None or known < 0:
        rule = f"{steps} must be given under several workers where {argument} does not know its length"
        raise ValueError(f"{rule}, got None")
    return known
