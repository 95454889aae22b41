"""Priors p(z): each function returns a `tfd.Distribution` with empty batch shape and event shape [D]."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.support import checks
from tfvae.support.pieces import option, piece

tfb = tfp.bijectors
tfd = tfp.distributions


@piece("prior")
def standard_normal(latent_size):
    """p(z) = N(z; 0, I), a `tfd.MultivariateNormalDiag`."""
    checks.count("latent_size", latent_size)
    return tfd.MultivariateNormalDiag(
        loc=tf.zeros(latent_size), scale_diag=tf.ones(latent_size), name="standard_normal"
    )


@piece("prior", num_components=option(10, "Components of the mixture", least=1))
def normal_mixture(latent_size, num_components=10, *, seed=None):
    """p(z) = sum_k w_k N(z; loc_k, diag(scale_k^2)), with trainable weights, locations and scales.

    It starts from equal weights, locations drawn from N(0, I) and unit scales. Its KL to a normal has no closed form:
    the objectives estimate it from the samples of z.

    Args:
        latent_size: D, at least 1.
        num_components: at least 1.
        seed: an integer that fixes the initial locations, or None.
    """
    checks.count("latent_size", latent_size)
    shape = [num_components, latent_size]
    locs = tf.random.normal(shape) if seed is None else tf.random.stateless_normal(shape, seed=[0, seed])
    positive = tfb.Chain([tfb.Shift(1e-3), tfb.Softplus()])
    return tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.Variable(tf.zeros(num_components), name="prior_logits")),
        tfd.MultivariateNormalDiag(
            loc=tf.Variable(locs, name="prior_loc"),
            scale_diag=tfp.util.TransformedVariable(tf.ones(shape), positive, name="prior_scale"),
        ),
        name="normal_mixture",
    )
