"""What throughput.py lets run against each other: the models, the task, and who trains.

A contender's module has one function, `make(task, **options)`, which builds the model and returns `epoch()`; that
trains one epoch and returns the number of images really processed and the mean loss of an image, in nats. All train
the same model, on images shuffled anew and binarized anew (or once, if static) each epoch, with Adam at 1e-3.
"""

import importlib
import itertools
import queue
import threading
from typing import NamedTuple

import numpy as np


class Model(NamedTuple):
    """Sizes of the encoder; the decoder has them reversed. With filters, convolutions of size 3 and stride 2."""

    hidden: tuple
    latent_size: int
    activation: str
    num_samples: int = 1
    filters: tuple = ()


class Task(NamedTuple):
    """What a contender gets; images are bytes [N, 784]."""

    model: Model
    images: np.ndarray
    batch_size: int
    static: bool = False
    gpu: bool = False


class Contender(NamedTuple):
    """The module that has `make`, its options, and the distribution that must be installed."""

    module: str
    needs: str
    options: dict


MODELS = {
    "mlp-400-20": Model((400,), 20, "relu"),
    "mlp-200-200-50": Model((200, 200), 50, "tanh"),
    "iwae-50": Model((200, 200), 50, "tanh", num_samples=50),
    "conv": Model((), 20, "relu", filters=(32, 64)),
}

CONTENDERS = {
    "tfvae_default": Contender("own", "tensorflow", {}),
    "tfvae_jit": Contender("own", "tensorflow", {"jit_compile": True}),
    "tfvae_bfloat16": Contender("own", "tensorflow", {"policy": "mixed_bfloat16"}),
    "tf_keras_tutorial": Contender("tf", "tf_keras", {"keras": "tf_keras"}),
    "tf_keras_tuned": Contender(
        "tf", "tf_keras", {"keras": "tf_keras", "jit_compile": True, "steps_per_execution": 32}
    ),
    "keras3": Contender("tf", "keras", {"keras": "keras"}),
    "torch_eager": Contender("torch_", "torch", {}),
    "torch_compiled": Contender("torch_", "torch", {"compiled": True}),
    "torch_bfloat16": Contender("torch_", "torch", {"bfloat16": True}),
    "jax_step": Contender("jax_", "jax", {}),
    "jax_scan": Contender("jax_", "jax", {"scanned": True}),
}


def make(name, task):
    """The contender's `epoch`, ready to train."""
    module, _, options = CONTENDERS[name]
    return importlib.import_module(f"contenders.{module}").make(task, **options)


def products(model):
    """The matrix products of one image, forwards: rows, inputs, outputs, and whether a gradient goes on backwards.

    A convolution is the product of its patches with its weights; the decoder's rows are those of all samples of z.
    """
    encoder, decoder, size, channels = [], [], 28, 1
    for filters in model.filters:
        size //= 2
        encoder.append((size**2, 9 * channels, filters))
        channels = filters
    flat = size**2 * channels
    encoder += [(1, n, m) for n, m in itertools.pairwise([flat, *model.hidden, 2 * model.latent_size])]
    decoder += [(1, n, m) for n, m in itertools.pairwise([model.latent_size, *model.hidden[::-1], flat])]
    for filters in model.filters[::-1]:
        decoder.append((size**2, channels, 9 * filters))
        size, channels = 2 * size, filters
    if model.filters:
        decoder.append((size**2, channels, 1))
    decoder = [(rows * model.num_samples, n, m) for rows, n, m in decoder]
    return [(*product, i > 0) for i, product in enumerate(encoder + decoder)]


def operations(model):
    """Floating-point operations in the products of a training step, for each image: backwards two for each forwards.

    The first layer has no gradient to pass on, and makes one product less.
    """
    return sum(2 * rows * n * m * (2 + goes_on) for rows, n, m, goes_on in products(model))


def paced(callback, fit):
    """Keras' `fit` as `epoch()`: one call of it, which waits before each epoch, as users make one call and no more.

    Args:
        callback: `keras.callbacks.Callback`.
        fit: takes a list of callbacks.
    """
    begun, ended = queue.SimpleQueue(), queue.SimpleQueue()

    class Pace(callback):
        def on_epoch_begin(self, epoch, logs=None):
            begun.get()

        def on_epoch_end(self, epoch, logs=None):
            ended.put(logs["loss"])

    def run():
        try:
            fit([Pace()])
        except Exception as error:
            ended.put(error)

    thread = threading.Thread(target=run, daemon=True)

    def epoch():
        if not thread.is_alive():
            thread.start()
        begun.put(None)
        loss = ended.get()
        if isinstance(loss, Exception):
            raise loss
        return loss

    return epoch


def check_gpu(task, found):
    if task.gpu and not found:
        raise RuntimeError("the framework finds no GPU")
