"""What importance weights say of log p(x), and whether they may be believed. Shapes: S samples, N examples."""

from typing import Any, NamedTuple

import numpy as np

from tfvae.support.pareto import pareto_k
from tfvae.support.rules import Weights, checked


class Evidence(NamedTuple):
    """log p(x), estimated from S importance weights of each example, [N] each; the last two are None if not known.

    Attributes:
        value: log mean w, in nats: a lower bound on log p(x) in expectation, whose bias vanishes as S grows.
        standard_error: the Monte Carlo error of `value`, with the part of the weights' tail that no draw has shown.
        effective_samples: (sum w)^2 / sum w^2, the number of draws that carry the sum (Kong 1992).
        pareto_k: the shape of the weights' upper tail; above `reliable_k(S)` value and error are not to be trusted.
            NaN of fewer than 25 weights.
    """

    value: np.ndarray
    standard_error: np.ndarray
    effective_samples: Any = None
    pareto_k: Any = None


@checked
def evidence_of(log_w: Weights) -> Evidence:
    """The `Evidence` of log weights [S, N], S at least 2.

    >>> equal, one_large = np.zeros([100, 1]), 50 * np.eye(100, 1)
    >>> tfvae.diagnostics.evidence_of(np.hstack([equal, one_large])).effective_samples.round()
    array([100.,   1.])
    """
    log_w = np.asarray(log_w, np.float64)
    num_samples = len(log_w)
    value = np.logaddexp.reduce(log_w) - np.log(num_samples)
    w = np.exp(log_w - value)  # of mean 1, so that the errors of mean w are those of its log: the delta method
    k = pareto_k(log_w)
    # The draws' variance knows nothing of the tail beyond the largest weight. About one draw in S lies there, and if
    # the tail is a Pareto distribution's, exceeds the largest by k / (1 - k) times what that exceeds the others.
    tail = np.clip(np.nan_to_num(k), 0, 0.8)  # k is an estimate, and the mean of the tail infinite from 1 on
    unseen = tail / (1 - tail) * (w.max(axis=0) - 1) / num_samples
    error = np.hypot(w.std(axis=0, ddof=1) / np.sqrt(num_samples), unseen)
    return Evidence(value, error, num_samples / np.mean(w**2, axis=0), k)
