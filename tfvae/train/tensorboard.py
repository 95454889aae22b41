"""Curves and pictures for TensorBoard, where it is installed."""

import importlib.util
import io
from typing import Any

import matplotlib.pyplot as plt
import tensorflow as tf
import tf_keras as tfk

from tfvae import plots
from tfvae.support.rules import Count, checked


@checked
class Curves(tfk.callbacks.Callback):
    """Logs every metric of every epoch, and samples from the prior every `every` epochs, to files in `directory`.

    >>> vae.fit(data.train(64), callbacks=[tfvae.train.Curves("logs")])  # doctest: +SKIP

    Raises:
        ValueError: tensorboard is not installed.
    """

    def __init__(self, directory, every: Count = 10):
        super().__init__()
        if importlib.util.find_spec("tensorboard") is None:
            raise ValueError("tensorboard must be installed for its logs, got none: pip install tensorboard")
        self.directory, self.every = directory, every
        self.writer: Any = None

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(str(self.directory))

    def on_epoch_end(self, epoch, logs=None):
        with self.writer.as_default(step=epoch + 1):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            if (epoch + 1) % self.every == 0:
                tf.summary.image("samples", _pixels(plots.samples(self.model, num=50))[tf.newaxis])

    def on_train_end(self, logs=None):
        self.writer.close()


def _pixels(figure):
    """A figure as an image, uint8 [H, W, 4]."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return tf.io.decode_png(buffer.getvalue(), channels=4)
