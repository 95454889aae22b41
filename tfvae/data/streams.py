"""Images that need not fit into memory, read as they are trained on: TFRecords, image folders, tensorflow_datasets.

photos = data.from_tfrecords("train/*.tfrecord", event_shape=(64, 64, 3), test="test/*.tfrecord")
for x in photos.train(batch_size=128): ...
"""

import dataclasses
import functools
import math
import pathlib

import numpy as np
import tensorflow as tf

from tfvae.data.batches import Batches
from tfvae.data.epochs import bounds, draw, replicas_of
from tfvae.data.sources import Source, from_file, from_raw, image_files, matched, of_image_files, of_tfrecords
from tfvae.seeds import fold_in
from tfvae.support import checks, files
from tfvae.support.fields import BINARIZATIONS

ENCODINGS = ("raw", "image")

_SPLITS = ("train", "validation", "test")
# What a number is for; folded in first, so that order, training's bits and the fixed bits never share noise.
_ORDER, _FRESH, _FIXED = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Stream:
    """A training set of images, and perhaps a validation and a test set, read from files as they are needed.

    In memory are, at a time, `shuffle_buffer` images as they lie in the files, and a few batches.

    Attributes:
        name: what is read.
        event_shape: (H, W, C).
        num_levels: 255, as grey levels are 0, 1/255, ..., 1 (see `data.ImageData`); 1 once binarized.
        binarize: None, "static" or "stochastic".
        seed: of binarization and shuffling.
        num_images: in the training set; None if not counted.
        shuffle_buffer: images out of which the next one is drawn.
        deterministic: whether order and bits are functions of (seed, epoch); else whichever file is ready comes first.
    """

    name: str
    event_shape: tuple
    binarize: str | None
    seed: int
    shuffle_buffer: int
    deterministic: bool
    sources: dict = dataclasses.field(repr=False)  # split -> Source

    @property
    def num_levels(self):
        return 1 if self.binarize else 255

    @property
    def num_images(self):
        return self.sources["train"].num_images()

    train_size = num_images

    def train(self, batch_size, *, first_epoch=0, shard=(0, 1)):
        """`Batches` of float32 [B, H, W, C], the last of an epoch smaller; each iteration is one epoch.

        Each epoch has an order of its own: that of the files is drawn, up to 16 of them are read in turn, and images
        are drawn out of a buffer. Iterating a second time gives epoch `first_epoch + 1`. Where `num_images` is known,
        `VAE.fit` starts from the epoch that the optimizer's count of updates tells; else from `first_epoch`.

        Args:
            shard: (index, count): every count-th file, from the index-th, for one of `count` workers; every count-th
                record where there are fewer files than workers. Shards are disjoint and together complete. Their
                sizes may differ: workers that wait for each other need the same `steps_per_epoch`.

        Raises:
            ValueError: batch_size out of [1, number of images], first_epoch below 0, a shard that is none.
        """
        source = self.sources["train"]
        index, count = _checked_shard(shard)
        num_images = source.num_images(index, count)
        checks.batch_size(batch_size, num_images)
        checks.count("first_epoch", first_epoch, 0)

        def batches_of(epoch, index=index, count=count, sizes=None):
            # In the graph of this function alone: else the order would depend on the caller's set_seed as well.
            tf.random.set_seed(1)
            seed = fold_in(self.seed, _ORDER, epoch)
            items = source.items(seed, index, count, self.deterministic)
            drawn = tf.random.stateless_uniform([], seed, minval=None, maxval=None, dtype=tf.int64)
            items = items.shuffle(self.shuffle_buffer, seed=drawn, reshuffle_each_iteration=False)
            images = self._images("train", items, self.binarize == "static")
            batches = images.batch(batch_size) if sizes is None else images.batch(max(sizes)).rebatch(sizes)
            if self.binarize != "stochastic":
                return batches
            seed = fold_in(self.seed, _FRESH, epoch)
            return batches.enumerate().map(lambda step, x: draw(x, fold_in(seed, step, index)))

        def pipeline(epochs, **part):
            return epochs.flat_map(functools.partial(batches_of, **part)).prefetch(2)

        def parts(first, context):
            if count > 1:
                raise ValueError(f"shard must be (0, 1) under several workers, who get theirs anyway, got {shard}")
            first = first_epoch if num_images is None else first
            return pipeline(tf.data.Dataset.counter(first), **self._part(batch_size, context))

        num_steps = None if num_images is None else math.ceil(num_images / batch_size)
        return Batches(pipeline, batch_size, num_steps, first_epoch=first_epoch, parts=parts)

    def _part(self, batch_size, context):
        """The shard of one of several workers, and the sizes of its batches, one for each replica and step.

        Shards differ in size. Where it is known, each is cut into as many batches as there are steps in an epoch.
        """
        index, count = context.input_pipeline_id, context.num_input_pipelines
        source, num_replicas = self.sources["train"], context.num_replicas_in_sync
        num_images, replicas = source.num_images(index, count), replicas_of(context)
        if num_images is None:
            return {"index": index, "count": count, "sizes": np.diff(bounds(batch_size, replicas, num_replicas))}
        if num_images == 0:
            raise ValueError(
                f"the data must hold images for each of {count} workers, got none for that of index {index}"
            )
        num_batches = math.ceil(source.num_images() / batch_size) * len(replicas)
        sizes = np.diff(bounds(num_images, range(num_batches), num_batches))
        return {"index": index, "count": count, "sizes": sizes}

    def validation(self, batch_size):
        """A `tf.data.Dataset` of float32 [B, H, W, C], in the files' order; binarized once, by the seed."""
        return self._fixed("validation", batch_size)

    def test(self, batch_size):
        """A `tf.data.Dataset` of float32 [B, H, W, C], in the files' order; binarized once, by the seed."""
        return self._fixed("test", batch_size)

    def _fixed(self, split, batch_size):
        if split not in self.sources:
            raise ValueError(f"{split} must be given to have a {split} set, got None")
        source = self.sources[split]
        checks.batch_size(batch_size, source.num_images())
        dataset = self._images(split, source.items(), self.binarize is not None).batch(batch_size)
        if source.counts is not None:
            num_steps = math.ceil(source.num_images() / batch_size)
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_steps))
        return dataset.prefetch(2)

    def _images(self, split, items, binarized):
        """A Dataset of [H, W, C]; bits are a function of the seed, the split and the image's place in its files."""
        source = self.sources[split]
        seed = fold_in(self.seed, _FIXED, _SPLITS.index(split))

        def image(file, place, record):
            x = tf.ensure_shape(tf.cast(source.decode(record), tf.float32) / 255, self.event_shape)
            return draw(x, fold_in(seed, file, place)) if binarized else x

        return items.map(
            image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=self.deterministic or split != "train"
        )


