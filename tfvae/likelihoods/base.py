"""The base of all likelihoods: a network, a linear layer, and a TFP distribution layer."""

import math
from typing import Any

import tensorflow as tf
import tf_keras as tfk
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from tfvae.support.rules import Body, checked


@checked
class Likelihood(tfk.Model):
    """p(x|z), a `tfd.Distribution`: network, linear layer, distribution layer.

    Args:
        make_distribution: parameters [..., *event_shape[:-1], params_size] -> a distribution of x; trailing batch axes
            that belong to the event are taken as independent.
        params_size: channels -> the number of parameters per pixel; default: as many.

    Attributes:
        support, in_support: the rule that x obeys, in words; x -> booleans of the same shape. `log_prob` does not check
            it, and means nothing off it.
        to_support, to_support_rule: images in [0, 1] (bytes divided by 255) -> the nearest in the support; in words.
        scale: of `normal`, `laplace` and `normal_optimal`, a number or a variable; None for the others.
    """

    any_leading_axes = True

    def __init__(
        self, network: Body, event_shape, make_distribution, support, in_support, to_support, seed, *, params_size=int
    ):
        event_shape = tuple(event_shape)
        super().__init__(name="decoder")
        self.network, self.event_shape = network, event_shape
        self.support, self.in_support = support, in_support
        self.to_support_rule, self.to_support = to_support
        self._params_shape = (*event_shape[:-1], params_size(event_shape[-1]))
        # On a feature map as large as the image, the linear layer is a convolution of size 1.
        on_map = network.output_shape[1:-1] == event_shape[:-1] and len(event_shape) > 1
        units = self._params_shape[-1] if on_map else math.prod(self._params_shape)
        initializer = tfk.initializers.GlorotUniform(seed=seed)
        self.params = tfk.layers.Dense(units, kernel_initializer=initializer, name="params")
        self.flatten = tf.identity if on_map else tfk.layers.Flatten(name="flatten")

        def make(params):
            elements = make_distribution(params)
            return tfd.Independent(elements, len(event_shape) - elements.event_shape.rank)

        self.distribution = tfpl.DistributionLambda(make, tfd.Distribution.mean, dtype="float32", name="distribution")

    @property
    def scale(self) -> Any:
        return getattr(self.distribution, "scale", None)

    def call(self, z):
        h = self.flatten(self.network(tf.reshape(z, [-1, z.shape[-1]])))
        params = tf.cast(self.params(h), tf.float32)
        return self.distribution(tf.reshape(params, tf.concat([tf.shape(z)[:-1], self._params_shape], axis=0)))
