"""log p(x) by annealed importance sampling: where one step from q(z|x) to p(z|x) is too far, many small ones.

    f_t(z) = p0(z)^(1 - beta_t) p(x, z)^beta_t,   0 = beta_0 < ... < beta_T = 1
    log w  = sum_t (beta_t - beta_(t-1)) (log p(x, z_(t-1)) - log p0(z_(t-1))),   z_t ~ K_t(. | z_(t-1))

K_t leaves f_t unchanged: Hamiltonian Monte Carlo. Neal (2001, physics/9803008), eq. 3 and section 2; for decoders, with
the schedule and the acceptance rate used here, Wu et al. (2017, arXiv 1611.04273). Shapes: S chains, B batch, D latent.
"""

import functools

import numpy as np
import tensorflow as tf

from tfvae.diagnostics.blocks import blocks
from tfvae.diagnostics.evidence import Evidence
from tfvae.seeds import fold_in
from tfvae.support import checks

_ACCEPTANCE = 0.65
_FIRST_STEP_SIZE = 0.2
_PILOT, _RUN = 0, 1


def annealed_log_evidence(
    vae, x, num_samples=16, num_steps=500, *, num_leapfrogs=10, from_posterior=False, seed=0, progress=False
):
    """log 1/S sum_s w_s of each example, from S annealed chains: an `Evidence`.

    A lower bound on log p(x) in expectation, as importance sampling's, which tightens with `num_steps` and with S. The
    step sizes, one an example and temperature, are tuned by a first run whose draws are thrown away: w is unbiased.

    Args:
        x: [N, *event_shape], in the likelihood's support.
        num_samples: S, at least 2, chains for each example.
        num_steps: T, temperatures above 0; one transition at each.
        num_leapfrogs: gradients of a transition.
        from_posterior: chains start at q(z|x) instead of p(z): fewer steps where the encoder is good.
        seed: an integer.
        progress: shows a bar.

    Raises:
        ValueError: num_samples below 2, another number below 1, bad x, a prior without a standard deviation.
    """
    checks.count("num_samples", num_samples, 2)
    checks.count("num_steps", num_steps)
    checks.count("num_leapfrogs", num_leapfrogs)
    x = vae.check_support(x)
    if not from_posterior:
        try:
            vae.prior.stddev()
        except NotImplementedError:
            rule = "prior must have a standard deviation, in which steps are measured, unless from_posterior is True"
            raise ValueError(f"{rule}, got {vae.prior}") from None
    anneal = tf.function(
        functools.partial(_anneal, num_samples=num_samples, num_leapfrogs=num_leapfrogs, from_posterior=from_posterior),
        reduce_retracing=True,
    )
    betas = tf.constant(_schedule(num_steps), x.dtype)
    log_w = []
    for first, part, block in blocks(vae, x, num_samples * np.prod(vae.event_shape), "annealing", progress):
        untuned = tf.fill([num_steps, len(block)], tf.constant(_FIRST_STEP_SIZE, x.dtype))
        _, tuned = anneal(part, block, betas, untuned, tf.constant(True), fold_in(seed, first, _PILOT))
        log_w.append(anneal(part, block, betas, tuned, tf.constant(False), fold_in(seed, first, _RUN))[0])
    log_w = np.concatenate([np.asarray(a, np.float64) for a in log_w], axis=1)  # [S, N]
    value = np.logaddexp.reduce(log_w) - np.log(num_samples)
    return Evidence(value, np.exp(log_w - value).std(axis=0, ddof=1) / np.sqrt(num_samples))


def _schedule(num_steps):
    """beta_0 to beta_T, close to each other near 0 and 1: a piece of a sigmoid."""
    s = 1 / (1 + np.exp(-np.linspace(-4, 4, num_steps + 1)))
    return (s - s[0]) / (s[-1] - s[0])


def _anneal(vae, x, betas, step_sizes, tuning, seed, *, num_samples, num_leapfrogs, from_posterior):
    """log w [S, B], and the step sizes [T, B]: those given, or, if `tuning`, one after the other by the acceptance."""
    p0 = vae.encode(x) if from_posterior else vae.prior
    z = p0.sample(num_samples if from_posterior else [num_samples, len(x)], seed=fold_in(seed, 0))
    z = tf.identity(z)  # TFP remembers how it made a draw, and its log_prob there would have no gradient
    scale = tf.broadcast_to(p0.stddev(), tf.shape(z))

    def log_ratio(z):  # log p(x, z) - log p0(z)
        log_px_z = vae.decode(z).log_prob(x)
        return log_px_z + vae.prior.log_prob(z) - p0.log_prob(z) if from_posterior else log_px_z

    log_w = tf.zeros(tf.shape(z)[:2], z.dtype)
    step_size = step_sizes[0]
    used = tf.TensorArray(z.dtype, tf.shape(step_sizes)[0])
    for t in tf.range(tf.shape(step_sizes)[0]):
        log_w += (betas[t + 1] - betas[t]) * log_ratio(z)
        step_size = tf.where(tuning, step_size, step_sizes[t])
        used = used.write(t, step_size)
        # Where all steps have one length, trajectories of a normal can close on themselves (Neal 2011, section 5.3.3).
        jitter = tf.random.stateless_uniform(tf.shape(log_w), fold_in(seed, 2, t), 0.5, 1, z.dtype)
        beta = betas[t + 1]
        z, acceptance = _transition(
            lambda z: p0.log_prob(z) + beta * log_ratio(z),  # noqa: B023 (called before the next turn)
            z,
            (step_size * jitter)[..., tf.newaxis] * scale,
            num_leapfrogs,
            fold_in(seed, 1, t),
        )
        step_size *= tf.exp(0.2 * (tf.reduce_mean(acceptance, axis=0) - _ACCEPTANCE))
        step_size = tf.minimum(step_size, 1)  # in units of p0's scale; beyond, momentum turns every step around
    return log_w, used.stack()


def _transition(log_density, z, step, num_leapfrogs, seed):
    """One of Hamiltonian Monte Carlo, with steps [S, B, D]: z [S, B, D] and its probabilities of acceptance [S, B].

    Neal (2011, arXiv 1206.1901), section 5.3.2.
    """

    def value_and_gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = log_density(z)
        return value, tape.gradient(value, z)

    momentum = tf.random.stateless_normal(tf.shape(z), fold_in(seed, 0), dtype=z.dtype)
    before, gradient = value_and_gradient(z)
    energy = before - tf.reduce_sum(momentum**2, axis=-1) / 2
    proposal, after = z, before
    for _ in tf.range(num_leapfrogs):
        momentum += step * gradient / 2
        proposal += step * momentum
        after, gradient = value_and_gradient(proposal)
        momentum += step * gradient / 2
    log_accept = after - tf.reduce_sum(momentum**2, axis=-1) / 2 - energy
    log_accept = tf.where(tf.math.is_finite(log_accept), log_accept, -np.inf)  # a trajectory that flew away
    log_u = tf.math.log(tf.random.stateless_uniform(tf.shape(log_accept), fold_in(seed, 1), dtype=z.dtype))
    return tf.where((log_u < log_accept)[..., tf.newaxis], proposal, z), tf.exp(tf.minimum(log_accept, 0))
