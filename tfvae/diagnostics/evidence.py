"""Bounds on log p(x) of a trained model, with their Monte Carlo errors."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.diagnostics.blocks import blocks, compiled, counts_of
from tfvae.diagnostics.importance import Evidence, evidence_of
from tfvae.objectives.terms import draw
from tfvae.seeds import fold_in
from tfvae.support.rules import FromTwo, checked


class Measurement(NamedTuple):
    """Per-example estimates in nats, [N] each; standard errors are Monte Carlo errors, over the samples of z.

    Attributes:
        log_likelihood: E_q[log p(x|z)].
        kl: KL(q(z|x) || p(z)), exact where TFP has a closed form.
        elbo, elbo_standard_error: log_likelihood - kl.
        log_evidence, log_evidence_standard_error, effective_samples, pareto_k: the fields of an `Evidence` whose
            weights are p(x, z) / q(z|x).
    """

    log_likelihood: np.ndarray
    kl: np.ndarray
    elbo: np.ndarray
    elbo_standard_error: np.ndarray
    log_evidence: np.ndarray
    log_evidence_standard_error: np.ndarray
    effective_samples: np.ndarray
    pareto_k: np.ndarray


@checked
def log_evidence(vae, x: np.ndarray, num_samples: FromTwo = 5000, seed: int = 0, *, progress: bool = False) -> Evidence:
    """The importance-weighted bound on log p(x) of each example, with draws of q(z|x).

    Rezende et al. (2014, arXiv 1401.4082, appendix E); Burda et al. (2015, arXiv 1509.00519, section 5.1), whose tables
    are of this bound with S = 5000. It is log p(x) where q(z|x) fits; `laplace_log_evidence` fits a proposal to each x.

    Args:
        x: [N, *event_shape], in the likelihood's support.
        num_samples: S, at least 2, samples of q(z|x) for each example.
        progress: shows a progress bar.

    Raises:
        ValueError: num_samples below 2, or bad x.

    >>> model = tfvae.linear.LinearGaussian(np.eye(3, 2), np.zeros(3), 0.5)
    >>> vae = tfvae.VAE(model.posterior, model.likelihood, model.prior)  # q(z|x) is exact: every weight is p(x)
    >>> found = tfvae.diagnostics.log_evidence(vae, np.eye(3), num_samples=100)
    >>> np.allclose(found.value, model.evidence.log_prob(np.eye(3))), found.effective_samples.round()
    (True, array([100., 100., 100.]))
    """
    measured = measure(vae, x, num_samples, seed, progress=progress)
    return Evidence(*measured[-4:])


@checked
def measure(vae, x: np.ndarray, num_samples: FromTwo = 5000, seed: int = 0, *, progress: bool = False) -> Measurement:
    """ELBO, its two terms and log p(x) of each example, from the same samples; arguments as for `log_evidence`."""
    x = vae.check_support(x)
    size = int(np.prod(vae.event_shape))
    counts = counts_of(num_samples, size)
    chunk_of = compiled(vae, _measure_chunk)
    columns = []
    for start, part, block in blocks(vae, x, counts[0] * size, "bounds", progress):
        chunks = [chunk_of(part, block, tf.constant(count), fold_in(seed, start, i)) for i, count in enumerate(counts)]
        terms, noisy, log_w = zip(*chunks, strict=True)
        log_likelihood, kl = np.average(np.asarray(terms, np.float64), axis=0, weights=counts)
        error = np.concatenate(noisy).std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(num_samples)
        columns.append([log_likelihood, kl, log_likelihood - kl, error, *evidence_of(np.concatenate(log_w))])
    return Measurement(*np.concatenate(columns, axis=1))


def _measure_chunk(vae, x, num_samples, seed):
    """E_q[log p(x|z)] and KL [2, B]; what is noisy in the ELBO [S, B]; log weights [S, B]."""
    drawn = draw(vae, x, seed, num_samples)
    # With an exact KL the only noise in the ELBO is that of log p(x|z).
    noisy = drawn.log_w if drawn.closed_form_kl is None else drawn.log_px_z
    kl = drawn.kl if drawn.closed_form_kl is None else tf.maximum(drawn.kl, 0)  # rounding can take an exact KL below 0
    return tf.stack([drawn.log_likelihood, kl]), noisy, drawn.log_w
