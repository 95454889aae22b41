"""The regression behind `audit_loss`: a loss on its measured terms, for each candidate definition of the terms."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

CLEAN = 4.0  # the misfit a degree of freedom, up to which a fit leaves nothing but noise
# Standard deviations with numbers of their own, and where to start looking for these.
_FAMILIES: dict[Any, Any] = {
    lambda c: f"{c:.3g} exp(s / 2)": (lambda s, c: c * tf.exp(s / 2), [[0.3], [3.0]]),
    lambda c: f"{c:.3g} exp(s)": (lambda s, c: c * tf.exp(s), [[0.3], [3.0]]),
    lambda c: f"{abs(c):.3g} s": (lambda s, c: tf.abs(c * s), [[0.3], [3.0]]),
    lambda a, log_b: f"softplus(s {'+-'[a < 0]} {abs(a):.3g}) + {np.exp(log_b):.3g}": (
        lambda s, a, log_b: tf.nn.softplus(s + a) + np.exp(float(log_b)),
        [[0.5, -9.0], [0.5, -4.0], [-1.5, -4.0], [-4.0, -6.0]],
    ),
}


class Candidate(NamedTuple):
    """One explanation of the loss, fitted on the whole batch and on half of it."""

    training: tuple[bool, bool]  # whether encoder and decoder are in training mode
    likelihood: str
    sampler_std: str
    kl_std: str
    weights: np.ndarray  # [2, 2]: batch size, (log-likelihood, KL)
    errors: np.ndarray  # [2, 2]; NaN where a weight is not identifiable
    misfit: float  # weighted sum of squared residuals
    degrees: int  # of freedom
    unexplained: float  # share of the loss's variance


def badness(candidate: Candidate) -> float:
    """The misfit a degree of freedom: about 1 where noise is all that is left."""
    return candidate.misfit / candidate.degrees


def explanations(*observed: list[dict]) -> list[Candidate]:
    """Every `Candidate` with finite terms at enough points, of those observed on the whole and on half the batch."""
    found = []
    for training, measured in max(observed[0], key=_num_samplers)["terms"].items():
        for likelihood, kl in itertools.product(measured.log_px_z, measured.kl):
            for sampler in measured.log_px_z[likelihood]:
                fits = [fit(_table(points, training, likelihood, sampler, kl)) for points in observed]
                if all(fits):
                    weights, errors, misfits, degrees, unexplained = (np.array(a) for a in zip(*fits, strict=True))
                    numbers = (weights, errors, misfits.sum(), degrees.sum(), unexplained.max())
                    found.append(Candidate(training, likelihood, sampler, kl, *numbers))
    return found


def _num_samplers(point):
    return max(len(samplers) for t in point["terms"].values() for samplers in t.log_px_z.values())


def own_scale(points: list[dict], prior: tuple) -> tuple[tuple, dict]:
    """The mode and {name: s -> std} of the one of `_FAMILIES` whose KL explains the quiet points; (), {} if none."""
    best: Any = (np.log(CLEAN), (), {})
    for training, measured in points[0]["terms"].items():
        if not measured.outputs:
            continue
        loc, s = (tf.stack([p["terms"][training].outputs[j] for p in points]) for j in (0, 1))  # [N, S or 1, B, D]
        if np.array_equal(s[:, :1] + 0 * s, s):
            loc, s = loc[:, :1], s[:, :1]
        loc, kl = (loc.numpy().astype(np.float64) - prior[0]) / prior[1], next(iter(measured.kl))
        tables = np.stack([_table(points, training, likelihood, "0", kl) for likelihood in measured.log_px_z])
        tables = tables[np.all(np.isfinite(tables[..., 2]), axis=1)]  # [likelihoods, N, 6]
        precision = 1 / np.sqrt(tables[..., 1] + (4e-6 * np.abs(tables[..., 0])) ** 2 + 1e-18)[..., np.newaxis]
        y, columns = precision * tables[..., :1], [np.ones_like(precision), -tables[..., 2:3]]

        def misfit(parameters, family, y=y, precision=precision, columns=columns, loc=loc, s=s):
            """The logarithm of the least squares' misfit, of the best likelihood."""
            kl = _kl_of(loc, family(s, *map(float, parameters)).numpy() / prior[1])
            if not np.all(np.isfinite(kl)):
                return np.inf
            x = precision * np.concatenate([*columns, np.broadcast_to(kl[:, np.newaxis], y.shape)], axis=-1)
            residual = y - x @ (np.linalg.pinv(x) @ y)
            return np.log(np.min(np.sum(residual**2, axis=1)) / (y.shape[1] - 3 - len(parameters)) + 1e-9)

        for name, (family, starts) in _FAMILIES.items():
            for start in starts:
                found = minimize(misfit, start, (family,), "Nelder-Mead", options={"maxfev": 80 * len(start)})
                if found.fun < best[0]:
                    own = tuple(map(float, found.x))
                    best = (found.fun, training, {name(*own): lambda s, family=family, own=own: family(s, *own)})
    return best[1:]


def _kl_of(loc, std):
    """KL(N(loc, std^2) || N(0, 1)), the mean over samples and batch: [N, S, B, D] to [N]."""
    return np.sum(0.5 * (loc**2 + std**2 - 1) - np.log(np.maximum(std, 1e-30)), axis=-1).mean(axis=(1, 2))


def _table(points, training, likelihood, sampler, kl):
    """[N, 6]: the loss, log p(x|z) and the KL, each with its variance, at points where the loss is finite.

    NaN where a term is none: a reading that cannot be the loss's.
    """
    rows = []
    for p in points:
        log_px_z, kls = p["terms"][training][:2]
        any_sampler = next(iter(log_px_z[likelihood].values()))  # at quiet points they are alike
        rows.append((p["loss"], p["variance"], *log_px_z[likelihood].get(sampler, any_sampler), *kls[kl]))
    table = np.array(rows, np.float64)
    return table[np.abs(table[:, 0]) < 1e12]


def fit(table: np.ndarray) -> tuple | None:
    """Weighted least squares: weights, errors, misfit, degrees, unexplained of a `Candidate`.

    None below 6 points, or if a term is NaN.
    """
    if len(table) < 6 or not np.all(np.abs(table) < 1e12):
        return None
    y, y_variance, log_px_z, log_px_z_variance, kl, kl_variance = table.T
    weights = np.zeros(2)
    for _ in range(4):  # reweighted: the noise of a measured term scales with its unknown weight
        rounding = 2e-6 * (np.abs(y) + np.abs(weights[0] * log_px_z)) + 1e-9
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
