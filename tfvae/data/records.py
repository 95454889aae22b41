"""Streams of TFRecords and of tensorflow_datasets; and the writer of TFRecords."""

import functools
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import tensorflow as tf
from google.protobuf import message

from tfvae.data.epochs import bounds
from tfvae.data.factors import held_out_size
from tfvae.data.images import SPLITS
from tfvae.data.streams import Files, Stream, image_shape, sources_of
from tfvae.support import checks, files, pictures, tensors
from tfvae.support.rules import checked

Path = str | pathlib.Path
Patterns = Annotated[Path | Sequence[Path], checks.texts_or_paths]
Shuffled = Annotated[int, functools.partial(checks.count, most=10**7)]


@checked
def from_tfrecords(
    pattern: Patterns,
    event_shape: Sequence[int],
    *,
    validation: Patterns | None = None,
    test: Patterns | None = None,
    feature: str = "image",
    encoding: Literal["raw", "image"] = "raw",
    binarize: str | None = None,
    seed: int = 0,
    shuffle_buffer: Shuffled = 4096,
    count: bool = False,
    name: str = "tfrecords",
) -> Stream:
    """A `Stream` of the images in TFRecord files, each record a `tf.train.Example`.

    >>> _ = tfvae.data.to_tfrecords(np.full([6, 4, 4, 1], 51, np.uint8), "train", num_shards=2)
    >>> stream = tfvae.data.from_tfrecords("train/*.tfrecord", (4, 4, 1), count=True)
    >>> [x.shape[0] for x in stream.train(batch_size=4)], stream.num_images
    ([4, 2], 6)

    Args:
        pattern, validation, test: of the files of each set; a pattern or a list of them, also of remote files that
            `tf.io.gfile` reads.
        event_shape: (H, W, C).
        feature: the bytes feature that holds the image.
        encoding: "raw" for H * W * C bytes, row by row, 255 meaning 1; "image" for a PNG or JPEG file of exactly that
            size, by the rule of `from_image_folder`.
        binarize, seed: as for `load`; the static draw depends on the image's place.
        shuffle_buffer: records in the buffer from which the next is drawn, held in memory; at most 10^7.
        count: True reads all files once, to know `num_images` (and so the number of steps).

    Raises:
        ValueError: a pattern that matches no file, an unknown encoding or binarization, sizes out of range, a bad
            record among the first 100 or bytes of 0 and 1 alone there, with `count` a broken file. A later record that
            does not hold such an image: InvalidArgumentError while it is read, ValueError in `VAE.fit`; both name the
            record, from 0, and its file.
    """
    shape = image_shape(event_shape, encoded=encoding == "image")

    def files_at(argument, paths):
        def decode(file, place, record):
            where = [tf.strings.join(["in record ", tf.strings.as_string(place), " of ", paths[file]])]
            absent = tf.io.FixedLenFeature([], tf.string, default_value="")
            value = tf.io.parse_single_example(record, {feature: absent})[feature]
            if encoding == "image":
                return pictures.decode(f"feature {feature}", value, shape[2], shape[:2], where)
            size, got = math.prod(shape), tf.strings.length(value)
            rule = f"feature {feature} must be the {size} bytes of an image {shape}, got"
            value = tensors.after(got == size, [rule, got, *where], value)
            return tf.reshape(tf.io.decode_raw(value, tf.uint8), shape)

        names = [path.decode() for path in paths.numpy()]
        counts = tuple(_num_records(argument, name) for name in names) if count else None
        if counts is not None and not any(counts):
            raise ValueError(f"{argument} must match files that hold records, got none in {names[0]!r}")
        found = Files(len(paths), lambda file: tf.data.TFRecordDataset(paths[file]), decode, counts)
        return _checked_first(names[0], found) if argument == "pattern" else found

    sources = sources_of(files_at, _matched, "pattern", pattern, validation, test)
    return Stream(name, shape, binarize, seed, shuffle_buffer, sources)


