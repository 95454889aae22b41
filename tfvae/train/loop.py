"""Training from images in memory: one compiled call runs many steps and reads its own batches."""

import math
from collections.abc import Callable

import tensorflow as tf
import tf_keras as tfk

from tfvae.data import Epochs
from tfvae.support import bodies
from tfvae.support.rules import checked

# Bounds for XLA, by benchmarks/throughput.py and benchmarks/growth.py: on two cores it shortens a step of 128 images by
# a fifth, lengthens one of 1024 images or of many samples of z, and takes forty times as long for convolutions.
# Compilation costs two seconds more than tracing alone, which 5,000 steps pay back.
_MOST_ROWS, _LEAST_STEPS = 256, 5000


@checked
def xla_pays(vae, batch_size, num_steps):
    """Whether XLA was measured to be faster for such a training, compilation included.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> vae.compile()
    >>> tfvae.train.xla_pays(vae, batch_size=64, num_steps=100)
    False

    Args:
        vae: a compiled `VAE`; the `num_samples` of its objective is the number of rows that the decoder sees per image.
        batch_size: images in a step.
        num_steps: in the whole run.
    """
    rows = batch_size * getattr(vae.objective, "num_samples", math.inf)
    pieces = [vae.encoder, vae.decoder]
    if not all(isinstance(piece, tfk.Model) for piece in pieces):
        return False
    parts = [m for piece in pieces for m in bodies.layers(piece) if not isinstance(m, tfk.Model)]
    layers = [m for m in parts if getattr(m, "weights", ())]
    # Not in half precision, whose matrix products XLA slows down on a CPU.
    dense = all(isinstance(m, tfk.layers.Dense) and m.compute_dtype == m.variable_dtype for m in layers)
    # Under XLA random numbers of a layer's own, as of dropout, would not repeat.
    dense &= not any(isinstance(m, tfk.__internal__.layers.BaseRandomLayer) for m in parts)
    return dense and rows <= _MOST_ROWS and num_steps >= _LEAST_STEPS and not tf.config.list_logical_devices("GPU")


@checked
class Loop:
    """Keras' `train_function`, without Keras' iterator.

    Batches equal those of a `tf.data` pipeline over the same `Epochs`; the numbers do not depend on how many steps a
    call runs.

    >>> epochs = tfvae.data.load("digits").train(1000).in_memory
    >>> loop = tfvae.train.Loop(lambda x: print(x.shape), epochs, 1000, eagerly=True)
    >>> loop.start(0)
    >>> loop.run(2)
    (1000, 8, 8, 1)
    (293, 8, 8, 1)

    Args:
        step: images [B, H, W, C] -> None: one update.
        epochs: an `Epochs`.
        batch_size: of all batches but the last of an epoch.
        jit: whether XLA compiles the steps.
        eagerly: whether they run without compilation, for debugging.
    """

    def __init__(self, step: Callable, epochs: Epochs, batch_size, *, jit: bool = False, eagerly: bool = False):
        self._step, self.epochs, self.batch_size, self.jit = step, epochs, batch_size, jit
        self._num_full, rest = divmod(epochs.num_images, batch_size)
        self.num_steps = self._num_full + (rest > 0)  # in an epoch
        self._compiled = self._run if eagerly else tf.function(self._run, jit_compile=jit)
        self._epoch = self._next_step = 0

    def start(self, epoch):
        """Goes to the beginning of an epoch."""
        order = self.epochs.order(tf.constant(epoch, tf.int64))  # [N]
        full = self._num_full * self.batch_size
        self._batches = tf.reshape(order[:full], [self._num_full, self.batch_size])
        self._last = order[tf.newaxis, full:]  # [1, rest]
        self._epoch, self._next_step = epoch, 0

    def run(self, num_steps):
        """Runs this many steps, in the next epochs too."""
        while num_steps:
            if self._next_step == self.num_steps:
                self.start(self._epoch + 1)
            last = self._next_step == self._num_full
            count = 1 if last else min(num_steps, self._num_full - self._next_step)
            now = [tf.constant(number, tf.int64) for number in (self._epoch, self._next_step, count)]
            self._compiled(self._last if last else self._batches, *now)
            self._next_step += count
            num_steps -= count

    def _run(self, batches, epoch, first, count):
        """Steps first, first + 1, ... of an epoch; `batches`: the indices of step `first % len(batches)` onwards."""

        def one(i):
            # tf.gather, not slicing: XLA treats slice offsets as constants and would recompile for each.
            indices = tf.gather(batches, (first + i) % batches.shape[0])
            self._step(self.epochs.read(epoch, first + i, indices))
            return [i + 1]

        tf.while_loop(lambda i: i < count, one, [tf.zeros([], tf.int64)])
