"""Likelihoods of the residual x - loc: `normal` (squared error) and `laplace` (absolute), with several kinds of scale.

All are densities: log p(x|z) is in nats relative to the unit of x, and can be above 0.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfvae.likelihoods.base import Likelihood
from tfvae.support.pieces import option, piece


@piece(
    "likelihood",
    traits=("loc_bias",),
    scale=option(None, "Scale, kept fixed; default: learned", of=float, above=0, if_none="to learn it"),
)
def normal(network, event_shape: Sequence[int], scale: float | None = None, *, min_scale=1e-3, seed=None) -> Likelihood:
    """p(x|z) = prod_i N(x_i; loc_i, scale^2): a density; squared error, weighted by 1 / (2 scale^2).

    `scale`, the standard deviation, is fixed and at least 1e-15; or None for one that is learned, the same for all
    elements, initially 1 and above `min_scale`. The squared error without a weight has scale 1, with which images turn
    grey: to err by 0.1 in a pixel then costs 0.005 nats, less than a latent that would mend it.

    >>> likelihood = tfvae.likelihoods.normal(tfvae.networks.mlp((2,), [16]), (8, 8, 1))
    >>> np.allclose(likelihood.scale, 1), likelihood(np.zeros([5, 3, 2])).event_shape
    (True, TensorShape([8, 8, 1]))
    """
    return _shared_scale(tfd.Normal, "normal", network, event_shape, scale, min_scale, seed)


@piece(
    "likelihood",
    traits=("loc_bias",),
    scale=option(None, "Scale, kept fixed; default: learned", of=float, above=0, if_none="to learn it"),
)
def laplace(
    network, event_shape: Sequence[int], scale: float | None = None, *, min_scale=1e-3, seed=None
) -> Likelihood:
    """p(x|z) = prod_i exp(-|x_i - loc_i| / scale) / (2 scale): a density; absolute error, weighted by 1 / scale.

    `scale`, the mean absolute deviation, as for `normal`.

    >>> tfvae.likelihoods.laplace(tfvae.networks.mlp((2,), [16]), (8, 8, 1), scale=0.1)(np.zeros([5, 3, 2])).batch_shape
    TensorShape([5, 3])
    """
    return _shared_scale(tfd.Laplace, "laplace", network, event_shape, scale, min_scale, seed)


@piece("likelihood")
def normal_per_image(network, event_shape: Sequence[int], *, min_scale: float = 1e-2, seed=None) -> Likelihood:
    """p(x|z) = prod_i N(x_i; loc_i(z), scale(z)^2): one scale for an image, softplus(.) + min_scale.

    The scale is the mean over pixels of an additional channel. `min_scale`, above 0, bounds the density, which is
    unbounded where an image is reconstructed exactly (Mattei and Frellsen 2018, arXiv 1802.04826).

    >>> px_z = tfvae.likelihoods.normal_per_image(tfvae.networks.mlp((2,), [16]), (8, 8, 1))(np.zeros([3, 2]))
    >>> px_z.distribution.scale.shape
    TensorShape([3, 1, 1, 1])
    """

    def make(params):
        raw_scale = tf.reduce_mean(params[..., -1:], axis=list(range(-len(event_shape), 0)), keepdims=True)
        return tfd.Normal(params[..., :-1], tf.nn.softplus(raw_scale) + min_scale)

    return Likelihood(network, event_shape, make, *_anywhere("normal"), seed, params_size=lambda c: c + 1)


@piece("likelihood")
def normal_per_pixel(network, event_shape: Sequence[int], *, min_scale: float = 1e-2, seed=None) -> Likelihood:
    """p(x|z) = prod_i N(x_i; loc_i(z), scale_i(z)^2): a scale for each element, softplus(.) + min_scale.

    Kingma and Welling (2013, arXiv 1312.6114, appendix C.2). The scale of a nearly constant pixel goes
    to `min_scale`, as for `normal_per_image`, and such pixels dominate log p(x|z): compare models of equal `min_scale`.

    >>> px_z = tfvae.likelihoods.normal_per_pixel(tfvae.networks.mlp((2,), [16]), (8, 8, 1))(np.zeros([3, 2]))
    >>> px_z.distribution.scale.shape
    TensorShape([3, 8, 8, 1])
    """

    def make(params):
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return tfd.Normal(loc, tf.nn.softplus(raw_scale) + min_scale)

    return Likelihood(network, event_shape, make, *_anywhere("normal"), seed, params_size=lambda c: 2 * c)


@piece("likelihood")
def normal_optimal(network, event_shape: Sequence[int], *, rate=0.1, min_scale=1e-3, seed=None) -> Likelihood:
    """p(x|z) = prod_i N(x_i; loc_i, scale^2), with the scale of the training residuals: an `OptimalNormal`.

    The ELBO (not IWAE's bound) is maximal at scale^2 = the mean over data, q(z|x) and elements of (x - loc)^2 (Rybkin
    et al. 2021, "sigma-VAE", arXiv 2006.13202). That paper uses the mean of each batch, so that its p(x|z) depends on x
    and is no density. Here the scale is a variable, initially 1: after each training step, scale^2 becomes (1 - rate)
    scale^2 + rate * the batch's mean square. So log p(x|z) is always normal, and evaluation, export and reload keep it.
    `rate` is in (0, 1]: the variable averages over about 1 / rate batches. `min_scale` is above 0.

    >>> print(tfvae.likelihoods.normal_optimal(tfvae.networks.mlp((2,), [16]), (8, 8, 1)).scale.numpy())
    1.0
    """
    scale = tf.Variable(1.0, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA, name="scale")
    support = _anywhere("normal")
    likelihood = OptimalNormal(network, event_shape, lambda loc: tfd.Normal(loc, tf.identity(scale)), *support, seed)
    likelihood.distribution.scale = scale  # on the layer that reads it, so that Keras tracks it
    likelihood.rate, likelihood.min_scale = rate, min_scale
    return likelihood


@piece("likelihood")
def continuous_bernoulli(network, event_shape: Sequence[int], *, seed: int | None = None) -> Likelihood:
    """p(x|z) = prod_i C(p_i) p_i^x_i (1 - p_i)^(1 - x_i), x in [0, 1], p = sigmoid(.): a density.

    The Bernoulli's formula for grey levels, normalized; p is not the mean. Loaiza-Ganem and
    Cunningham (2019, arXiv 1907.06845). In float32 log p(x_i|z) is accurate to 3e-6 for logits in [-20, 20].

    >>> decoder = tfvae.likelihoods.continuous_bernoulli(tfvae.networks.mlp((2,), [16]), (8, 8, 1))
    >>> decoder(np.zeros([5, 3, 2])).batch_shape
    TensorShape([5, 3])
    """
    words, in_support = "in [0, 1] under the continuous_bernoulli likelihood", lambda x: (x >= 0) & (x <= 1)

    def make(logits):
        return tfd.ContinuousBernoulli(logits=logits, dtype=logits.dtype)

    return Likelihood(network, event_shape, make, words, in_support, ("as they are", tf.identity), seed)


class OptimalNormal(Likelihood):
    """The likelihood of `normal_optimal`, an `objectives.Adaptive`: the training step of `VAE` calls `after_step`."""

    def after_step(self, log_likelihood: tf.Tensor, good: tf.Tensor) -> None:
        """Moves the scale towards the optimum, with the mean square from the log-likelihood, without another pass:

            E_q[log p(x|z)] = -E/2 log(2 pi scale^2) - E/2 mean square / scale^2,   E elements.

        `log_likelihood` is the batch mean, []. Unless `good` (the step was finite), the scale stays.
        """
        variance = tf.square(self.scale)
        per_element = log_likelihood / math.prod(self.event_shape)
        mean_square = -variance * (2 * per_element + tf.math.log(2 * math.pi * variance))
        moved = tf.sqrt((1 - self.rate) * variance + self.rate * tf.maximum(mean_square, self.min_scale**2))
        self.scale.assign(tf.where(good, moved, self.scale))


def _shared_scale(family, name, network, event_shape, scale, min_scale, seed):
    if scale is None:
        if min_scale >= 1:
            raise ValueError(f"min_scale must be below the initial scale, 1, got {min_scale}")
        above_floor = tfp.bijectors.Chain([tfp.bijectors.Shift(min_scale), tfp.bijectors.Softplus()])
        scale = tfp.util.TransformedVariable(1.0, above_floor, name="scale")
    else:
        scale = float(scale)
    likelihood = Likelihood(network, event_shape, lambda loc: family(loc, scale), *_anywhere(name), seed)
    likelihood.distribution.scale = scale  # on the layer that reads it, so that Keras tracks a learned one
    return likelihood


def _anywhere(name) -> tuple[str, Callable, tuple[str, Callable]]:
    return f"a finite number under the {name} likelihood", tf.math.is_finite, ("as they are", tf.identity)
