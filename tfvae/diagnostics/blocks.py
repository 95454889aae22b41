"""Images in blocks, with a bar: memory is bounded whatever their number."""

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

# Floats in one decoded chunk. A few such arrays live at a time: 50 MB, whatever the sizes of images and samples.
CHUNK = 2_000_000


def fitting(floats_each: int) -> int:
    """How many things of so many floats fit into a chunk: at least 1."""
    return max(1, CHUNK // int(floats_each))


def blocks(vae, x, floats_per_image: int, title: str, progress: bool) -> Iterator[tuple]:
    """(first row, the model of these rows, the images x of these rows), for rows whose floats fit into `CHUNK`.

    Args:
        x: [N, *event_shape].
        floats_per_image: decoded at a time.
        title: of the bar.
        progress: whether a terminal shows the bar.
    """
    size = fitting(floats_per_image)
    for first in tqdm(range(0, len(x), size), desc=title, unit="block", disable=None if progress else True):
        rows = slice(first, first + size)
        yield first, vae.rows(rows), x[rows]


def error_of_mean(errors: np.ndarray) -> float:
    """The standard error of a mean of independent estimates: their errors [N] -> a number."""
    return float(np.sqrt(np.sum(errors**2)) / len(errors))
