"""Streams of TFRecords, image folders and tensorflow_datasets; and the writer of TFRecords."""

import math
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfvae.data.epochs import bounds
from tfvae.data.factors import held_out_size
from tfvae.data.images import SPLITS
from tfvae.data.streams import Files, Stream
from tfvae.support import checks, files
from tfvae.support.fields import BINARIZATIONS

Path = str | pathlib.Path
Patterns = Path | Sequence[Path]


def from_tfrecords(
    pattern: Patterns,
    event_shape: Sequence[int],
    *,
    validation: Patterns | None = None,
    test: Patterns | None = None,
    feature: str = "image",
    encoding: str = "raw",
    binarize: str | None = None,
    seed: int = 0,
    shuffle_buffer: int = 4096,
    count: bool = False,
    name: str = "tfrecords",
) -> Stream:
    """A `Stream` of the images in TFRecord files, each record a `tf.train.Example`.

    >>> _ = tfvae.data.to_tfrecords(np.full([6, 4, 4, 1], 51, np.uint8), "train", num_shards=2)
    >>> stream = tfvae.data.from_tfrecords("train/*.tfrecord", (4, 4, 1), count=True)
    >>> [x.shape[0] for x in stream.train(batch_size=4)], stream.num_images
    ([4, 2], 6)

    Args:
        pattern, validation, test: of the files of each set; a pattern or a list of them.
        event_shape: (H, W, C).
        feature: the bytes feature that holds the image.
        encoding: "raw" for H * W * C bytes, row by row; "image" for a PNG or JPEG file of exactly that size.
        binarize, seed: as for `load`; the static draw depends on the image's place.
        shuffle_buffer: records in the buffer from which the next is drawn, held in memory.
        count: True reads all files once, to know `num_images` (and so the number of steps).

    Raises:
        ValueError: a pattern that matches no file, an unknown encoding or binarization, sizes below 1. A record that
            does not hold such an image: InvalidArgumentError while it is read, ValueError in `VAE.fit`.
    """
    checks.check_name("encoding", encoding, ("raw", "image"))
    shape = _checked(event_shape, binarize, encoded=encoding == "image")
    checks.count("shuffle_buffer", shuffle_buffer)

    def decode(record):
        value = tf.io.parse_single_example(record, {feature: tf.io.FixedLenFeature([], tf.string)})[feature]
        if encoding == "image":
            image = tf.io.decode_image(value, channels=shape[2], expand_animations=False)
            got, rule = tf.shape(image), f"{feature} must have shape {shape}, got"
            return checks.after(tf.reduce_all(got == shape), [rule, got], image)
        size, got = math.prod(shape), tf.strings.length(value)
        value = checks.after(got == size, [f"{feature} must be the {size} bytes of an image {shape}, got", got], value)
        return tf.reshape(tf.io.decode_raw(value, tf.uint8), shape)

    def length(path):
        return tf.data.TFRecordDataset(path).reduce(np.int64(0), lambda n, _: n + 1)

    def files_at(paths):
        counts = tuple(map(int, tf.data.Dataset.from_tensor_slices(paths).map(length))) if count else None
        return Files(len(paths), lambda file: tf.data.TFRecordDataset(paths[file]), decode, counts)

    sources = _sources(files_at, _matched, "pattern", pattern, validation, test)
    return Stream(name, shape, binarize, seed, shuffle_buffer, sources)


def from_image_folder(
    folder: Path,
    event_shape: Sequence[int],
    *,
    validation: Path | None = None,
    test: Path | None = None,
    binarize: str | None = None,
    seed: int = 0,
    name: str = "images",
) -> Stream:
    """A `Stream` of the PNG and JPEG files in a folder and the folders below it, resized as they are read.

    >>> png = tf.io.encode_png(np.full([16, 8, 3], 51, np.uint8))
    >>> tf.io.write_file("photos/a.png", png)
    >>> (x,) = tfvae.data.from_image_folder("photos", (4, 4, 3)).train(batch_size=1)
    >>> x.shape, np.allclose(x, 51 / 255)
    (TensorShape([1, 4, 4, 3]), True)

    Resizing is bilinear with antialiasing, and does not keep the aspect ratio. Memory holds the files' names; each
    epoch shuffles all of them.

    Args:
        folder, validation, test: of each set.
        event_shape: (H, W, C), C = 1 for grey, 3 for RGB, 4 for RGBA.
        binarize, seed: as for `from_tfrecords`.

    Raises:
        ValueError: a folder without such files, an invalid event_shape, an unknown binarization. A file that is no
            image: InvalidArgumentError while it is read.
    """
    shape = _checked(event_shape, binarize, encoded=True)

    def files_at(paths):
        def decode(file):
            image = tf.io.decode_image(tf.io.read_file(paths[file]), channels=shape[2], expand_animations=False)
            resized = tf.image.resize(image, shape[:2], antialias=True)
            return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)

        return Files(len(paths), None, decode, (1,) * len(paths))

    sources = _sources(files_at, _image_files, "folder", folder, validation, test)
    return Stream(name, shape, binarize, seed, 1, sources)