def from_tfrecords(
    pattern,
    event_shape,
    *,
    validation=None,
    test=None,
    feature="image",
    encoding="raw",
    binarize=None,
    seed=0,
    shuffle_buffer=4096,
    deterministic=True,
    count=False,
    name="tfrecords",
):
    """A `Stream` of the images in TFRecord files, each record a `tf.train.Example`.

    Args:
        pattern: of the training set's files, like "train/*.tfrecord"; or a list of patterns.
        event_shape: (H, W, C).
        validation, test: patterns too, or None.
        feature: the bytes feature that holds the image.
        encoding: "raw" for H * W * C bytes, row by row; "image" for a PNG or JPEG file of just that size.
        binarize: None for grey levels; "static" for one draw of x ~ Bernoulli(grey), by the seed and the image's place;
            "stochastic" for a fresh draw each time a training image is read.
        shuffle_buffer: images out of which the next one is drawn; what it takes is that many records.
        deterministic: False reads files in parallel and lets whichever is ready come first; for slow or remote disks.
        count: True reads all files once, to know `num_images` (and so the number of steps).

    Raises:
        ValueError: a pattern that matches no file, an unknown encoding or binarization, sizes below 1. A record that
            does not hold such an image: InvalidArgumentError while it is read, ValueError in `VAE.fit`.
    """
    event_shape = _checked_event_shape(event_shape)
    checks.check_name("encoding", encoding, ENCODINGS)
    checks.check_name("binarize", binarize, BINARIZATIONS)
    checks.count("shuffle_buffer", shuffle_buffer)
    if encoding == "image":
        _check_channels(event_shape)

    def decode(record):
        example = tf.io.parse_single_example(record, {feature: tf.io.FixedLenFeature([], tf.string)})
        if encoding == "raw":
            return from_raw(feature, example[feature], event_shape)
        return from_file(feature, example[feature], event_shape)

    patterns = {"train": ("pattern", pattern), "validation": ("validation", validation), "test": ("test", test)}
    paths = {split: matched(*given) for split, given in patterns.items() if given[1] is not None}
    sources = {split: of_tfrecords(found, decode, count) for split, found in paths.items()}
    return Stream(name, event_shape, binarize, seed, shuffle_buffer, deterministic, sources)


