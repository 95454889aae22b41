"""What objectives and measures are made of. Shapes in comments: S samples, B batch, D latent."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import checks
from tfvae.seeds import stateless_seed

tfd = tfp.distributions


class Terms(NamedTuple):
    """What an objective gives for a batch: three tensors of shape [B], in nats.

    Attributes:
        objective: what is maximised; the loss is minus its mean.
        log_likelihood: E_q[log p(x|z)], estimated.
        kl: KL(q(z|x) || p(z)), exact or estimated. The metric `elbo` is log_likelihood - kl in every objective.
    """

    objective: tf.Tensor
    log_likelihood: tf.Tensor
    kl: tf.Tensor


class Evidence(NamedTuple):
    """log p(x), estimated: `value` [N] in nats per example, and its Monte Carlo `standard_error` [N]."""

    value: np.ndarray
    standard_error: np.ndarray


def warmup(step, warmup_steps, dtype=tf.float32):
    """How much of a schedule has passed: from 0 to 1 over the first `warmup_steps` updates; 1 if `step` is None."""
    if step is None or not warmup_steps:
        return tf.ones([], dtype)
    return tf.minimum(tf.cast(step, dtype) / tf.cast(warmup_steps, dtype), 1)


def grown(num_samples, step, warmup_steps):
    """The number of samples at a step, which grows geometrically from 1: an integer, or a tensor while it grows."""
    if step is None or not warmup_steps:
        return num_samples
    return tf.cast(tf.round(tf.cast(num_samples, tf.float32) ** warmup(step, warmup_steps)), tf.int32)


def kl_divergence(qz_x, pz, z, exact=None):
    """KL(q(z|x) || p(z)): [B], in nats.

    Args:
        z: samples of q(z|x), [S, B, D], for log q(z|x) - log p(z) where there is no closed form, or none is wanted.
        exact: as `exact_kl` of `elbo`.
    """
    if exact is not False:
        try:
            return tfd.kl_divergence(qz_x, pz)
        except NotImplementedError as error:
            if exact:
                raise ValueError(f"exact_kl must not be True for this posterior and prior: {error}") from None
    return tf.reduce_mean(qz_x.log_prob(z) - pz.log_prob(z), axis=0)


def sample(vae, x, seed, num_samples):
    """q(z|x), z ~ q(z|x) [S, B, D] and log p(x|z) [S, B]."""
    qz_x = vae.encode(x)
    z = qz_x.sample(num_samples, seed=stateless_seed(seed))
    return qz_x, z, vae.decode(z).log_prob(x)


class Draw(NamedTuple):
    """What an objective charges for: q(z|x), p(z), samples z of q(z|x) [S, B, D], and their KL [B]."""

    qz_x: tfd.Distribution
    pz: tfd.Distribution
    z: tf.Tensor
    kl: tf.Tensor


def penalized(penalty, num_samples=1, exact_kl=None, log_likelihood=1.0):
    """log_likelihood * E_q[log p(x|z)] - penalty: an objective.

    Args:
        penalty: (a `Draw`, step) -> [B], or [] for the whole batch, in nats.
        num_samples: S, samples of z for each example, at least 1.
        exact_kl: as for `objectives.elbo`.
        log_likelihood: a weight.
    """
    checks.count("num_samples", num_samples)

    def objective(vae, x, *, seed, step=None):
        qz_x, z, log_px_z = sample(vae, x, seed, num_samples)
        kl = kl_divergence(qz_x, vae.prior, z, exact_kl)
        expected_log_px_z = tf.reduce_mean(log_px_z, axis=0)
        charged = penalty(Draw(qz_x, vae.prior, z, kl), step)
        return Terms(log_likelihood * expected_log_px_z - charged, expected_log_px_z, kl)

    objective.num_samples = num_samples
    return objective


def marginals(qz_x):
    """q(z_j|x) of each latent by itself: a `tfd.Normal` with batch shape [B, D].

    Raises:
        ValueError: q(z|x) is no normal, so that TFP does not know them.
    """
    if not isinstance(qz_x, tfd.MultivariateNormalDiag | tfd.MultivariateNormalTriL):
        raise ValueError(f"q(z|x) must be a multivariate normal, whose marginals are known, got {qz_x.name}")
    return tfd.Normal(qz_x.mean(), qz_x.stddev())
