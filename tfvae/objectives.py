"""Objectives, in nats per example, to be maximised.

An objective is a callable `(vae, x, *, seed, step) -> Terms`. `x` is a batch [B, ...] in the likelihood's support,
which a `VAE`'s methods check, an objective does not; `seed` an integer or a stateless pair; `step` the number of
updates made so far, for schedules (None: after every schedule has ended). Its attribute `num_samples`, if it has one,
says how many samples of z it takes for an image. One with variables of its own has `update(vae, x, *, seed, good)`
besides, called after each update of the model, and `state`, the variables that a checkpoint must keep.
Shapes in comments: S samples, B batch, D latent.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import checks, covariance, estimators, factor, total_correlation
from tfvae.terms import Terms, grown, penalized, sample, warmup

tfd = tfp.distributions

# For latents that stand each for one thing.
tc_elbo = total_correlation.tc_elbo
factor_elbo = factor.factor_elbo
dip_elbo = covariance.dip_elbo
# Bounds with gradients of their own for the encoder.
stl_elbo = estimators.stl_elbo
stl_iwae = estimators.stl_iwae
dreg_iwae = estimators.dreg_iwae
score_function_elbo = estimators.score_function_elbo
wake_phase = estimators.wake_phase


def elbo(vae, x, *, seed, step=None, num_samples=1, exact_kl=None):
    """E_q[log p(x|z)] - KL(q(z|x) || p(z)): [B], in nats.

    The evidence lower bound, Kingma and Welling (2013, arXiv 1312.6114, eq. 3; estimator: eq. 7).

    Args:
        num_samples: S, samples of z for the expectation; one pass of the decoder for all of them.
        exact_kl: True for the closed form, False for the same samples' log q(z|x) - log p(z), None for the closed
            form where TFP has one.

    Raises:
        ValueError: num_samples below 1, or `exact_kl=True` for a pair of distributions without a closed form.
    """
    return weighted_elbo(num_samples=num_samples, exact_kl=exact_kl)(vae, x, seed=seed, step=step)


elbo.num_samples = 1


def weighted_elbo(log_likelihood=1.0, kl=1.0, *, num_samples=1, exact_kl=None):
    """log_likelihood * E_q[log p(x|z)] - kl * KL(q(z|x) || p(z)): an objective; the weights may be 0.

    (1, 1) is the ELBO, (1, 0) reconstruction alone, (0, 1) the KL alone.

    Raises:
        ValueError: a negative weight, num_samples below 1.
    """
    checks.number("log_likelihood", log_likelihood, 0)
    checks.number("kl", kl, 0)

    return penalized(lambda draw, step: kl * draw.kl, num_samples, exact_kl, log_likelihood)


def beta_elbo(beta, *, warmup_steps=0, free_bits=0.0, num_samples=1, exact_kl=None):
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)): an objective; a bound on log p(x) for beta >= 1.

    Higgins et al. (2017, "beta-VAE", eq. 4).

    Args:
        beta: at least 0.
        warmup_steps: updates over which the weight grows linearly from 0 to beta (Bowman et al. 2016,
            arXiv 1511.06349, section 3.1; Sonderby et al. 2016, arXiv 1602.02282, section 2.2).
        free_bits: nats that each latent may use without paying: sum_j max(free_bits, mean over the batch of KL_j)
            replaces the KL in the objective (Kingma et al. 2016, arXiv 1606.04934, eq. 15). Where q(z|x) or p(z) is
            no `tfd.MultivariateNormalDiag`, the latents form one group with a budget of D free_bits. `kl` in the
            `Terms` stays the plain KL.

    Raises:
        ValueError: a value out of its range.
    """
    checks.number("beta", beta, 0)
    checks.count("warmup_steps", warmup_steps, 0)
    checks.number("free_bits", free_bits, 0)

    def penalty(draw, step):
        kl = _free_bits_kl(draw, free_bits) if free_bits else draw.kl
        return beta * warmup(step, warmup_steps, kl.dtype) * kl

    return penalized(penalty, num_samples, exact_kl)


def capacity_elbo(gamma, capacity, *, annealing_steps=0, num_samples=1, exact_kl=None):
    """E_q[log p(x|z)] - gamma |mean over the batch of KL(q(z|x) || p(z)) - C(step)|: an objective.

    The capacity-annealed beta-VAE, Burgess et al. (2018, arXiv 1804.03599, eq. 8): the code may carry C nats, neither
    more nor less. The mean, and not each example's KL, is held there, so that images may need unequal codes.

    Args:
        gamma: at least 0; the paper takes 1000.
        capacity: the last C, in nats, at least 0; the paper takes 25 for sprites.
        annealing_steps: updates over which C grows linearly from 0; the paper takes 100,000.

    Raises:
        ValueError: a value out of its range.
    """
    checks.number("gamma", gamma, 0)
    checks.number("capacity", capacity, 0)
    checks.count("annealing_steps", annealing_steps, 0)

    def penalty(draw, step):
        now = capacity * warmup(step, annealing_steps, draw.kl.dtype)
        return gamma * tf.abs(tf.reduce_mean(draw.kl) - now)

    return penalized(penalty, num_samples, exact_kl)


def iwae(num_samples, *, warmup_steps=0):
    """log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x), z_s ~ q(z|x): an objective; a bound that grows with S.

    The importance-weighted bound, Burda et al. (2015, arXiv 1509.00519, eq. 8). S = 1 is the ELBO with the sampled KL.

    Args:
        num_samples: S, at least 1; one pass of the decoder for all of them.
        warmup_steps: updates over which the number of samples grows geometrically from 1 to S, to save time: while it
            grows to 50, a step takes 12.5 on average. XLA cannot compile it.

    Raises:
        ValueError: a value out of its range.
    """
    checks.count("num_samples", num_samples)
    checks.count("warmup_steps", warmup_steps, 0)

    def objective(vae, x, *, seed, step=None):
        qz_x, z, log_px_z = sample(vae, x, seed, grown(num_samples, step, warmup_steps))
        sampled_kl = qz_x.log_prob(z) - vae.prior.log_prob(z)
        bound = tfp.math.reduce_logmeanexp(log_px_z - sampled_kl, axis=0)
        return Terms(bound, tf.reduce_mean(log_px_z, axis=0), tf.reduce_mean(sampled_kl, axis=0))

    if not warmup_steps:
        objective.num_samples = num_samples
    return objective


def _free_bits_kl(draw, free_bits):
    """sum_j max(free_bits, mean_B KL_j), the same number for each example: []."""
    qz_x, pz, kl = draw.qz_x, draw.pz, draw.kl
    if _factorises(qz_x) and _factorises(pz):
        kl_j = tfd.kl_divergence(tfd.Normal(qz_x.mean(), qz_x.stddev()), tfd.Normal(pz.mean(), pz.stddev()))  # [B, D]
        budget = free_bits
    else:
        kl_j = kl[:, tf.newaxis]
        budget = free_bits * qz_x.event_shape[-1]
    return tf.reduce_sum(tf.maximum(tf.reduce_mean(kl_j, axis=0), tf.cast(budget, kl.dtype)))


def _factorises(distribution):
    return isinstance(distribution, tfd.MultivariateNormalDiag)
