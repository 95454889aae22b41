"""Bounds on log p(x) of a trained model, with their Monte Carlo errors."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.diagnostics.blocks import blocks, fitting
from tfvae.objectives.terms import draw
from tfvae.seeds import fold_in
from tfvae.support import checks


class Evidence(NamedTuple):
    """log p(x), estimated: `value` [N] in nats per example, and its Monte Carlo `standard_error` [N]."""

    value: np.ndarray
    standard_error: np.ndarray


class Measurement(NamedTuple):
    """Per-example estimates in nats, [N] each; standard errors are Monte Carlo errors, over the samples of z.

    Attributes:
        log_likelihood: E_q[log p(x|z)].
        kl: KL(q(z|x) || p(z)), exact where TFP has a closed form.
        elbo, elbo_standard_error: log_likelihood - kl.
        log_evidence, log_evidence_standard_error: log 1/S sum_s p(x, z_s) / q(z_s|x), a lower bound on log p(x) in
            expectation whose bias vanishes as S grows. Where the weights' variance is infinite, so is the true error.
    """

    log_likelihood: np.ndarray
    kl: np.ndarray
    elbo: np.ndarray
    elbo_standard_error: np.ndarray
    log_evidence: np.ndarray
    log_evidence_standard_error: np.ndarray


def log_evidence(vae, x: np.ndarray, num_samples: int = 5000, seed: int = 0, *, progress: bool = False) -> Evidence:
    """Importance-sampled log p(x) of each example.

    Rezende et al. (2014, arXiv 1401.4082, appendix E); Burda et al. (2015, arXiv 1509.00519, section 5.1).

    Args:
        x: [N, *event_shape], in the likelihood's support.
        num_samples: S, at least 2, samples of q(z|x) for each example.
        progress: shows a progress bar.

    Raises:
        ValueError: num_samples below 2, or bad x.
    """
    measured = measure(vae, x, num_samples, seed, progress=progress)
    return Evidence(measured.log_evidence, measured.log_evidence_standard_error)


def measure(vae, x: np.ndarray, num_samples: int = 5000, seed: int = 0, *, progress: bool = False) -> Measurement:
    """ELBO, its two terms and log p(x) of each example, from the same samples; arguments as for `log_evidence`."""
    checks.count("num_samples", num_samples, 2)
    x = vae.check_support(x)
    size = int(np.prod(vae.event_shape))
    chunk = min(num_samples, fitting(size))
    counts = [min(chunk, num_samples - first) for first in range(0, num_samples, chunk)]
    compiled = _compiled(vae)
    columns = []
    for start, part, block in blocks(vae, x, chunk * size, "log p(x)", progress):
        chunks = [compiled(part, block, tf.constant(count), fold_in(seed, start, i)) for i, count in enumerate(counts)]
        chunks = [np.stack([np.asarray(a, np.float64) for a in chunk]) for chunk in chunks]
        columns.append(_combined(np.stack(chunks, axis=1), np.asarray(counts)[:, np.newaxis]))
    return Measurement(*np.concatenate(columns, axis=1))


def _compiled(vae):
    """`_measure_chunk` as a graph, retraced only when the model's pieces change."""
    pieces = (vae.encoder, vae.decoder, vae.prior)
    traced_for, function = vae.__dict__.get("_measure_cache", (None, None))
    if traced_for is None or any(a is not b for a, b in zip(traced_for, pieces, strict=True)):
        function = tf.function(_measure_chunk, reduce_retracing=True)
        # Not by attribute: Keras would wrap and track the tuple.
        vae.__dict__["_measure_cache"] = (pieces, function)
    return function


def _measure_chunk(vae, x, num_samples, seed):
    """[B] each: log p(x|z), KL, mean of the ELBO's noisy term, squares about it, log sums of w and w^2."""
    drawn = draw(vae, x, seed, num_samples)
    # With an exact KL the only noise in the ELBO is that of log p(x|z).
    noisy = drawn.log_w if drawn.closed_form_kl is None else drawn.log_px_z
    mean = tf.reduce_mean(noisy, axis=0)
    return (
        drawn.log_likelihood,
        drawn.kl,
        mean,
        tf.reduce_sum((noisy - mean) ** 2, axis=0),
        tf.reduce_logsumexp(drawn.log_w, axis=0),
        tf.reduce_logsumexp(2 * drawn.log_w, axis=0),
    )


def _combined(chunks, counts):
    """The columns of a `Measurement` from the chunks' statistics [6, chunks, B] and sample counts [chunks, 1]."""
    num_samples = counts.sum()
    log_px_z, kl, mean, squares, log_sum, log_sum_squares = chunks
    log_likelihood, kl, overall = ((counts * a).sum(0) / num_samples for a in (log_px_z, kl, mean))
    squares = squares.sum(0) + (counts * (mean - overall) ** 2).sum(0)
    log_sum, log_sum_squares = np.logaddexp.reduce(log_sum), np.logaddexp.reduce(log_sum_squares)
    # The delta method: the error of log(mean w) is the relative error of mean w.
    relative_variance = np.exp(log_sum_squares - 2 * log_sum + np.log(num_samples)) - 1
    return np.stack(
        [
            log_likelihood,
            kl,
            log_likelihood - kl,
            np.sqrt(squares / (num_samples - 1) / num_samples),
            log_sum - np.log(num_samples),
            np.sqrt(np.maximum(relative_variance, 0) / (num_samples - 1)),
        ]
    )
