"""Likelihoods p(x|z): a network, a linear layer, and a TFP distribution layer.

Each function returns a Keras model that maps latents [..., D] (any leading axes) to a `tfd.Distribution` with batch
shape [...] and event shape `event_shape`; log_prob is in nats, summed over the event. `support` says in words which x
have a probability, `in_support(x)` tells it elementwise.
"""

import math

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

tfb = tfp.bijectors
tfd = tfp.distributions
tfpl = tfp.layers


class Likelihood(tfk.Model):
    """p(x|z), a `tfd.Distribution`: network, linear layer, distribution layer.

    Attributes:
        event_shape: the shape of one x.
        support: the rule that x obeys, in words.
        in_support: x -> booleans of the same shape.
        to_support: images in [0, 1] -> the nearest in the support; how bytes, divided by 255, are taken.
        to_support_rule: that in words.
        scale: of `normal` and `laplace`: a number, or the variable that learns it; None for the others.
    """

    any_leading_axes = True

    def __init__(self, network, event_shape, make_distribution, support, in_support, to_support, seed):
        event_shape = tuple(event_shape)
        if not event_shape or min(event_shape) < 1:
            raise ValueError(f"event_shape must have sizes of at least 1, got {event_shape}")
        super().__init__(name="decoder")
        self.network = network
        self.event_shape = event_shape
        self.support = support
        self.in_support = in_support
        self.to_support_rule, self.to_support = to_support
        # On a feature map as large as the image, the linear layer is a convolution of size 1.
        on_map = network.output_shape[1:-1] == event_shape[:-1] and len(event_shape) > 1
        self.params = tfk.layers.Dense(
            event_shape[-1] if on_map else math.prod(event_shape),
            kernel_initializer=tfk.initializers.GlorotUniform(seed=seed),
            name="params",
        )
        self.flatten = tf.identity if on_map else tfk.layers.Flatten(name="flatten")
        self.distribution = tfpl.DistributionLambda(
            lambda params: tfd.Independent(make_distribution(params), len(event_shape)),
            tfd.Distribution.mean,
            dtype="float32",
            name="distribution",
        )

    @property
    def scale(self):
        return getattr(self.distribution, "scale", None)

    def call(self, z):
        leading = tf.shape(z)[:-1]
        h = self.flatten(self.network(tf.reshape(z, [-1, z.shape[-1]])))
        params = tf.reshape(tf.cast(self.params(h), tf.float32), tf.concat([leading, self.event_shape], axis=0))
        return self.distribution(params)


class BinomialProportion(tfd.Distribution):
    """P(x) = C(n, n x) p^(n x) (1 - p)^(n - n x) for x in {0, 1/n, ..., 1}, with p = sigmoid(logits).

    A probability mass function: a binomial count of n trials, divided by n so that it is a grey level in [0, 1].
    """

    def __init__(self, total_count, logits, name="BinomialProportion"):
        parameters = dict(locals())
        self.total_count = total_count
        self.logits = tf.convert_to_tensor(logits)
        super().__init__(
            dtype=self.logits.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"logits": tfp.util.ParameterProperties()}

    def _event_shape(self):
        return tf.TensorShape([])

    def _event_shape_tensor(self):
        return tf.constant([], tf.int32)

    def _log_prob(self, x):
        n = tf.cast(self.total_count, self.dtype)
        k = tf.round(n * x)
        # On x alone, [B, ...]: the coefficient is computed once, not for each of the samples of z.
        log_coefficient = tf.math.lgamma(n + 1) - tf.math.lgamma(k + 1) - tf.math.lgamma(n - k + 1)
        return log_coefficient + k * self.logits - n * tf.nn.softplus(self.logits)

    def _sample_n(self, n, seed=None):
        counts = tfd.Binomial(tf.cast(self.total_count, self.dtype), logits=self.logits).sample(n, seed=seed)
        return counts / tf.cast(self.total_count, self.dtype)

    def _mean(self):
        return tf.sigmoid(self.logits)

    def _variance(self):
        p = tf.sigmoid(self.logits)
        return p * (1 - p) / tf.cast(self.total_count, self.dtype)


