"""The regression behind `audit_loss`: a loss on its measured terms, for each candidate definition of the terms."""

import itertools
from typing import NamedTuple

import numpy as np


class Candidate(NamedTuple):
    """One explanation of the loss, fitted on the whole batch and on half of it."""

    likelihood: str
    sampler_std: str
    kl_std: str
    weights: np.ndarray  # [2, 2]: batch size, (log-likelihood, KL)
    errors: np.ndarray  # [2, 2]; NaN where a weight is not identifiable
    misfit: float  # weighted sum of squared residuals
    degrees: int  # of freedom
    unexplained: float  # share of the loss's variance


def explanations(*observed: list[dict]) -> list[Candidate]:
    """Every `Candidate` with finite terms at enough points, of those observed on the whole and on half the batch."""
    first = observed[0][0]
    found = []
    for likelihood, kl in itertools.product(first["log_px_z"], first["kl"]):
        for sampler in first["log_px_z"][likelihood]:
            fits = [fit(_table(points, likelihood, sampler, kl)) for points in observed]
            if all(fits):
                weights, errors, misfits, degrees, unexplained = (np.array(a) for a in zip(*fits, strict=True))
                measured = (weights, errors, misfits.sum(), degrees.sum(), unexplained.max())
                found.append(Candidate(likelihood, sampler, kl, *measured))
    return found


def _table(points, likelihood, sampler, kl):
    """[N, 6]: the loss, log p(x|z) and the KL, each with its variance, without points where one diverges."""
    table = np.array([(p["loss"], p["variance"], *p["log_px_z"][likelihood][sampler], *p["kl"][kl]) for p in points])
    return table[np.all(np.isfinite(table) & (np.abs(table) < 1e12), axis=1)]


def fit(table: np.ndarray) -> tuple | None:
    """Weighted least squares: weights, errors, misfit, degrees, unexplained of a `Candidate`; None below 6 points."""
    if len(table) < 6:
        return None
    y, y_variance, log_px_z, log_px_z_variance, kl, kl_variance = table.T
    weights = np.zeros(2)
    for _ in range(4):  # reweighted: the noise of a measured term scales with its unknown weight
        rounding = 1e-5 * (np.abs(y) + np.abs(weights[0] * log_px_z)) + 1e-9
        measured = weights[0] ** 2 * log_px_z_variance + weights[1] ** 2 * kl_variance
        precision = 1 / np.sqrt(y_variance + measured + rounding**2)
        columns = np.stack([np.ones_like(y), -log_px_z, kl], axis=1) * precision[:, np.newaxis]
        solution = np.linalg.lstsq(columns, y * precision, rcond=1e-12)[0]
        weights = solution[1:]
    residual = y * precision - columns @ solution
    misfit, degrees = np.sum(residual**2), len(y) - 3
    constant = columns[:, 0] * (columns[:, 0] @ (y * precision)) / np.sum(columns[:, 0] ** 2)
    unexplained = misfit / max(np.sum((y * precision - constant) ** 2), 1e-30)
    spread = np.array([_residual_norm(columns, j) for j in (1, 2)])  # NaN: not identifiable
    errors = np.sqrt(max(1.0, misfit / degrees)) / spread
    return solution[1:] + 0 * spread, errors, misfit, degrees, unexplained


def _residual_norm(columns, j):
    """The norm of column j's residual on the others; NaN where that is rounding."""
    others = np.delete(columns, j, axis=1)
    norm = np.linalg.norm(columns[:, j] - others @ np.linalg.lstsq(others, columns[:, j], rcond=1e-12)[0])
    return norm if norm > 1e-5 * np.linalg.norm(columns[:, j]) else np.nan
