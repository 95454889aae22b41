"""Images in blocks with a progress bar, so that memory is bounded for any number of images."""

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

# Floats in one decoded chunk. A few such arrays are alive at a time: 50 MB, for any sizes of images and samples.
CHUNK = 2_000_000


def fitting(floats_each: int) -> int:
    """The number of items of `floats_each` floats that fit into a chunk, at least 1."""
    return max(1, CHUNK // int(floats_each))


def blocks(vae, x, floats_per_image: int, title: str, progress: bool) -> Iterator[tuple]:
    """(first row, `vae.rows` of the block, x [B, *event_shape] of the block), `CHUNK` floats at most.

    Args:
        x: [N, *event_shape].
        floats_per_image: number of floats decoded at once for each image.
        title: label of the bar, shown on a terminal if `progress`.
    """
    size = fitting(floats_per_image)
    for first in tqdm(range(0, len(x), size), desc=title, unit="block", disable=None if progress else True):
        rows = slice(first, first + size)
        yield first, vae.rows(rows), x[rows]


def error_of_mean(errors: np.ndarray) -> float:
    """The standard error of the mean of independent estimates with these standard errors [N].

    >>> tfvae.diagnostics.error_of_mean(np.array([3.0, 4.0]))
    2.5
    """
    return float(np.sqrt(np.sum(errors**2)) / len(errors))
