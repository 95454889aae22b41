"""Multilayer perceptrons and convolutions, without a last linear layer: `posteriors` and `likelihoods` add it."""

import math
from collections.abc import Sequence

import tf_keras as tfk

from tfvae.support.rules import ImageShape, Sizes, checked


@checked
def mlp(input_shape, hidden_sizes: Sequence[int], activation="tanh", *, seed: int | None = None, name: str = "mlp"):
    """A multilayer perceptron: [B, *input_shape] -> [B, hidden_sizes[-1]].

    input_shape is that of one input, e.g. `(8, 8, 1)` for an image or `(2,)` for a latent vector. `hidden_sizes` are
    the units of each hidden layer, at least 1; empty for the identity (a linear model).

    >>> tfvae.networks.mlp((8, 8, 1), [32, 16]).output_shape
    (None, 16)
    """
    layers = [tfk.layers.InputLayer(tuple(input_shape)), tfk.layers.Flatten(name="flatten")]
    return tfk.Sequential([*layers, *_dense(hidden_sizes, activation, seed, "hidden")], name=name)


@checked
def conv(input_shape: ImageShape, filters=(32, 64), kernel_size=3, activation="relu", dense_sizes=(), *, seed=None):
    """A convolutional encoder body: [B, H, W, C] -> [B, features]; each layer halves height and width (rounded up).

    `filters` are the layers' output channels, `dense_sizes` the units of the dense layers after them, at least 1;
    input_shape is `(H, W, C)`, else ValueError.

    >>> tfvae.networks.conv((28, 28, 1), filters=(4, 8)).output_shape  # 7 * 7 * 8
    (None, 392)
    """
    layers = _convolutions(tfk.layers.Conv2D, filters, kernel_size, activation, seed)
    layers = [tfk.layers.InputLayer(tuple(input_shape)), *layers, tfk.layers.Flatten(name="flatten")]
    layers += _dense(dense_sizes, activation, seed, "dense", len(filters))
    return tfk.Sequential(layers, name="conv")


@checked
def transposed_conv(
    input_shape, image_shape, filters: Sizes = (64, 32), kernel_size=3, activation="relu", dense_sizes=(), *, seed=None
):
    """A convolutional decoder body: [B, D] -> [B, H, W, filters[-1]]; each layer doubles height and width.

    A dense layer makes the coarsest feature map; where the doubled size exceeds the image's (32 for 30), the map is
    cropped. The likelihood's last layer is then a convolution of size 1. input_shape is `(D,)`; image_shape is
    `(H, W, C)`, else ValueError; `filters` and `dense_sizes` as for `conv`, but the dense layers come first.

    >>> tfvae.networks.transposed_conv((2,), (28, 28, 1), filters=(8, 4)).output_shape
    (None, 28, 28, 4)
    """
    height, width, _ = image_shape
    scale = 2 ** len(filters)
    coarse = (-(-height // scale), -(-width // scale), filters[0])
    layers = [tfk.layers.InputLayer(tuple(input_shape))]
    layers += _dense(dense_sizes, activation, seed, "dense", len(filters) + 1)
    layers.append(tfk.layers.Dense(math.prod(coarse), activation, kernel_initializer=_glorot(seed, 0), name="dense"))
    layers.append(tfk.layers.Reshape(coarse, name="reshape"))
    layers += _convolutions(tfk.layers.Conv2DTranspose, filters, kernel_size, activation, seed, 1)
    crop = ((0, coarse[0] * scale - height), (0, coarse[1] * scale - width))
    return tfk.Sequential([*layers, tfk.layers.Cropping2D(crop, name="crop")], name="transposed_conv")


def _dense(sizes, activation, seed, name, first=0):
    def layer(i, size):
        return tfk.layers.Dense(size, activation, kernel_initializer=_glorot(seed, first + i), name=f"{name}_{i}")

    return [layer(i, size) for i, size in enumerate(sizes)]


def _convolutions(kind, filters, kernel_size, activation, seed, first=0):
    def layer(i, size):
        options = {"kernel_initializer": _glorot(seed, first + i), "name": f"conv_{i}", "activation": activation}
        return kind(size, kernel_size, strides=2, padding="same", **options)

    return [layer(i, size) for i, size in enumerate(filters)]


def _glorot(seed, i):
    return tfk.initializers.GlorotUniform(seed=None if seed is None else seed + i)
