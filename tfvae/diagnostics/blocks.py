"""Images in blocks with a progress bar, so that memory is bounded for any number of images."""

import functools
from collections.abc import Callable, Iterator

import tensorflow as tf
from tqdm import tqdm

# Floats in one decoded chunk. A few such arrays are alive at a time: 50 MB, for any sizes of images and samples.
CHUNK = 2_000_000


def fitting(floats_each: int) -> int:
    """The number of items of `floats_each` floats that fit into a chunk, at least 1."""
    return max(1, CHUNK // int(floats_each))


def counts_of(num_samples: int, floats_each: int) -> list[int]:
    """`num_samples` in parts that fit into a chunk, of samples of `floats_each` floats; the first is the largest."""
    chunk = min(num_samples, fitting(floats_each))
    return [min(chunk, num_samples - first) for first in range(0, num_samples, chunk)]


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


def compiled(vae, function: Callable) -> Callable:
    """`function` as a graph, kept with the model and traced anew only when the model's pieces change."""
    pieces = (vae.encoder, vae.decoder, vae.prior)
    # Not by attribute: Keras would wrap and track the dict.
    kept = vae.__dict__.setdefault("_compiled_measures", {})
    traced_for, graph = kept.get(function, (None, None))
    if traced_for is None or any(a is not b for a, b in zip(traced_for, pieces, strict=True)):
        # A partial: of a plain function TensorFlow counts the traces of all models as one's, and warns of too many.
        graph = tf.function(functools.partial(function), reduce_retracing=True)
        kept[function] = (pieces, graph)
    return graph
