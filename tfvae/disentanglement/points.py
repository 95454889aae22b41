"""Latents beside the known factors of the images they encode. Shapes: N points, D latents, F factors."""

import numpy as np


def checked(latents, factors, least=100):
    """latents as float64 [N, D] and factors as integers [N, F].

    Raises:
        ValueError: factors missing, not integers or constant; shapes that do not fit; latents that are not finite;
            fewer than `least` points.
    """
    if factors is None:
        raise ValueError("factors must be known, an array [N, F], got None")
    latents, factors = np.asarray(latents, np.float64), np.asarray(factors)
    if latents.ndim != 2:
        raise ValueError(f"latents must have shape [N, D], got {list(latents.shape)}")
    if factors.ndim != 2 or len(factors) != len(latents):
        raise ValueError(f"factors must have shape [N, F] with N {len(latents)}, got {list(factors.shape)}")
    if not np.issubdtype(factors.dtype, np.integer):
        raise ValueError(f"factors must hold integers, got {factors.dtype}")
    if len(latents) < least:
        raise ValueError(f"latents must hold at least {least} points for this score, got {len(latents)}")
    if not np.isfinite(latents).all():
        raise ValueError(f"latents must be finite, got {latents[~np.isfinite(latents)][0]}")
    constant = np.flatnonzero(factors.min(axis=0) == factors.max(axis=0))
    if len(constant):
        raise ValueError(f"factors must vary, got one value alone in column {constant[0]}")
    return latents, factors


def varying(data):
    """The indices of the factors that have more than one value: [F].

    Raises:
        ValueError: `data` does not know its factors, or none varies.
    """
    for name in ("factor_sizes", "sample_factors", "images"):
        if getattr(data, name, None) is None:
            raise ValueError(f"data must have known factors, got {type(data).__name__}, which has no {name}")
    found = np.flatnonzero(np.asarray(data.factor_sizes) > 1)
    if not len(found):
        raise ValueError(f"data must have a factor of at least 2 values, got factor_sizes {tuple(data.factor_sizes)}")
    return found


def encoded(encode, data, factors, batch_size=1024):
    """The latents of the images that have these factors: [n, F] -> float64 [n, D]."""
    blocks = (factors[i : i + batch_size] for i in range(0, len(factors), batch_size))
    return np.concatenate([np.asarray(encode(data.images(block)), np.float64) for block in blocks])


def two_largest(scores):
    """The largest and the next of each column of scores [D, F], all at least 0: [F] each; one latent's next is 0."""
    ordered = np.sort(np.vstack([np.zeros(scores.shape[1]), scores]), axis=0)
    return ordered[-1], ordered[-2]