@checked
def from_tfds(name: str, binarize=None, seed=0, *, validation_size=None, path=None) -> Stream:
    """A `Stream` of a data set of tensorflow_datasets, which must hold uint8 images of one size: see `data.load`."""
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        rule = f"name must be a data set whose package is installed, got 'tfds:{name}'"
        raise ImportError(f"{rule}: pip install tensorflow-datasets") from None
    builder = tfds.builder(name, data_dir=path)
    image = dict(builder.info.features).get("image")
    if image is None or None in image.shape or image.dtype != np.uint8:
        raise ValueError(f"name must be a data set of uint8 images of one size, got 'tfds:{name}'")
    builder.download_and_prepare()
    sizes = {split: builder.info.splits[split].num_examples for split in SPLITS if split in builder.info.splits}
    spans = {split: (split, size) for split, size in sizes.items()}
    if validation_size is not None or "validation" not in sizes:
        size = held_out_size(validation_size, sizes["train"] // 10, sizes["train"])
        kept = sizes["train"] - size
        spans |= {"train": (f"train[:{kept}]", kept), "validation": (f"train[{kept}:]", size)}
    config = tfds.ReadConfig(try_autocache=False)  # caching would keep small data sets in memory

    def source(span, size):
        dataset = builder.as_dataset(split=span, shuffle_files=False, read_config=config)
        records = dataset.map(lambda example: example["image"])
        return Files(1, lambda _: records, lambda file, place, record: record, (size,))

    sources = {split: source(*span) for split, span in spans.items() if span[1]}
    _checked_first(f"tfds:{name}", sources["train"])
    return Stream(f"tfds:{name}", tuple(image.shape), binarize, seed, 4096, sources)


@checked
def to_tfrecords(
    images: np.ndarray, directory: Path, *, num_shards: int = 1, feature: str = "image"
) -> list[pathlib.Path]:
    """Writes images as TFRecord files for `from_tfrecords`, in order and atomically; gives the files' paths.

    >>> paths = tfvae.data.to_tfrecords(np.zeros([6, 4, 4, 1], np.uint8), "records", num_shards=2)
    >>> [path.name for path in paths]
    ['images-00000-of-00002.tfrecord', 'images-00001-of-00002.tfrecord']

    Args:
        images: uint8 [N, H, W, C], 255 meaning 1; possibly a `numpy.memmap`.
        directory: new or empty.
        num_shards: files, in [1, N]; at least as many as workers will read them.

    Raises:
        ValueError: other images, such as bytes of 0 and 1 alone; num_shards out of range; no local directory.
        FileExistsError: the directory holds something.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be uint8 [N, H, W, C], N at least 1, got {images.dtype} {images.shape}")
    checks.bytes_up_to("images", images, 255)
    if num_shards > len(images):
        raise ValueError(f"num_shards must be at most the number of images, {len(images)}, got {num_shards}")
    names = [f"images-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)]
    shards = np.split(images, bounds(len(images), range(num_shards), num_shards)[1:-1])
    directory = files.local("directory", directory)
    with files.staged_directory(directory) as staged:
        for name, shard in zip(names, shards, strict=True):
            with tf.io.TFRecordWriter(str(staged / name)) as writer:
                for image in shard:
                    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))
                    example = tf.train.Example(features=tf.train.Features(feature={feature: value}))
                    writer.write(example.SerializeToString())
    return [directory / name for name in names]


def _checked_first(path, source):
    """A source; ValueError if one of the first 100 images of its first file is broken, or all are bytes of 0 and 1."""
    first = tf.constant(0, tf.int64)
    images = source.records(first).enumerate().take(100).map(lambda *item: source.decode(first, *item)).batch(100)
    try:
        with tensors.graph_errors():
            for x in images:
                checks.bytes_up_to(path, x.numpy(), 255)
    except tf.errors.OpError as error:
        raise ValueError(f"{path} must hold images that can be read, got {tensors.first_line(error)}") from None
    return source


def _matched(argument, patterns):
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str | pathlib.Path) else patterns:
        expanded = os.path.expanduser(pattern)
        matches = [path for path in tf.io.gfile.glob(expanded) if not tf.io.gfile.isdir(path)]
        if not matches:
            raise ValueError(f"{argument} must match at least one file, got {str(pattern)!r}")
        found |= set(matches)
    return sorted(found)


def _num_records(argument, path):
    try:
        return int(tf.data.TFRecordDataset(path).reduce(np.int64(0), lambda n, _: n + 1))
    except tf.errors.OpError as error:
        raise ValueError(f"{argument} must match TFRecord files, got {path!r}: {tensors.first_line(error)}") from None


def form_of_records(pattern: Patterns) -> tuple[tuple[int, ...], Literal["raw", "image"]]:
    """Shape and encoding of the square images of 1 or 3 channels in TFRecord files, by the first of them."""
    first = _matched("path", pattern)[0]
    try:
        (record,) = tf.data.TFRecordDataset(first).take(1).as_numpy_iterator()
        content = tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]
    except (tf.errors.OpError, ValueError, IndexError, message.DecodeError) as error:
        rule = "path must match TFRecord files of examples with a feature image"
        raise ValueError(f"{rule}, got {first!r}: {error}") from None
    if content.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return tuple(tf.io.decode_image(content).shape), "image"
    for channels in (1, 3):
        side = math.isqrt(len(content) // channels)
        if channels * side * side == len(content) > 0:
            return (side, side, channels), "raw"
    raise ValueError(
        f"path must match files of square images of 1 or 3 channels, got {len(content)} bytes in {first!r}"
    )
