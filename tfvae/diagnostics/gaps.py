"""The two causes of log p(x) - ELBO: the family of q, and one encoder shared by all x.

    log p(x) - ELBO[q(z|x)] = log p(x) - ELBO[q*_x]  +  ELBO[q*_x] - ELBO[q(z|x)]
                              approximation gap         amortization gap

q*_x is the family's best member for one x, found by gradient ascent. Cremer, Li and Duvenaud (2018, arXiv 1801.03558),
eq. 5 and 6. Shapes: S samples, B batch, D latent.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.diagnostics.ascent import ascend
from tfvae.diagnostics.blocks import blocks, compiled
from tfvae.diagnostics.evidence import Evidence
from tfvae.objectives import Draw
from tfvae.seeds import fold_in
from tfvae.support.rules import FromTwo, checked

tfd = tfp.distributions

_OPTIMIZING, _MEASURING = 0, 1


class InferenceGap(NamedTuple):
    """Per-example estimates in nats, [N] each, of the same samples for both q.

    Attributes:
        log_evidence: as given, or importance-sampled with q*_x, a better proposal than q(z|x). A lower bound, whose
            errors are too small where q*_x is much narrower than p(z|x).
        elbo: of q(z|x).
        best_elbo, best_elbo_standard_error: of q*_x.
        approximation: log_evidence - best_elbo.
        amortization: best_elbo - elbo; below 0 where the search for q*_x fell short.
        approximation_standard_error, amortization_standard_error: Monte Carlo errors, as best_elbo_standard_error.
    """

    log_evidence: np.ndarray
    elbo: np.ndarray
    best_elbo: np.ndarray
    best_elbo_standard_error: np.ndarray
    approximation: np.ndarray
    amortization: np.ndarray
    approximation_standard_error: np.ndarray
    amortization_standard_error: np.ndarray


@checked
def inference_gap(
    vae,
    x: np.ndarray,
    num_samples: FromTwo = 2000,
    *,
    evidence: Evidence | None = None,
    num_steps: int = 300,
    learning_rate: float = 0.05,
    seed: int = 0,
    progress: bool = False,
) -> InferenceGap:
    """The approximation and amortization gaps of each example.

    Args:
        vae: a model whose encoder gives diagonal or full normals; q*_x is of the same kind.
        x: [N, *event_shape], in the likelihood's support.
        num_samples: of each q, at least 2, for the measurement.
        evidence: log p(x), say by `annealed_log_evidence`, in place of importance sampling.
        num_steps: of Adam with cosine decay for each q*_x, from q(z|x) on, with 16 samples a step.
        learning_rate: the initial one, in units of z and of its log scale.
        progress: shows a progress bar.

    Raises:
        ValueError: a number out of range, an encoder of another family, evidence of another number of x, or bad x.
    """
    x = vae.check_support(x)
    if evidence is not None:
        for values in evidence[:2]:
            if np.shape(values) != (len(x),):
                raise ValueError(f"evidence must be of {len(x)} examples, got shape {np.shape(values)}")
    parameters(vae.rows(slice(1)).encode(x[:1]))  # raises for other families
    at_once = 16
    search = {"num_samples": at_once, "num_steps": num_steps, "learning_rate": learning_rate}
    optimize, weigh = compiled(vae, _optimize), compiled(vae, _log_weights)
    columns = []
    for first, part, block in blocks(vae, x, at_once * np.prod(vae.event_shape), "inference gap", progress):
        best = optimize(part, block, fold_in(seed, first, _OPTIMIZING), **search)
        counts = [min(at_once, num_samples - i) for i in range(0, num_samples, at_once)]
        log_w = [
            np.asarray(weigh(part, block, best, tf.constant(count), fold_in(seed, first, _MEASURING, i)), np.float64)
            for i, count in enumerate(counts)
        ]
        columns.append(_gaps(*np.concatenate(log_w, axis=1)))
    gap = InferenceGap(*np.concatenate(columns, axis=1))
    if evidence is None:
        return gap
    error = np.hypot(evidence.standard_error, gap.best_elbo_standard_error)
    approximation = evidence.value - gap.best_elbo
    return gap._replace(log_evidence=evidence.value, approximation=approximation, approximation_standard_error=error)


def parameters(qz_x: tfd.Distribution) -> list[tf.Tensor]:
    """loc [B, D], log diagonal of the Cholesky factor [B, D] and, of full normals, the factor [B, D, D]."""
    if isinstance(qz_x, tfd.MultivariateNormalDiag):
        return [qz_x.mean(), tf.math.log(qz_x.stddev())]
    if isinstance(qz_x, tfd.MultivariateNormalTriL):
        tril = qz_x.scale.to_dense()  # a Cholesky factorization of the covariance would round small diagonals away
        return [qz_x.mean(), tf.math.log(tf.linalg.diag_part(tril)), tril]
    raise ValueError(f"encoder must give diagonal or full normals, got {type(qz_x).__name__}")


def _normal(params):
    loc, log_scale, *rest = params
    if not rest:
        return tfd.MultivariateNormalDiag(loc, tf.exp(log_scale))
    lower = tf.linalg.band_part(rest[0], -1, 0)
    return tfd.MultivariateNormalTriL(loc, tf.linalg.set_diag(lower, tf.exp(log_scale)))


def _optimize(vae, x, seed, *, num_samples, num_steps, learning_rate):
    """The parameters of q*_x."""

    def gradients_of(params, step):
        with tf.GradientTape() as tape:
            tape.watch(params)
            q = _normal(params)
            z = q.sample(num_samples, seed=fold_in(seed, step))  # [S, B, D]
            # Without the score term, of mean 0, the gradient is exact at q* = p(z|x) (Roeder et al. 2017, 1703.09194).
            log_q = _normal([tf.stop_gradient(p) for p in params]).log_prob(z)
            elbo = tf.reduce_mean(Draw(q, vae.prior, z, vae.decode(z).log_prob(x), log_qz_x=log_q).log_w, axis=0)
        return tape.gradient(elbo, params)

    params = parameters(vae.encode(x))
    return ascend(gradients_of, params, num_steps, [learning_rate] * len(params))


def _log_weights(vae, x, best, num_samples, seed):
    """log p(x, z) - log q(z): [2, S, B], of q(z|x) and of q*_x, from the same noise."""
    log_w = []
    for q in (vae.encode(x), _normal(best)):
        z = q.sample(num_samples, seed=seed)
        log_w.append(Draw(q, vae.prior, z, vae.decode(z).log_prob(x)).log_w)
    return tf.stack(log_w)


def _gaps(log_w, best_log_w):
    """The columns of an `InferenceGap` from log weights [S, B]."""
    num_samples = len(log_w)
    elbo, best_elbo = log_w.mean(axis=0), best_log_w.mean(axis=0)
    log_evidence = np.logaddexp.reduce(best_log_w) - np.log(num_samples)
    # Influence function of log mean w - mean log w.
    influence = np.exp(best_log_w - log_evidence) - best_log_w
    best_error, approximation_error, amortization_error = (
        a.std(axis=0, ddof=1) / np.sqrt(num_samples) for a in (best_log_w, influence, best_log_w - log_w)
    )
    gaps = (log_evidence - best_elbo, best_elbo - elbo)
    return np.stack([log_evidence, elbo, best_elbo, best_error, *gaps, approximation_error, amortization_error])
