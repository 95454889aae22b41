"""Networks that give another network its part of a vector: the first latents, or an image beside a label."""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as tfk

from tfvae.support.rules import Body, Count, checked


@checked
def first(network: Body, of: Count) -> tfk.Sequential:
    """Feeds only the first D_1 of `of` latents to a network [B, D_1], in `hierarchical` models: [B, of] -> features.

    >>> tfvae.networks.first(tfvae.networks.mlp((2,), [16]), of=6).input_shape
    (None, 6)
    """
    size = network.input_shape[-1]
    if of < size:
        raise ValueError(f"of must be at least the network's {size} inputs, got {of}")
    layers = [tfk.layers.InputLayer((of,)), tfk.layers.Lambda(lambda z: z[:, :size], name="first"), network]
    return tfk.Sequential(layers, name=f"first_{size}")


@checked
def labelled(network: Body, image_shape: Sequence[int]) -> tfk.Sequential:
    """Feeds a one-hot label [K] and a flat image, in one vector [B, K + H W C], to a network of images.

    The label becomes K constant channels before the image's, for `conditional` models; an `mlp` takes the vector.
    The network is a Keras body, [B, H, W, K + C] -> features.

    >>> tfvae.networks.labelled(tfvae.networks.conv((8, 8, 11), (4,)), (8, 8, 1)).input_shape  # 10 classes + 64 pixels
    (None, 74)
    """
    height, width, channels = image_shape
    num_classes = network.input_shape[-1] - channels
    if num_classes < 1:
        raise ValueError(f"network must take more channels than the image's {channels}, got {channels + num_classes}")

    def as_image(v):
        y, x = v[:, :num_classes], tf.reshape(v[:, num_classes:], [-1, height, width, channels])
        y = tf.tile(y[:, tf.newaxis, tf.newaxis, :], [1, height, width, 1])
        return tf.concat([y, x], axis=-1)  # [B, H, W, K + C]

    inputs = tfk.layers.InputLayer((num_classes + height * width * channels,))
    return tfk.Sequential([inputs, tfk.layers.Lambda(as_image, name="as_image"), network], name="labelled")
