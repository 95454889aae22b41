"""Plain Keras bodies: they know shapes, not probability.

A body maps a batch of inputs to features. The distribution on top (`posteriors`, `likelihoods`) adds the last linear
layer, so that a body with no hidden layer makes a linear encoder or decoder.
"""

import tensorflow as tf
import tf_keras as tfk

from tfvae.support import checks

__all__ = ["conv", "first", "labelled", "mlp", "transposed_conv"]


def __dir__():
    return __all__


def mlp(input_shape, hidden_sizes, activation="tanh", *, seed=None, name="mlp"):
    """A multilayer perceptron: [B, *input_shape] -> [B, hidden_sizes[-1]].

    Args:
        input_shape: the shape of one input, e.g. `(8, 8, 1)` for an image or `(2,)` for a latent vector.
        hidden_sizes: units of each hidden layer; empty for the identity (a linear model).
        activation: any Keras activation.
        seed: an integer that fixes the initial weights, or None.

    Raises:
        ValueError: a size below 1.
    """
    layers = [tfk.layers.InputLayer(tuple(input_shape)), tfk.layers.Flatten(name="flatten")]
    for i, size in enumerate(hidden_sizes):
        layers.append(
            tfk.layers.Dense(
                checks.count("hidden_sizes", size),
                activation,
                kernel_initializer=_glorot(seed, i),
                name=f"hidden_{i}",
            )
        )
    return tfk.Sequential(layers, name=name)


def first(network, of):
    """A body that reads the first latents alone: [B, of] -> network([B, D_1]); for `hierarchical` models.

    Args:
        network: a Keras body, [B, D_1] -> features.
        of: the number of all latents, at least D_1.
    """
    size = network.input_shape[-1]
    if of < size:
        raise ValueError(f"of must be at least the network's {size} inputs, got {of}")
    layers = [tfk.layers.InputLayer((of,)), tfk.layers.Lambda(lambda z: z[:, :size], name="first"), network]
    return tfk.Sequential(layers, name=f"first_{size}")


def labelled(network, image_shape):
    """A body of a label and an image in one vector, each class a channel of ones or zeros before the image's channels.

    For `conditional` models whose network wants images; an `mlp` takes the vector as it is.

    Args:
        network: a Keras body, [B, H, W, K + C] -> features.
        image_shape: `(H, W, C)`.
    """
    height, width, channels = image_shape
    num_classes = network.input_shape[-1] - channels
    if num_classes < 1:
        raise ValueError(f"network must take more channels than the image's {channels}, got {channels + num_classes}")

    def as_image(v):
        y, x = v[:, :num_classes], tf.reshape(v[:, num_classes:], [-1, height, width, channels])
        y = tf.tile(y[:, tf.newaxis, tf.newaxis, :], [1, height, width, 1])
        return tf.concat([y, x], axis=-1)

    inputs = tfk.layers.InputLayer((num_classes + height * width * channels,))
    return tfk.Sequential([inputs, tfk.layers.Lambda(as_image, name="as_image"), network], name="labelled")


def conv(input_shape, filters=(32, 64), kernel_size=3, activation="relu", dense_sizes=(), *, seed=None, name="conv"):
    """A convolutional encoder body: [B, H, W, C] -> [B, features]; each layer halves height and width (rounded up).

    Args:
        input_shape: `(H, W, C)`.
        filters: output channels of each layer.
        dense_sizes: units of dense layers that follow.

    Raises:
        ValueError: an input that is no image, or a size below 1.
    """
    if len(input_shape) != 3:
        raise ValueError(f"input_shape must be (height, width, channels), got {tuple(input_shape)}")
    layers = [tfk.layers.InputLayer(tuple(input_shape))]
    for i, size in enumerate(filters):
        layers.append(
            tfk.layers.Conv2D(
                checks.count("filters", size),
                checks.count("kernel_size", kernel_size),
                strides=2,
                padding="same",
                activation=activation,
                kernel_initializer=_glorot(seed, i),
                name=f"conv_{i}",
            )
        )
    layers.append(tfk.layers.Flatten(name="flatten"))
    return tfk.Sequential([*layers, *_dense(dense_sizes, activation, seed, len(filters))], name=name)


def transposed_conv(
    input_shape,
    image_shape,
    filters=(64, 32),
    kernel_size=3,
    activation="relu",
    dense_sizes=(),
    *,
    seed=None,
    name="transposed_conv",
):
    """A convolutional decoder body: [B, D] -> [B, H, W, filters[-1]]; each layer doubles height and width.

    A dense layer makes the coarsest feature map; where the doubled size overshoots the image (28 = 4 * 7 does not,
    30 does), the map is cropped. The likelihood's last layer on it is then a convolution of size 1.

    Args:
        input_shape: `(D,)`, the latent size.
        image_shape: `(H, W, C)` of the images to be decoded.
        filters: output channels of each layer.
        dense_sizes: units of dense layers that come first.

    Raises:
        ValueError: an image_shape that is no image, or a size below 1.
    """
    if len(image_shape) != 3:
        raise ValueError(f"image_shape must be (height, width, channels), got {tuple(image_shape)}")
    height, width, _ = image_shape
    scale = 2 ** len(filters)
    coarse = (-(-height // scale), -(-width // scale), checks.count("filters", filters[0]))
    layers = [
        tfk.layers.InputLayer(tuple(input_shape)),
        *_dense(dense_sizes, activation, seed, len(filters) + 1),
        tfk.layers.Dense(
            coarse[0] * coarse[1] * coarse[2], activation, kernel_initializer=_glorot(seed, 0), name="dense"
        ),
        tfk.layers.Reshape(coarse, name="reshape"),
    ]
    for i, size in enumerate(filters):
        layers.append(
            tfk.layers.Conv2DTranspose(
                checks.count("filters", size),
                checks.count("kernel_size", kernel_size),
                strides=2,
                padding="same",
                activation=activation,
                kernel_initializer=_glorot(seed, i + 1),
                name=f"conv_{i}",
            )
        )
    crop = ((0, coarse[0] * scale - height), (0, coarse[1] * scale - width))
    return tfk.Sequential([*layers, tfk.layers.Cropping2D(crop, name="crop")], name=name)


def _dense(sizes, activation, seed, first):
    """Dense layers, the i-th with the seed first + i."""
    return [
        tfk.layers.Dense(
            checks.count("dense_sizes", size),
            activation,
            kernel_initializer=_glorot(seed, first + i),
            name=f"dense_{i}",
        )
        for i, size in enumerate(sizes)
    ]


def _glorot(seed, i):
    return tfk.initializers.GlorotUniform(seed=None if seed is None else seed + i)
