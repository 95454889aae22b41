"""The training set as batches: what `fit` takes, and iterates as a Dataset would."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfvae.support.rules import Count, FromZero, checked


@dataclasses.dataclass(eq=False, repr=False)
class Batches:
    """The batches of a training set: each iteration is one epoch, in a new order.

    `VAE.fit` derives the epoch from the optimizer's count of updates, so that 2 + 2 epochs are 4, also after `map` and
    `take`. Other Dataset methods would break that and are refused; `dataset` is a plain `tf.data.Dataset`.

    >>> batches = tfvae.data.load("digits").train(100)
    >>> len(batches), [x.shape[0] for x in batches.take(2)]
    (13, [100, 100])

    Attributes:
        pipeline: a Dataset of epoch numbers -> the Dataset of their batches.
        batch_size: of all batches but the last of an epoch.
        num_steps: batches in an epoch; None if unknown.
        first_epoch: from 0.
        in_memory: the `Epochs`, where a step can read the images itself.
        parts: (first epoch, `tf.distribute.InputContext`) -> the Dataset that one of several workers reads.
    """

    pipeline: Callable
    batch_size: int
    num_steps: int | None
    _: dataclasses.KW_ONLY
    first_epoch: int = 0
    in_memory: Any = None
    parts: Callable | None = None

    element_spec = property(lambda self: self.dataset.element_spec)

    @functools.cached_property
    def dataset(self) -> tf.data.Dataset:
        """A `tf.data.Dataset` whose every iteration is the next epoch."""
        epoch = tf.Variable(self.first_epoch - 1, dtype=tf.int64, trainable=False)
        batches = self.pipeline(tf.data.Dataset.from_tensors(0).map(lambda _: epoch.assign_add(1)))
        if self.num_steps is None:
            return batches
        return batches.apply(tf.data.experimental.assert_cardinality(self.num_steps))

    def __iter__(self):
        return iter(self.dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    @checked
    def from_epoch(self, first: FromZero) -> tf.data.Dataset:
        """An infinite Dataset of the epochs from `first` on."""
        batches = self.pipeline(tf.data.Dataset.counter(first))
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    @checked
    def map(self, function: Callable) -> "Batches":
        """Applies a function of [B, H, W, C] (and labels [B]) to each batch, while steps before it run."""
        options = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}

        def mapped(make):
            return lambda *given: make(*given).map(function, **options).prefetch(tf.data.AUTOTUNE)

        parts = self.parts and mapped(self.parts)
        return dataclasses.replace(self, pipeline=mapped(self.pipeline), in_memory=None, parts=parts)

    @checked
    def take(self, count: Count) -> "Batches":
        """The first `count` batches of each epoch."""

        def pipeline(epochs):
            return epochs.flat_map(lambda epoch: self.pipeline(tf.data.Dataset.from_tensors(epoch)).take(count))

        num_steps = count if self.num_steps is None else min(count, self.num_steps)
        return dataclasses.replace(self, pipeline=pipeline, num_steps=num_steps, in_memory=None, parts=None)

    def __getattr__(self, name):
        if not name.startswith("_") and hasattr(tf.data.Dataset, name):
            rule = f"Batches must keep the order of their epochs, which {name} would lose"
            raise AttributeError(f"{rule}: use map or take, or `.dataset.{name}`, whose epoch `fit` does not know")
        raise AttributeError(f"'Batches' object has no attribute {name!r}")
