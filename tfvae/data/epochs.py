"""Training images in memory: in what order an epoch takes them, and how a batch of them is read.

Both are functions of (seed, epoch, step) made of TensorFlow operations. So they run both in a `tf.data` pipeline and
inside the compiled training step, where `VAE.fit` neither copies nor waits.
"""

import dataclasses
import functools
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfvae.data.batches import Batches


class Source(Protocol):
    """What holds or draws images, integers up to a max_level or float32 in [0, 1]: [N, H, W, C]."""

    def __len__(self) -> int: ...

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """The images at these indices: [B] -> [B, H, W, C]."""

    @property
    def levels(self) -> np.ndarray:
        """Every value that pixels have: [L]."""


class Stored:
    """A `Source` of an array of images."""

    def __init__(self, images: np.ndarray):
        # A tensor is captured by reference; an array would be copied into each graph that reads it.
        self._images = tf.constant(images)

    def __len__(self) -> int:
        return len(self._images)

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._images, indices)

    @functools.cached_property
    def levels(self) -> np.ndarray:
        values = self._images.numpy().ravel()
        return np.flatnonzero(np.bincount(values)) if self._images.dtype.is_integer else values


class Part:
    """A `Source` of the images at some places, [n], of another."""

    def __init__(self, source: Source, places: np.ndarray):
        self._source, self._places = source, tf.constant(places)

    levels = property(lambda self: self._source.levels)

    def __len__(self) -> int:
        return len(self._places)

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        return self._source.gather(tf.gather(self._places, indices))


@dataclasses.dataclass(eq=False, repr=False)
class Epochs:
    """Epochs of images in memory.

    >>> epochs = tfvae.data.load("digits", binarize="stochastic").train(100).in_memory
    >>> epoch, step = tf.constant([2, 0], tf.int64)
    >>> epochs.order(epoch).shape, epochs.read(epoch, step, epochs.order(epoch)[:100]).shape
    (TensorShape([1293]), TensorShape([100, 8, 8, 1]))

    Attributes:
        max_level: the integer that means 1.
        stochastic: draw x ~ Bernoulli(grey) at each reading.
        seed: of order and binarization.
        labels: a tensor, int64 [N], read with the images; or None.
    """

    source: Source
    max_level: int
    stochastic: bool
    seed: int
    labels: tf.Tensor | None = None

    num_images = property(lambda self: len(self.source))

    def levels(self) -> np.ndarray:
        """Every grey level that can be read: float32 [L]."""
        return np.array([0, 1], np.float32) if self.stochastic else grey(self.source.levels, self.max_level)

    def order(self, epoch: tf.Tensor) -> tf.Tensor:
        """A permutation of the images: [N]."""
        return tf.random.experimental.stateless_shuffle(tf.range(self.num_images), seed=self._seed(epoch))

    def read(self, epoch: tf.Tensor, step: tf.Tensor, indices: tf.Tensor, part: tuple = (0, None)) -> Any:
        """The batch at `step` of an epoch: [B] -> float32 [B, H, W, C]; with labels, (images, labels).

        Of `part`, (first, end), these images of the batch alone, with the same bits as in the whole.
        """
        first, end = part
        x = self.source.gather(indices[first:end])
        seed = tf.random.experimental.stateless_fold_in(self._seed(epoch), step)
        if not self.stochastic:
            x = grey(x, self.max_level)
        elif x.dtype.is_integer:
            # Compares random bits with integers, without floats: P(1) is x to max_level / 2^32.
            bits = random_bits(tf.shape(x), seed, tf.cast(first, tf.int32) * tf.reduce_prod(tf.shape(x)[1:]))
            x = tf.cast(bits < tf.cast(x, tf.uint32) * (tf.uint32.max // self.max_level), tf.float32)
        else:
            x = draw(self.source.gather(indices), seed)[first:end]
        return x if self.labels is None else (x, tf.gather(self.labels, indices[first:end]))

    def batches(self, batch_size: int, first_epoch: int = 0) -> Batches:
        def numbered(epoch):
            indices = tf.data.Dataset.from_tensor_slices(self.order(epoch)).batch(batch_size)
            return indices.enumerate().map(lambda step, indices: (epoch, step, indices))

        def pipeline(epochs):
            batches = epochs.flat_map(numbered).map(self.read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            return batches.prefetch(tf.data.AUTOTUNE)

        def parts(first, context):
            def of_replicas(epoch, step, indices):
                spans = replica_spans(tf.size(indices), context)
                return spans.map(lambda *span: self.read(epoch, step, indices, span))

            return tf.data.Dataset.counter(first).flat_map(numbered).flat_map(of_replicas).prefetch(tf.data.AUTOTUNE)

        num_steps = -(-self.num_images // batch_size)
        return Batches(pipeline, batch_size, num_steps, first_epoch=first_epoch, in_memory=self, parts=parts)

    def _seed(self, epoch):
        return tf.stack([tf.constant(self.seed, tf.int64), epoch])


def draw(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """x ~ Bernoulli(grey), as 0 and 1, of grey levels in [0, 1]: float32, the shape of x."""
    return tf.cast(tf.random.stateless_uniform(tf.shape(x), seed) < x, tf.float32)


def replicas_of(context: tf.distribute.InputContext) -> range:
    """The numbers of the replicas that one worker's pipeline feeds."""
    count = context.num_replicas_in_sync // context.num_input_pipelines
    return range(context.input_pipeline_id * count, (context.input_pipeline_id + 1) * count)


def bounds(size, replicas: range, num_replicas: int):
    """Where the parts of `size` images begin and end that `replicas`, out of `num_replicas`, take: [R + 1]."""
    return size * np.arange(replicas.start, replicas.stop + 1) // num_replicas


def replica_spans(size: tf.Tensor, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """A Dataset of (first, end), one for each replica of a worker, out of a batch of `size` images."""
    ends = bounds(size, replicas_of(context), context.num_replicas_in_sync)
    return tf.data.Dataset.from_tensor_slices((ends[:-1], ends[1:]))


def random_bits(shape: Any, seed: Any, first: Any = 0) -> tf.Tensor:
    """Uniform 32-bit words, a hash of (seed, position), from position `first` on: uint32 [*shape].

    The same from every compiler and on every device: two rounds of multiplication and shift (Wellons' "lowbias32"),
    keyed by the stateless seed before each; not for cryptography. TensorFlow's Philox takes 4.5 times as long, under
    XLA 24 times.
    """
    keys = tf.random.stateless_uniform([2], seed, None, None, tf.uint32)
    words = tf.cast(first + tf.range(tf.reduce_prod(shape)), tf.uint32) * 0x9E3779B9 + keys[0]
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, tf.constant(shift, tf.uint32)))
        words = words * tf.constant(factor, tf.uint32) + keys[1]
    words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, tf.constant(16, tf.uint32)))
    return tf.reshape(words, shape)


def grey(images: Any, max_level: int) -> Any:
    """Images as grey levels in [0, 1]: float32."""
    if images.dtype in (tf.float32, np.float32):
        return images
    return tf.cast(images, tf.float32) / max_level
