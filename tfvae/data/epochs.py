"""Training images in memory: in what order an epoch takes them, and how a batch of them is read.

Both are functions of (seed, epoch, step) made of TensorFlow operations, so that they run in a `tf.data` pipeline, for
whoever iterates, and inside the compiled training step, where nothing is copied or waited for, for `VAE.fit`.
"""

import functools

import numpy as np
import tensorflow as tf

from tfvae.data.batches import Batches


class Stored:
    """A source of images that are in memory; any other has these methods too.

    Args:
        images: [N, H, W, C]; integers that count up to max_level, or float32 in [0, 1].
    """

    def __init__(self, images: np.ndarray, max_level: int):
        self._images, self._max_level = images, max_level
        # A tensor, captured by reference: an array would be copied into each graph that reads it.
        self._tensor = tf.constant(images)

    def __len__(self) -> int:
        return len(self._images)

    def gather(self, indices) -> tf.Tensor:
        """The images at these places, as they are stored: [B] -> [B, H, W, C]."""
        return tf.gather(self._tensor, indices)

    @functools.cached_property
    def _levels(self):
        if np.issubdtype(self._images.dtype, np.integer):
            return grey(np.flatnonzero(np.bincount(self._images.ravel())), self._max_level)
        return self._images.ravel()

    def levels(self) -> np.ndarray:
        """Every grey level that can be read: in one dimension, float32."""
        return self._levels

    def total(self) -> np.ndarray:
        """The sum of the images: float64 [H, W, C]."""
        return self._images.sum(axis=0, dtype=np.float64)


class Epochs:
    """Epochs of images in memory.

    Args:
        source: a `Stored`, or what else has its methods.
        max_level: the integer that means 1.
        stochastic: draw x ~ Bernoulli(grey) anew at each reading.
        seed: of order and binarization.
        labels: int64 [N], to be read with the images; or None.
    """

    def __init__(self, source, *, max_level: int, stochastic: bool, seed: int, labels=None):
        self._source, self.num_images, self.max_level = source, len(source), max_level
        self.stochastic, self.seed = stochastic, seed
        self.labels = None if labels is None else tf.constant(labels, tf.int64)

    def with_labels(self, labels) -> "Epochs":
        """These epochs, with labels."""
        options = {"max_level": self.max_level, "stochastic": self.stochastic, "seed": self.seed}
        return Epochs(self._source, **options, labels=labels)

    def levels(self) -> np.ndarray:
        """Every grey level that can be read: in one dimension, float32."""
        return np.array([0, 1], np.float32) if self.stochastic else self._source.levels()

    def order(self, epoch) -> tf.Tensor:
        """A permutation of the images: [N]."""
        return tf.random.experimental.stateless_shuffle(tf.range(self.num_images), seed=self._seed(epoch))

    def read(self, epoch, step, indices, part=None):
        """A batch, the `step`-th of an epoch: [B] -> float32 [B, H, W, C]; with labels, (images, labels).

        Args:
            part: (first, end), to read these images of the batch alone; they are the same as in the whole of it.
        """
        first, end = (0, None) if part is None else part
        x = self._images(epoch, step, indices, first, end)
        return x if self.labels is None else (x, tf.gather(self.labels, indices[first:end]))

    def _images(self, epoch, step, indices, first, end):
        x = self._source.gather(indices[first:end])
        if not self.stochastic:
            return grey(x, self.max_level)
        seed = tf.random.experimental.stateless_fold_in(self._seed(epoch), step)
        if not x.dtype.is_integer:
            return draw(self._source.gather(indices), seed)[first:end]
        # Bits against integers, no floats in between: P(1) is x to max_level / 2^32.
        shape = tf.shape(x)
        bits = random_bits(shape, seed, tf.cast(first, tf.int32) * tf.reduce_prod(shape[1:]))
        return tf.cast(bits < tf.cast(x, tf.uint32) * (tf.uint32.max // self.max_level), tf.float32)

    def batches(self, batch_size: int, first_epoch: int = 0) -> Batches:
        """What `read` gives for each batch; the last batch of an epoch is smaller."""

        def numbered(epoch):
            indices = tf.data.Dataset.from_tensor_slices(self.order(epoch)).batch(batch_size)
            return indices.enumerate().map(lambda step, indices: (epoch, step, indices))

        def pipeline(epochs):
            batches = epochs.flat_map(numbered).map(self.read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            return batches.prefetch(tf.data.AUTOTUNE)

        def parts(first, context):
            def mine(epoch, step, indices):
                ends = bounds(tf.size(indices), replicas_of(context), context.num_replicas_in_sync)
                ends = tf.data.Dataset.from_tensor_slices((ends[:-1], ends[1:]))
                return ends.map(lambda *part: self.read(epoch, step, indices, part))

            return tf.data.Dataset.counter(first).flat_map(numbered).flat_map(mine).prefetch(tf.data.AUTOTUNE)

        num_steps = -(-self.num_images // batch_size)
        return Batches(pipeline, batch_size, num_steps, first_epoch=first_epoch, in_memory=self, parts=parts)

    def _seed(self, epoch):
        return tf.stack([tf.constant(self.seed, tf.int64), epoch])


def draw(x: tf.Tensor, seed) -> tf.Tensor:
    """x ~ Bernoulli(grey), as 0 and 1, of grey levels in [0, 1]: float32, the shape of x."""
    return tf.cast(tf.random.stateless_uniform(tf.shape(x), seed) < x, tf.float32)


def replicas_of(context: tf.distribute.InputContext) -> range:
    """The numbers of the replicas that one worker's pipeline feeds."""
    count = context.num_replicas_in_sync // context.num_input_pipelines
    return range(context.input_pipeline_id * count, (context.input_pipeline_id + 1) * count)


def bounds(size, replicas: range, num_replicas: int):
    """Where the parts of `size` images begin and end that `replicas`, out of `num_replicas`, take."""
    return size * np.arange(replicas.start, replicas.stop + 1) // num_replicas


def random_bits(shape, seed, first=0) -> tf.Tensor:
    """Uniform 32-bit words, a hash of their position and the seed: uint32 [*shape].

    The same from every compiler and on every device, and good enough to draw pixels by: two rounds of multiplication
    and shift (Wellons' "lowbias32"), keyed by the seed before each. Not for cryptography. TensorFlow's Philox takes 4.5
    times as long, under XLA 24 times.

    Args:
        seed: a stateless pair.
        first: the position of the first word.
    """
    keys = tf.bitcast(tf.random.experimental.stateless_fold_in(seed, 0), tf.uint32)
    words = tf.cast(first + tf.range(tf.reduce_prod(shape)), tf.uint32) * 0x9E3779B9 + keys[0]
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, tf.constant(shift, tf.uint32)))
        words = words * tf.constant(factor, tf.uint32) + keys[1]
    words = tf.bitwise.bitwise_xor(words, tf.bitwise.right_shift(words, tf.constant(16, tf.uint32)))
    return tf.reshape(words, shape)


def grey(images, max_level: int):
    """Images as grey levels in [0, 1]: float32."""
    if images.dtype in (tf.float32, np.float32):
        return images
    return tf.cast(images, tf.float32) / max_level