class _Bernoulli(tfd.Bernoulli):
    """TFP's, with a log_prob that takes one softplus and no guards: x is 0 or 1 here, by the check at the door."""

    def _log_prob(self, x):
        return x * self.logits - tf.nn.softplus(self.logits)


def bernoulli(network, event_shape, *, seed=None):
    """p(x|z) = prod_i p_i^x_i (1 - p_i)^(1 - x_i), x in {0, 1}, p = sigmoid(.).

    Kingma and Welling (2013, arXiv 1312.6114, appendix C.1). For binarized images.
    """
    return Likelihood(
        network,
        event_shape,
        lambda logits: _Bernoulli(logits=logits, dtype=logits.dtype),
        "0 or 1 under the bernoulli likelihood (binarize the images, or choose another likelihood)",
        lambda x: tf.logical_or(tf.equal(x, 0), tf.equal(x, 1)),
        ("1 from 0.5 upwards, else 0", lambda x: tf.cast(x >= 0.5, x.dtype)),
        seed,
    )


def binomial(network, event_shape, total_count, *, seed=None):
    """p(x|z) = prod_i Binomial(n x_i; n, p_i), x in {0, 1/n, ..., 1}, p = sigmoid(.): a mass, not a density.

    It takes the n trials of a pixel as exchangeable given z.

    Args:
        total_count: n, at least 1: 16 for scikit-learn's digits, 255 for bytes.
    """
    if total_count < 1:
        raise ValueError(f"total_count must be at least 1, got {total_count}")

    def in_support(x):
        count = total_count * x
        # Loose enough for float32's k/255, tight enough to refuse any other grey level.
        return (tf.abs(count - tf.round(count)) < 1e-3) & (x >= 0) & (x <= 1)

    return Likelihood(
        network,
        event_shape,
        lambda logits: BinomialProportion(total_count, logits),
        f"a multiple of 1/{total_count} in [0, 1] under the binomial likelihood",
        in_support,
        (f"rounded to the nearest multiple of 1/{total_count}", lambda x: tf.round(x * total_count) / total_count),
        seed,
    )


def normal(network, event_shape, scale=1.0, *, min_scale=1e-3, seed=None):
    """p(x|z) = prod_i N(x_i; loc_i, scale^2): a density; squared error, weighted by 1 / (2 scale^2).

    Args:
        scale: the standard deviation, above 0 and kept fixed; or None for one that is learned, shared by all
            elements, starting at 1 and staying above `min_scale`.
    """
    return _location_scale(tfd.Normal, "normal", network, event_shape, scale, min_scale, seed)


def laplace(network, event_shape, scale=1.0, *, min_scale=1e-3, seed=None):
    """p(x|z) = prod_i exp(-|x_i - loc_i| / scale) / (2 scale): a density; absolute error, weighted by 1 / scale.

    Args:
        scale: as for `normal`; the mean absolute deviation.
    """
    return _location_scale(tfd.Laplace, "laplace", network, event_shape, scale, min_scale, seed)


def _location_scale(family, name, network, event_shape, scale, min_scale, seed):
    if scale is None:
        if min_scale <= 0:
            raise ValueError(f"min_scale must be above 0, got {min_scale}")
        above_floor = tfb.Chain([tfb.Shift(min_scale), tfb.Softplus()])
        scale = tfp.util.TransformedVariable(1.0, above_floor, name="scale")
    elif scale <= 0:
        raise ValueError(f"scale must be above 0, or None to learn it, got {scale}")
    likelihood = Likelihood(
        network,
        event_shape,
        lambda loc: family(loc, tf.cast(scale, loc.dtype) if isinstance(scale, float | int) else scale),
        f"a finite number under the {name} likelihood",
        tf.math.is_finite,
        ("as they are", tf.identity),
        seed,
    )
    # On the layer that reads it, so that Keras tracks a learned one.
    likelihood.distribution.scale = scale
    return likelihood
