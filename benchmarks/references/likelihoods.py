"""The discretized logistic by SciPy's logistic, in float64. Shapes: N pixels, K components, C channels."""

import numpy as np
from scipy.special import log_softmax, logsumexp
from scipy.stats import logistic


def log_mass(x, loc, scale, total_count=255):
    """log(F(x + 1/2n) - F(x - 1/2n)), from log F or from log(1 - F): the smaller of them loses no digits."""
    low = np.where(x <= 0, -np.inf, x - 0.5 / total_count)
    high = np.where(x >= 1, np.inf, x + 0.5 / total_count)
    left, right = logistic.logcdf([high, low], loc, scale), logistic.logsf([low, high], loc, scale)
    large, small = np.where(left[0] < right[0], left, right)
    return large + np.log(-np.expm1(small - large))


def log_mixture(x, logits, loc, scale):
    """Components that the channels share: x [N, C], logits [N, K], loc and scale [N, K, C]."""
    log_px = log_mass(x[:, np.newaxis], loc, scale).sum(axis=-1)
    return logsumexp(log_softmax(np.float64(logits), axis=-1) + log_px, axis=-1)
