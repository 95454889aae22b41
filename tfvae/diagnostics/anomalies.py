"""Which scores are unusual: a range fitted to scores of held-out examples, at a chosen rate of false alarms."""

from typing import NamedTuple

import numpy as np

from tfvae.support import checks
from tfvae.support.rules import checked


class UsualRange(NamedTuple):
    """Scores from `low` to `high` are usual; what lies outside is an anomaly.

    Attributes:
        false_alarm_rate: the probability that an example like the `num_held_out` ones lies outside, exact over the
            draws of all of them if scores are continuous: at most the rate asked for.
    """

    low: float
    high: float
    false_alarm_rate: float
    num_held_out: int

    def outside(self, scores):
        """Whether each score, of an array or a tensor, is unusual."""
        return (scores < self.low) | (scores > self.high)


def rank(false_alarm_rate: float, num_scores: int) -> int:
    """k: the usual range ends at the k-th lowest and the k-th highest score; 0 if they are too few for the rate."""
    # A rate such as 0.05 is no binary fraction: 0.05 * 40 / 2 may come out below 1.
    return int(false_alarm_rate * (num_scores + 1) / 2 + 1e-9)


@checked
def usual_range(scores: np.ndarray, false_alarm_rate: float = 0.05) -> UsualRange:
    """The central range of scores [N], such as `log_evidence`, of examples that the model was not trained on.

    Both ends, for a model can find what it never saw *more* probable than its own data (Nalisnick et al. 2019,
    "Detecting Out-of-Distribution Inputs to Deep Generative Models Using Typicality", arXiv 1906.02994). They are the
    k-th lowest and the k-th highest score, k = floor(false_alarm_rate (N + 1) / 2): a further score like these falls
    between any two neighbours with equal probability (split conformal prediction: Vovk et al. 2005, "Algorithmic
    Learning in a Random World").

    >>> tfvae.diagnostics.usual_range(np.arange(99.0), false_alarm_rate=0.1)
    UsualRange(low=4.0, high=94.0, false_alarm_rate=0.1, num_held_out=99)

    Raises:
        ValueError: fewer than 2 / false_alarm_rate - 1 scores, or scores that are not finite.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite numbers [N], got {checks.shown(scores)}")
    scores, k = np.sort(scores), rank(false_alarm_rate, len(scores))
    if not k:
        least = int(np.ceil(2 / false_alarm_rate - 1e-6)) - 1
        raise ValueError(f"scores must be at least {least} for a rate of {false_alarm_rate}, got {len(scores)}")
    return UsualRange(float(scores[k - 1]), float(scores[-k]), 2 * k / (len(scores) + 1), len(scores))