def from_tfds(name: str, binarize=None, seed=0, *, validation_size=None, path=None) -> Stream:
    """A `Stream` of a data set of tensorflow_datasets, which must hold uint8 images of one size: see `data.load`."""
    checks.check_name("binarize", binarize, BINARIZATIONS)
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
        return Files(1, lambda _: dataset.map(lambda example: example["image"]), tf.identity, (size,))

    sources = {split: source(*span) for split, span in spans.items() if span[1]}
    return Stream(f"tfds:{name}", tuple(image.shape), binarize, seed, 4096, sources)


def to_tfrecords(
    images: np.ndarray, directory: Path, *, num_shards: int = 1, feature: str = "image"
) -> list[pathlib.Path]:
    """Writes images as TFRecord files for `from_tfrecords`, in order and atomically; gives the files' paths.

    >>> paths = tfvae.data.to_tfrecords(np.zeros([6, 4, 4, 1], np.uint8), "records", num_shards=2)
    >>> [path.name for path in paths]
    ['images-00000-of-00002.tfrecord', 'images-00001-of-00002.tfrecord']

    Args:
        images: uint8 [N, H, W, C]; possibly a `numpy.memmap`.
        directory: new or empty.
        num_shards: files, in [1, N]; at least as many as workers will read them.

    Raises:
        ValueError: other images, num_shards out of range.
        FileExistsError: the directory holds something.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be uint8 [N, H, W, C], N at least 1, got {images.dtype} {images.shape}")
    checks.count("num_shards", num_shards)
    if num_shards > len(images):
        raise ValueError(f"num_shards must be at most the number of images, {len(images)}, got {num_shards}")
    names = [f"images-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)]
    shards = np.split(images, bounds(len(images), range(num_shards), num_shards)[1:-1])
    with files.staged_directory(pathlib.Path(directory)) as staged:
        for name, shard in zip(names, shards, strict=True):
            with tf.io.TFRecordWriter(str(staged / name)) as writer:
                for image in shard:
                    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))
                    example = tf.train.Example(features=tf.train.Features(feature={feature: value}))
                    writer.write(example.SerializeToString())
    return [pathlib.Path(directory) / name for name in names]


def _sources(files_at, find, argument, *given):
    """{split: `Files`} of the paths that `find` gives, where one is given; `argument` names the training set's."""
    named = zip(SPLITS, (argument, *SPLITS[1:]), given, strict=True)
    found = {split: tf.constant(find(name, value)) for split, name, value in named if value is not None}
    return {split: files_at(paths) for split, paths in found.items()}


def _matched(argument, patterns):
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str | pathlib.Path) else patterns:
        matches = [path for path in tf.io.gfile.glob(str(pattern)) if not tf.io.gfile.isdir(path)]
        if not matches:
            raise ValueError(f"{argument} must match at least one file, got {str(pattern)!r}")
        found |= set(matches)
    return sorted(found)


def _image_files(argument, folder):
    suffixes = (".png", ".jpg", ".jpeg")
    paths = sorted(str(path) for path in pathlib.Path(folder).rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        raise ValueError(f"{argument} must be a folder with PNG or JPEG files, got {str(folder)!r}")
    return paths


def _checked(event_shape, binarize, encoded):
    """event_shape as a tuple; `encoded` as PNG or JPEG, which bound the channels."""
    sizes = tuple(event_shape) if isinstance(event_shape, tuple | list) else ()
    if len(sizes) != 3 or not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
        raise ValueError(f"event_shape must be three integers of at least 1, (H, W, C), got {event_shape!r}")
    sizes = tuple(map(int, sizes))
    if encoded and sizes[2] not in (1, 3, 4):
        raise ValueError(f"event_shape must end in 1, 3 or 4 channels for PNG and JPEG, got {sizes}")
    checks.check_name("binarize", binarize, BINARIZATIONS)
    return sizes
