"""Priors p(z) in closed form."""

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfvae.support.pieces import option, piece


@piece("prior")
def standard_normal(latent_size: int) -> tfd.MultivariateNormalDiag:
    """p(z) = N(z; 0, I), a `tfd.MultivariateNormalDiag`.

    >>> print(tfvae.priors.standard_normal(2).log_prob([0.0, 0.0]).numpy().round(3))  # -log(2 pi)
    -1.838
    """
    return tfd.MultivariateNormalDiag(tf.zeros(latent_size), tf.ones(latent_size), name="standard_normal")


@piece("prior", num_components=option(10, "Components of the mixture", least=1, most=100_000))
def normal_mixture(latent_size: int, num_components: int = 10, *, seed: int | None = None) -> tfd.MixtureSameFamily:
    """p(z) = sum_k w_k N(z; loc_k, diag(scale_k^2)), with trainable weights, locations and scales.

    Initially the K weights are equal, the locations drawn from N(0, I) by `seed`, and the scales 1. Its KL to a normal
    has no closed form: the objectives estimate it from the samples of z.

    >>> tfvae.priors.normal_mixture(2, num_components=5).components_distribution.mean().shape
    TensorShape([5, 2])
    """
    shape = [num_components, latent_size]
    locs = tf.random.normal(shape) if seed is None else tf.random.stateless_normal(shape, seed=[0, seed])
    positive = tfp.bijectors.Chain([tfp.bijectors.Shift(1e-3), tfp.bijectors.Softplus()])
    weights = tfd.Categorical(logits=tf.Variable(tf.zeros(num_components), name="prior_logits"))
    scale = tfp.util.TransformedVariable(tf.ones(shape), positive, name="prior_scale")
    components = tfd.MultivariateNormalDiag(tf.Variable(locs, name="prior_loc"), scale)
    return tfd.MixtureSameFamily(weights, components, name="normal_mixture")
