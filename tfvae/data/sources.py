"""Files of images: which there are, and how a record of them becomes an image."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.support import checks


@dataclasses.dataclass(frozen=True)
class Files:
    """One split's files, numbered from 0."""

    num_files: int
    records: Callable | None  # a file's number -> a Dataset of what `decode` takes; None where a file is one image
    decode: Callable  # a record (or a file's number) -> uint8 [H, W, C]
    counts: tuple[int, ...] | None  # images in each file, or None

    def num_images(self, index: int = 0, count: int = 1) -> int | None:
        """In one of `count` shards; None if not counted."""
        if self.counts is None:
            return None
        if self.num_files >= count:
            return sum(self.counts[index::count])
        return sum(len(range(index, size, count)) for size in self.counts)

    def items(self, seed: Any = None, index: int = 0, count: int = 1) -> tf.data.Dataset:
        """A Dataset of (file, index in the file, record): interleaved from shuffled files; without a seed, in order."""
        numbers = tf.range(self.num_files, dtype=tf.int64)
        if self.num_files >= count:
            numbers = numbers[index::count]
        if seed is not None:
            numbers = tf.random.experimental.stateless_shuffle(numbers, seed)
        numbers, read = tf.data.Dataset.from_tensor_slices(numbers), self.records
        if read is None:  # a Dataset for each image would take milliseconds
            return numbers.map(lambda file: (file, tf.constant(0, tf.int64), file))

        def items_of(file):
            records = read(file).enumerate()
            if self.num_files < count:
                records = records.shard(count, index)
            return records.map(lambda place, record: (file, place, record))

        # One reader: parallel ones were slower on a local disk, and their buffers grew.
        return numbers.interleave(items_of, cycle_length=1 if seed is None else min(16, self.num_files))


def of_tfrecords(paths: list[str], decode: Callable, count: bool) -> Files:
    """TFRecord files; `count` reads them all once, to count their images."""

    def size(path):
        return tf.data.TFRecordDataset(path).reduce(np.int64(0), lambda n, _: n + 1)

    table = tf.constant(paths)
    counts = tuple(map(int, tf.data.Dataset.from_tensor_slices(table).map(size))) if count else None
    return Files(len(paths), lambda file: tf.data.TFRecordDataset(table[file]), decode, counts)


def of_image_files(paths: list[str], event_shape: tuple[int, ...]) -> Files:
    """PNG and JPEG files, resized to `event_shape`."""
    table = tf.constant(paths)

    def decode(file):
        image = tf.io.decode_image(tf.io.read_file(table[file]), channels=event_shape[2], expand_animations=False)
        resized = tf.image.resize(image, event_shape[:2], antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)

    return Files(len(paths), None, decode, (1,) * len(paths))


def from_raw(feature: str, raw: tf.Tensor, event_shape: tuple[int, ...]) -> tf.Tensor:
    """uint8 [H, W, C] of H * W * C bytes."""
    size, got = math.prod(event_shape), tf.strings.length(raw)
    raw = checks.after(got == size, [f"{feature} must be the {size} bytes of an image {event_shape}, got", got], raw)
    return tf.reshape(tf.io.decode_raw(raw, tf.uint8), event_shape)


def from_file(feature: str, encoded: tf.Tensor, event_shape: tuple[int, ...]) -> tf.Tensor:
    """uint8 [H, W, C] of the bytes of a PNG or JPEG file of exactly that size."""
    image = tf.io.decode_image(encoded, channels=event_shape[2], expand_animations=False)
    got, rule = tf.shape(image), f"{feature} must have shape {event_shape}, got"
    return checks.after(tf.reduce_all(got == event_shape), [rule, got], image)


def matched(argument: str, patterns: str | pathlib.Path | Sequence[str | pathlib.Path]) -> list[str]:
    """The files that match any of the patterns, sorted."""
    patterns = [patterns] if isinstance(patterns, str | pathlib.Path) else patterns
    found: set[str] = set()
    for pattern in patterns:
        matches = [path for path in tf.io.gfile.glob(str(pattern)) if not tf.io.gfile.isdir(path)]
        if not matches:
            raise ValueError(f"{argument} must match at least one file, got {str(pattern)!r}")
        found |= set(matches)
    return sorted(found)


def image_files(argument: str, folder: str | pathlib.Path) -> list[str]:
    """The PNG and JPEG files in a folder and below it, sorted."""
    suffixes = (".png", ".jpg", ".jpeg")
    paths = sorted(str(path) for path in pathlib.Path(folder).rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        raise ValueError(f"{argument} must be a folder with PNG or JPEG files, got {str(folder)!r}")
    return paths
