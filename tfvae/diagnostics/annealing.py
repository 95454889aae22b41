"""log p(x) by annealed importance sampling, for a q(z|x) too far from p(z|x) for importance sampling.

    f_t(z) = p0(z)^(1 - beta_t) p(x, z)^beta_t,   0 = beta_0 < ... < beta_T = 1
    log w  = sum_t (beta_t - beta_(t-1)) (log p(x, z_(t-1)) - log p0(z_(t-1))),   z_t ~ K_t(. | z_(t-1))

K_t is Hamiltonian Monte Carlo, which leaves f_t invariant. Neal (2001, physics/9803008), eq. 3 and section 2; for
decoders, with this schedule and acceptance rate, Wu et al. (2017, arXiv 1611.04273). Shapes: S chains, B batch,
D latent.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.diagnostics.blocks import blocks, compiled
from tfvae.diagnostics.importance import Evidence, evidence_of
from tfvae.seeds import fold_in
from tfvae.support.rules import FromTwo, checked

_ACCEPTANCE = 0.65
_FIRST_STEP_SIZE = 0.2
_PILOT, _RUN = 0, 1


@checked
def annealed_log_evidence(
    vae,
    x: np.ndarray,
    num_samples: FromTwo = 16,
    num_steps: int = 500,
    *,
    num_leapfrogs: int = 10,
    from_posterior: bool = True,
    seed: int = 0,
    progress: bool = False,
) -> Evidence:
    """log 1/S sum_s w_s of each example, from S annealed chains.

    A lower bound on log p(x) in expectation, which tightens with `num_steps` and with S. A pilot run, whose draws are
    discarded so that w stays unbiased, tunes one step size for each example and temperature. As few chains rarely show
    the tail that carries the mean, `standard_error` is at least that of log-normal weights, as wide as log w is above
    its median.

    Args:
        x: [N, *event_shape], in the likelihood's support.
        num_samples: S, at least 2, chains for each example.
        num_steps: T, temperatures above 0, with one transition each.
        num_leapfrogs: leapfrog steps of a transition.
        from_posterior: start at p0 = q(z|x), or else at p(z), from which hundreds of steps can be nats short.
        progress: shows a progress bar.

    Raises:
        ValueError: num_samples below 2, another number below 1, bad x, a prior without a standard deviation.

    >>> model = tfvae.linear.LinearGaussian(np.eye(3, 2), np.zeros(3), 0.5)
    >>> vae = tfvae.VAE(lambda x: model.posterior(x + 1), model.likelihood, model.prior)  # q(z|x) is far off
    >>> tfvae.diagnostics.annealed_log_evidence(vae, np.eye(3), 16, 20).value.shape
    (3,)
    """
    x = vae.check_support(x)
    if not from_posterior:
        try:
            vae.prior.stddev()
        except NotImplementedError:
            rule = "prior must have a standard deviation, in which steps are measured, unless from_posterior is True"
            raise ValueError(f"{rule}, got {vae.prior}") from None
    graph = compiled(vae, _anneal)
    options = {"num_samples": num_samples, "num_leapfrogs": num_leapfrogs, "from_posterior": from_posterior}
    betas = tf.constant(_schedule(num_steps), x.dtype)
    log_w: Any = []
    for first, part, block in blocks(vae, x, num_samples * np.prod(vae.event_shape), "annealing", progress):
        untuned = tf.fill([num_steps, len(block)], tf.constant(_FIRST_STEP_SIZE, x.dtype))
        _, tuned = graph(part, block, betas, untuned, tf.constant(True), fold_in(seed, first, _PILOT), **options)
        log_w.append(graph(part, block, betas, tuned, tf.constant(False), fold_in(seed, first, _RUN), **options)[0])
    log_w = np.concatenate([np.asarray(a, np.float64) for a in log_w], axis=1)  # [S, N]
    found = evidence_of(log_w)
    return found._replace(standard_error=np.maximum(found.standard_error, _log_normal_error(log_w)))


def _log_normal_error(log_w):
    """The standard error of log mean w if w is log-normal, by the half of log w [S, N] above its median: [N]."""
    above = np.sort(log_w, axis=0)[len(log_w) // 2 :] - np.median(log_w, axis=0)
    return np.sqrt(np.log1p(np.expm1(np.minimum(np.mean(above**2, axis=0), 700)) / len(log_w)))


def _schedule(num_steps):
    """beta_0 to beta_T, a sigmoid, so that steps are smallest near 0 and 1: [T + 1]."""
    s = 1 / (1 + np.exp(-np.linspace(-4, 4, num_steps + 1)))
    return (s - s[0]) / (s[-1] - s[0])


def _anneal(vae, x, betas, step_sizes, tuning, seed, *, num_samples, num_leapfrogs, from_posterior):
    """log w [S, B] and the step sizes [T, B] used: those given or, if `tuning`, adapted to the acceptance rate."""
    p0 = vae.encode(x) if from_posterior else vae.prior
    z = p0.sample(num_samples if from_posterior else [num_samples, len(x)], seed=fold_in(seed, 0))
    z = tf.identity(z)  # TFP's bijectors cache their samples, and log_prob of a cached one has no gradient in z
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
        # Jittered: with equal steps, trajectories of a normal can be periodic (Neal 2011, section 5.3.3).
        jitter = tf.random.stateless_uniform(tf.shape(log_w), fold_in(seed, 2, t), 0.5, 1, z.dtype)
        beta = betas[t + 1]
        z, acceptance = transition(
            lambda z: p0.log_prob(z) + beta * log_ratio(z),  # noqa: B023 (called within this iteration)
            z,
            (step_size * jitter)[..., tf.newaxis] * scale,
            num_leapfrogs,
            fold_in(seed, 1, t),
        )
        step_size *= tf.exp(0.2 * (tf.reduce_mean(acceptance, axis=0) - _ACCEPTANCE))
        step_size = tf.minimum(step_size, 1)  # in units of p0's scale; leapfrog is unstable from 2 on
    return log_w, used.stack()


def transition(
    log_density: Callable, z: tf.Tensor, step: tf.Tensor, num_leapfrogs: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """One of Hamiltonian Monte Carlo, with steps [S, B, D]: z [S, B, D] and its acceptance probabilities [S, B].

    By TFP's kernel: the same written out took 15 % less time and 24 lines more.
    """
    kernel = tfp.mcmc.HamiltonianMonteCarlo(log_density, step, num_leapfrogs)
    z, results = kernel.one_step(z, kernel.bootstrap_results(z), seed=seed)
    return z, tf.exp(tf.minimum(results.log_accept_ratio, 0))
