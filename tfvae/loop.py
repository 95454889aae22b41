"""Training from images in memory: one compiled call runs many steps and reads its own batches."""

import tensorflow as tf


class Loop:
    """Keras' `train_function`, without Keras' iterator.

    Batches differ in nothing from those of a `tf.data` pipeline over the same `Epochs`; the numbers do not depend on
    how many steps a call runs.

    Args:
        step: images [B, H, W, C] -> None: one update.
        epochs: an `Epochs`.
        batch_size: of all batches but the last of an epoch.
        compile: makes a TensorFlow function of a Python one, or is the identity.
    """

    def __init__(self, step, epochs, batch_size, compile):
        self._step = step
        self.epochs = epochs
        self.batch_size = batch_size
        self._num_full, self._rest = divmod(epochs.num_images, batch_size)
        self._compiled = compile(self._run)
        self._epoch = self._next_step = None

    def start(self, epoch):
        """Goes to the beginning of an epoch."""
        order = self.epochs.order(tf.constant(epoch, tf.int64))
        full = self._num_full * self.batch_size
        self._batches = tf.reshape(order[:full], [self._num_full, self.batch_size])
        self._last = order[tf.newaxis, full:]
        self._epoch, self._next_step = epoch, 0

    def run(self, num_steps):
        """Takes steps, through the ends of epochs."""
        while num_steps:
            if self._next_step == self._num_full + (self._rest > 0):
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
            step = first + i
            self._step(self.epochs.read(epoch, step, batches[step % batches.shape[0]]))
            return [i + 1]

        tf.while_loop(lambda i: i < count, one, [tf.zeros([], tf.int64)])