def from_image_folder(
    folder, event_shape, *, validation=None, test=None, binarize=None, seed=0, deterministic=True, name="images"
):
    """A `Stream` of the PNG and JPEG files in a folder and the folders below it, resized as they are read.

    The resizing is bilinear with antialiasing, and does not keep the ratio of width to height. Memory holds the files'
    names; each epoch's order is drawn over all of them.

    Args:
        folder: of the training set.
        event_shape: (H, W, C), C = 1 for grey, 3 for RGB, 4 for RGBA.
        validation, test: folders too, or None.
        binarize, seed, deterministic: as for `from_tfrecords`.

    Raises:
        ValueError: a folder without such files, an event_shape that is none, an unknown binarization. A file that is
            no image: InvalidArgumentError while it is read.
    """
    event_shape = _checked_event_shape(event_shape)
    _check_channels(event_shape)
    checks.check_name("binarize", binarize, BINARIZATIONS)
    folders = {"train": ("folder", folder), "validation": ("validation", validation), "test": ("test", test)}
    paths = {split: image_files(*given) for split, given in folders.items() if given[1] is not None}
    sources = {split: of_image_files(found, event_shape) for split, found in paths.items()}
    return Stream(name, event_shape, binarize, seed, 1, deterministic, sources)


def from_tfds(name, binarize=None, seed=0, *, validation_size=None, path=None):
    """A `Stream` of a data set of tensorflow_datasets: see `data.load`.

    Raises:
        ImportError: tensorflow_datasets is not installed.
        ValueError: a data set without uint8 images of one size, a validation_size out of range.
    """
    checks.check_name("binarize", binarize, BINARIZATIONS)
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ImportError(
            f"name must be a data set whose package is installed, got 'tfds:{name}': pip install tensorflow-datasets"
        ) from None
    builder = tfds.builder(name, data_dir=path)
    image = dict(builder.info.features).get("image")
    if image is None or None in image.shape or image.dtype != np.uint8:
        raise ValueError(f"name must be a data set of uint8 images of one size, got 'tfds:{name}'")
    builder.download_and_prepare()
    sizes = {split: builder.info.splits[split].num_examples for split in _SPLITS if split in builder.info.splits}
    spans = {split: (split, size) for split, size in sizes.items()}
    if validation_size is not None or "validation" not in sizes:
        size = sizes["train"] // 10 if validation_size is None else validation_size
        if not 0 <= size < sizes["train"]:
            raise ValueError(f"validation_size must be in [0, {sizes['train'] - 1}], got {validation_size}")
        kept = sizes["train"] - size
        spans |= {"train": (f"train[:{kept}]", kept), "validation": (f"train[{kept}:]", size)}
    config = tfds.ReadConfig(try_autocache=False)  # that would keep small data sets in memory

    def source(span, size):
        dataset = builder.as_dataset(split=span, shuffle_files=False, read_config=config)
        return Source(1, lambda _: dataset.map(lambda example: example["image"]), tf.identity, (size,))

    sources = {split: source(*span) for split, span in spans.items() if span[1]}
    return Stream(f"tfds:{name}", tuple(image.shape), binarize, seed, 4096, True, sources)


def to_tfrecords(images, directory, *, num_shards=1, feature="image"):
    """Writes images as the TFRecord files that `from_tfrecords` reads; all of them appear at once, or none.

    Args:
        images: uint8 [N, H, W, C]; an array on disk (`numpy.memmap`) will do.
        directory: a new or an empty one.
        num_shards: files, in [1, N]; at least as many as workers will read them.

    Returns:
        The files' paths. Image i of N comes after image i - 1, in the same or the next file.

    Raises:
        ValueError: other images, num_shards out of range.
        FileExistsError: the directory holds something.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be uint8 [N, H, W, C], N at least 1, got {images.dtype} {images.shape}")
    checks.count("num_shards", num_shards)
    if num_shards > len(images):
        raise ValueError(f"num_shards must be at most the number of images, {len(images)}, got {num_shards}")
    directory = pathlib.Path(directory)
    names = [f"images-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)]
    bounds = [len(images) * i // num_shards for i in range(num_shards + 1)]
    with files.staged_directory(directory) as staged:
        for name, first, end in zip(names, bounds[:-1], bounds[1:], strict=True):
            with tf.io.TFRecordWriter(str(staged / name)) as writer:
                for i in range(first, end):
                    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[images[i].tobytes()]))
                    example = tf.train.Example(features=tf.train.Features(feature={feature: value}))
                    writer.write(example.SerializeToString())
    return [directory / name for name in names]


def _checked_event_shape(event_shape):
    sizes = tuple(event_shape) if isinstance(event_shape, tuple | list) else ()
    if len(sizes) != 3 or not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
        raise ValueError(f"event_shape must be three integers of at least 1, (H, W, C), got {event_shape!r}")
    return tuple(int(size) for size in sizes)


def _check_channels(event_shape):
    if event_shape[2] not in (1, 3, 4):
        raise ValueError(f"event_shape must end in 1, 3 or 4 channels for PNG and JPEG, got {event_shape}")


def _checked_shard(shard):
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard must be (index, count) with 0 <= index < count, got {shard}")
    return index, count
