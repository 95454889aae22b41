"""Latents and the known factors of the images they encode. Shapes: N points, D latents, F factors."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

Encode = Callable[[np.ndarray], Any]  # images [n, H, W, C] -> latents [n, D], an array or a tensor


class FactorData(Protocol):
    """Data with known factors. Optional: `categorical`, the indices of factors whose values have no order."""

    factor_sizes: Sequence[int]  # F

    def sample_factors(self, num: int, seed: int) -> np.ndarray:
        """int64 [num, F]."""

    def images(self, factors: np.ndarray) -> np.ndarray:
        """[n, F] -> float32 [n, H, W, C]."""


def checked(latents, factors, categorical=()) -> tuple[np.ndarray, np.ndarray]:
    """latents as float64 [N, D] and factors as integers [N, F].

    ValueError for factors that are missing, not integers or constant; shapes that do not fit; latents that are not
    finite; fewer than 100 points; `categorical` that are not indices of factors.
    """
    if factors is None:
        raise ValueError("factors must be known, an array [N, F], got None")
    latents, factors = np.asarray(latents, np.float64), np.asarray(factors)
    if latents.ndim != 2:
        raise ValueError(f"latents must have shape [N, D], got {list(latents.shape)}")
    if factors.ndim != 2 or len(factors) != len(latents):
        raise ValueError(
            f"factors must have shape [N, F] with the N of latents, {len(latents)}, got {list(factors.shape)}"
        )
    if not np.issubdtype(factors.dtype, np.integer):
        raise ValueError(f"factors must hold integers, got {factors.dtype}")
    if len(latents) < 100:
        raise ValueError(f"latents must hold at least 100 points for this score, got {len(latents)}")
    if not np.isfinite(latents).all():
        raise ValueError(f"latents must be finite, got {latents[~np.isfinite(latents)][0]}")
    constant = np.flatnonzero(factors.min(axis=0) == factors.max(axis=0))
    if len(constant):
        raise ValueError(f"factors must vary, got one value alone in column {constant[0]}")
    for k in categorical:
        if not 0 <= k < factors.shape[1]:
            raise ValueError(f"categorical must hold indices of the {factors.shape[1]} factors, got {k}")
    # What varies by rounding alone is constant.
    return np.where(np.ptp(latents, axis=0) > 1e-12 * np.abs(latents).max(axis=0), latents, 0), factors


def varying(data: FactorData) -> np.ndarray:
    """The indices of the factors with more than one value; ValueError if there are none, or no known factors."""
    for name in ("factor_sizes", "sample_factors", "images"):
        if getattr(data, name, None) is None:
            raise ValueError(f"data must have known factors, got {type(data).__name__}, which has no {name}")
    found = np.flatnonzero(np.asarray(data.factor_sizes) > 1)
    if not len(found):
        raise ValueError(f"data must have a factor of at least 2 values, got factor_sizes {tuple(data.factor_sizes)}")
    return found


def encoded(encode: Encode, data: FactorData, factors: np.ndarray) -> np.ndarray:
    """The latents of the images with these factors: [..., F] -> float64 [..., D]; ValueError unless they are finite."""
    rows = factors.reshape(-1, factors.shape[-1])
    blocks = (data.images(rows[i : i + 1024]) for i in range(0, len(rows), 1024))
    found = [np.asarray(encode(block), np.float64) for block in blocks]
    if any(block.ndim != 2 for block in found):
        raise ValueError(f"encode must give latents [n, D], got shape {list(found[0].shape)}")
    latents = np.concatenate(found)
    if not np.isfinite(latents).all():
        raise ValueError(f"latents must be finite, got {latents[~np.isfinite(latents)][0]}")
    return latents.reshape(*factors.shape[:-1], -1)


def two_largest(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two largest of each column of nonnegative scores [D, F]: [F] each; the second is 0 if D = 1."""
    ordered = np.sort(np.vstack([np.zeros(scores.shape[1]), scores]), axis=0)
    return ordered[-1], ordered[-2]
