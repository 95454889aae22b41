"""Likelihoods p(x|z), one function each.

Each function returns a Keras model that maps latents [..., D] (any leading axes) to a `tfd.Distribution` with batch
shape [...] and event shape `event_shape`; log_prob is in nats, summed over the event. `support` says in words which x
have a probability, `in_support(x)` tells it elementwise, and every likelihood has a mean.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import checks, residuals
from tfvae.decoders import Likelihood
from tfvae.pixels import BinomialProportion, DiscretizedLogistic

tfd = tfp.distributions

# Densities of the residual, and ways to have its scale.
normal = residuals.normal
laplace = residuals.laplace
normal_per_image = residuals.normal_per_image
normal_per_pixel = residuals.normal_per_pixel
normal_optimal = residuals.normal_optimal

# Of the logistics, in grey levels: the level at the middle can then have 0.987 of the mass.
_MIN_SCALE = 0.1


class _Bernoulli(tfd.Bernoulli):
    """TFP's, with a log_prob in two passes and without guards: x is 0 or 1 here, by the check at the door."""

    def _log_prob(self, x):
        return -tf.nn.softplus((1 - 2 * x) * self.logits)


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
    checks.count("total_count", total_count)
    return Likelihood(
        network,
        event_shape,
        lambda logits: BinomialProportion(total_count, logits),
        *_levels(total_count, "binomial"),
        seed,
    )


def continuous_bernoulli(network, event_shape, *, seed=None):
    """p(x|z) = prod_i C(p_i) p_i^x_i (1 - p_i)^(1 - x_i), x in [0, 1], p = sigmoid(.): a density.

    What a Bernoulli's formula becomes for grey levels once it is normalised; p is not the mean. Loaiza-Ganem and
    Cunningham (2019, arXiv 1907.06845). In float32 log p(x_i|z) is right to 3e-6 for logits in [-20, 20].
    """
    return Likelihood(
        network,
        event_shape,
        lambda logits: tfd.ContinuousBernoulli(logits=logits, dtype=logits.dtype),
        "in [0, 1] under the continuous_bernoulli likelihood",
        lambda x: (x >= 0) & (x <= 1),
        ("as they are", tf.identity),
        seed,
    )


def discretized_logistic(network, event_shape, total_count=255, *, seed=None):
    """p(x|z) = prod_i F_i(x_i + 1/2n) - F_i(x_i - 1/2n), x in {0, 1/n, ..., 1}, F_i a logistic's: a mass.

    F_i(t) = sigmoid((t - loc_i) / scale_i), and the first and last level take the tails; scale = softplus(.) + 0.1/n.
    Kingma et al. (2016, arXiv 1606.04934). Its mean is summed over the n levels: each eager call of the decoder does
    so, as TFP's layers hold a value; a graph drops it where it is not asked for.

    Args:
        total_count: n, as for `binomial`.
    """
    checks.count("total_count", total_count)

    def make(params):
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return _logistic(total_count, loc, raw_scale)

    support = _levels(total_count, "discretized_logistic")
    return Likelihood(network, event_shape, make, *support, seed, params_size=lambda c: 2 * c)


def logistic_mixture(network, event_shape, total_count=255, num_components=5, *, seed=None):
    """p(x|z) = prod_pixels sum_k w_k prod_channels P_k(x_c), P_k discretized logistics: a mass, for colour images.

    The channels of a pixel share the component, which couples them: Salimans et al. (2017, "PixelCNN++", arXiv
    1701.05517, section 2.1). The paper's further coupling, green's loc moved by red, is left out: the mean stays exact.

    Args:
        total_count: n, as for `discretized_logistic`.
        num_components: K, at least 1.
    """
    checks.count("total_count", total_count)
    checks.count("num_components", num_components)

    def make(params):
        logits, params = params[..., :num_components], params[..., num_components:]
        shape = tf.concat([tf.shape(params)[:-1], [num_components, 2 * event_shape[-1]]], axis=0)
        loc, raw_scale = tf.split(tf.reshape(params, shape), 2, axis=-1)  # [..., K, C]
        components = tfd.Independent(_logistic(total_count, loc, raw_scale), 1)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), components)

    support = _levels(total_count, "logistic_mixture")
    return Likelihood(network, event_shape, make, *support, seed, params_size=lambda c: num_components * (1 + 2 * c))


def _logistic(total_count, loc, raw_scale):
    return DiscretizedLogistic(total_count, loc, tf.nn.softplus(raw_scale) + _MIN_SCALE / total_count)


def _levels(total_count, name):
    """The support {0, 1/n, ..., 1}: in words, as a test, and how to get there."""

    def in_support(x):
        count = total_count * x
        # Loose enough for float32's k/255, tight enough to refuse any other grey level.
        return (tf.abs(count - tf.round(count)) < 1e-3) & (x >= 0) & (x <= 1)

    nearest = f"rounded to the nearest multiple of 1/{total_count}", lambda x: tf.round(x * total_count) / total_count
    return f"a multiple of 1/{total_count} in [0, 1] under the {name} likelihood", in_support, nearest
