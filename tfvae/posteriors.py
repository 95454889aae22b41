"""Approximate posteriors q(z|x): a network, a linear layer, and a TFP distribution layer.

Each function returns a Keras model that maps images [B, *event_shape] to a `tfd.Distribution` with batch shape [B]
and event shape [D]. Its `loc` and `scale` are in float32 whatever the network computes in.
"""

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tfvae import checks, flows
from tfvae.pushforward import Pushforward

tfd = tfp.distributions
tfpl = tfp.layers


class Posterior(tfk.Model):
    """q(z|x), a `tfd.Distribution`: network, linear layer, distribution layer."""

    def __init__(self, network, latent_size, params_size, distribution_layer, *, seed=None, name="posterior"):
        checks.count("latent_size", latent_size)
        super().__init__(name=name)
        self.network = network
        self.latent_size = latent_size
        self.params = tfk.layers.Dense(
            params_size, kernel_initializer=tfk.initializers.GlorotUniform(seed=seed), name="params"
        )
        self.distribution = distribution_layer

    def call(self, x):
        return self.distribution(tf.cast(self.params(self.network(x)), tf.float32))


class PushforwardLayer(tf.Module):
    """Parameters [B, P] -> the `Pushforward` of a map with these as its context; holds the map's variables."""

    def __init__(self, transform, latent_size):
        super().__init__()
        self.transform = transform
        self.latent_size = latent_size

    def __call__(self, params):
        return Pushforward(self.transform, self.latent_size, params)


def diagonal_normal(network, latent_size, *, seed=None):
    """q(z|x) = N(z; loc(x), diag(scale(x)^2)), with scale = softplus(.) + 1e-5.

    The Gaussian encoder of Kingma and Welling (2013, arXiv 1312.6114, eq. 9 and appendix C.2); `scale` is a standard
    deviation. A `tfd.MultivariateNormalDiag`, whose KL to a `priors.standard_normal` TFP knows in closed form.

    Args:
        network: a Keras body, [B, *event_shape] -> features.
        latent_size: D, at least 1.
        seed: fixes the initial weights of the linear layer.
    """

    def make(params):
        return tfd.MultivariateNormalDiag(*flows.loc_scale(params))

    layer = tfpl.DistributionLambda(make, tfd.Distribution.mean, dtype="float32", name="diagonal_normal")
    return Posterior(network, latent_size, 2 * latent_size, layer, seed=seed, name="encoder")


def full_normal(network, latent_size, *, seed=None):
    """q(z|x) = N(z; loc(x), L(x) L(x)^T), L lower triangular with a positive diagonal.

    The full-covariance Gaussian of Kingma and Welling (2019, arXiv 1906.02691, section 2.5.1): D (D + 1) / 2 + D
    numbers an image, through `tfpl.MultivariateNormalTriL`.

    Args:
        network: a Keras body, [B, *event_shape] -> features.
        latent_size: D, at least 1.
        seed: fixes the initial weights of the linear layer.
    """
    layer = tfpl.MultivariateNormalTriL(latent_size, tfd.Distribution.mean, dtype="float32", name="full_normal")
    params_size = tfpl.MultivariateNormalTriL.params_size(latent_size)
    return Posterior(network, latent_size, params_size, layer, seed=seed, name="encoder")


def iaf(network, latent_size, *, num_steps=4, hidden_sizes=(128,), activation="relu", context_size=32, seed=None):
    """q(z|x) of a diagonal normal through inverse autoregressive flow steps, in alternating order of the latents.

    Kingma et al. (2016, arXiv 1606.04934, algorithm 1). A sample and its density take one pass of the steps; the
    density of any other z takes D. No closed-form moments: see `pushforward.Pushforward`.

    Args:
        network: a Keras body, [B, *event_shape] -> features.
        latent_size: D, at least 2.
        num_steps: at least 1.
        hidden_sizes: of each step's masked network, at least one.
        activation: of that network.
        context_size: numbers of x that each step's network sees, at least 1.
        seed: fixes the initial weights.
    """
    return _flow(
        flows.InverseAutoregressive, network, latent_size, num_steps, hidden_sizes, activation, context_size, seed
    )


def coupling(network, latent_size, *, num_steps=4, hidden_sizes=(128,), activation="relu", context_size=32, seed=None):
    """q(z|x) of a diagonal normal through affine coupling steps; half of the latents change in each.

    RealNVP, Dinh et al. (2016, arXiv 1605.08803), conditional on x. Sampling and any density take one pass. No
    closed-form moments: see `pushforward.Pushforward`. Arguments as for `iaf`.
    """
    return _flow(flows.Coupling, network, latent_size, num_steps, hidden_sizes, activation, context_size, seed)


def _flow(step, network, latent_size, num_steps, hidden_sizes, activation, context_size, seed):
    checks.count("context_size", context_size)
    flow = flows.stack(step, latent_size, context_size, num_steps, hidden_sizes, activation, seed)
    params_size = 2 * latent_size + context_size
    return Posterior(network, latent_size, params_size, PushforwardLayer(flow, latent_size), seed=seed, name="encoder")
