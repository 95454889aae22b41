"""The bounds: the ELBO, its weighted forms, and the importance-weighted bound."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability import math as tfp_math

from tfvae.objectives.terms import Draw, Objective, Terms, counted, draw, grown, penalized, warmup
from tfvae.support.pieces import option, piece
from tfvae.support.rules import AnySeed, checked


@checked
def elbo(vae, x, *, seed: AnySeed, step=None, num_samples: int = 1, exact_kl: bool | None = None) -> Terms:
    """E_q[log p(x|z)] - KL(q(z|x) || p(z)): [B], in nats.

    The evidence lower bound, Kingma and Welling (2013, arXiv 1312.6114, eq. 3; estimator: eq. 7). ValueError for
    num_samples below 1, or `exact_kl=True` for a pair of distributions without a closed form. Like every objective it
    is a formula that does not check x: off the likelihood's support its number means nothing, and `fit`, `evaluate` and
    the measures, which check, refuse such x.

    Args:
        num_samples: S, samples of z for the expectation; one pass of the decoder for all of them.
        exact_kl: True for the closed form, False for the same samples' log q(z|x) - log p(z), None for the closed
            form where TFP has one.

    >>> model = tfvae.linear.LinearGaussian(np.eye(3, 2), np.zeros(3), 0.5)  # its posterior is exact: no gap
    >>> vae = tfvae.VAE(model.posterior, model.likelihood, model.prior)
    >>> bound = tfvae.objectives.elbo(vae, np.eye(3), seed=0, exact_kl=False).objective
    >>> np.allclose(bound, model.evidence.log_prob(np.eye(3)))
    True
    """
    drawn = draw(vae, x, seed, num_samples, exact_kl)
    return Terms(drawn.log_likelihood - drawn.kl, drawn.log_likelihood, drawn.kl)


counted(elbo, 1)


@piece("objective", name="elbo")
def weighted_elbo(log_likelihood=1.0, kl=1.0, *, num_samples: int = 1, exact_kl: bool | None = None) -> Objective:
    """log_likelihood * E_q[log p(x|z)] - kl * KL(q(z|x) || p(z)): an objective; the weights may be 0.

    (1, 1) is the ELBO, (1, 0) reconstruction alone, (0, 1) the KL alone. ValueError for a negative weight or
    num_samples below 1.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.weighted_elbo(1.0, 0.0)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """
    return penalized(lambda drawn, step: kl * drawn.kl, num_samples, exact_kl, log_likelihood)


@piece(
    "objective",
    beta=option(1.0, "Weight of the KL", least=0),
    warmup_steps=option(0, "Updates over which beta grows", least=0),
    free_bits=option(0.0, "Nats that each latent may use without paying", least=0),
)
def beta_elbo(beta, *, warmup_steps=0, free_bits=0.0, num_samples=1, exact_kl=None) -> Objective:
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)): an objective; a bound on log p(x) for beta >= 1.

    Higgins et al. (2017, "beta-VAE", eq. 4). ValueError for a value out of its range.

    Args:
        warmup_steps: updates over which the weight grows linearly from 0 to beta (Bowman et al. 2016,
            arXiv 1511.06349, section 3.1; Sonderby et al. 2016, arXiv 1602.02282, section 2.2).
        free_bits: nats that each latent may use without paying: sum_j max(free_bits, mean over the batch of KL_j)
            replaces the KL, but not in `Terms.kl` (Kingma et al. 2016, arXiv 1606.04934, eq. 15). Where q(z|x) or p(z)
            is not a `tfd.MultivariateNormalDiag`, the latents form one group with a budget of D free_bits.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> terms = tfvae.objectives.beta_elbo(4.0, warmup_steps=10)(vae, np.zeros([3, 8, 8, 1]), seed=0, step=5)
    >>> np.allclose(terms.objective, terms.log_likelihood - 2 * terms.kl)
    True
    """

    def penalty(drawn, step):
        kl = _free_bits_kl(drawn, free_bits) if free_bits else drawn.kl
        return beta * warmup(step, warmup_steps, kl.dtype) * kl

    return penalized(penalty, num_samples, exact_kl)


@piece("objective", traits=("growing",), warmup_steps=option(0, "Updates over which samples grow", least=0))
def iwae(num_samples: int, *, warmup_steps: int = 0) -> Objective:
    """log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x), z_s ~ q(z|x): an objective; a bound that grows with S.

    The importance-weighted bound, Burda et al. (2015, arXiv 1509.00519, eq. 8). S = 1 is the ELBO with the sampled KL.
    Over `warmup_steps` updates the number of samples grows geometrically from 1 to S, to save time: while it grows to
    50, a step takes 12.5 on average. XLA cannot compile such a step.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.iwae(5)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """

    def objective(vae, x, *, seed, step=None):
        drawn = draw(vae, x, seed, grown(num_samples, step, warmup_steps), exact_kl=False)
        return Terms(log_mean_exp(drawn.log_w), drawn.log_likelihood, drawn.kl)

    return counted(objective, num_samples, warmup_steps)


def log_mean_exp(log_w: tf.Tensor) -> tf.Tensor:
    """log 1/S sum_s w_s: [S, B] -> [B]."""
    return tfp_math.reduce_logmeanexp(log_w, axis=0)


def _free_bits_kl(drawn: Draw, free_bits: float):
    """sum_j max(free_bits, mean_B KL_j), the same number for each example: []."""
    qz_x, pz, kl = drawn.qz_x, drawn.pz, drawn.kl
    if isinstance(qz_x, tfd.MultivariateNormalDiag) and isinstance(pz, tfd.MultivariateNormalDiag):
        kl_j = tfd.kl_divergence(tfd.Normal(qz_x.mean(), qz_x.stddev()), tfd.Normal(pz.mean(), pz.stddev()))  # [B, D]
        budget = free_bits
    else:
        kl_j, budget = kl[:, tf.newaxis], free_bits * qz_x.event_shape[-1]  # [B, 1]
    return tf.reduce_sum(tf.maximum(tf.reduce_mean(kl_j, axis=0), tf.cast(budget, kl.dtype)))
