"""Images that need not fit into memory, as batches: shuffled through a buffer, sharded, binarized."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.data.batches import Batches
from tfvae.data.epochs import bounds, draw, replicas_of
from tfvae.data.images import SPLITS
from tfvae.seeds import fold_in
from tfvae.support import checks
from tfvae.support.rules import checked

# Folded into the seed first, so that order, training bits and fixed bits draw from different seeds.
_ORDER, _FRESH, _FIXED = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Files:
    """One split's files, numbered from 0."""

    num_files: int
    records: Callable | None  # a file's number -> a Dataset of what `decode` takes; None where a file is one image
    decode: Callable  # file, index in the file, record -> uint8 [H, W, C]
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


@dataclasses.dataclass(frozen=True)
class Stream:
    """A training set of images, and optionally a validation and a test set, read from files as they are needed.

    Memory holds `shuffle_buffer` images, encoded as in the files, and a few batches.

    >>> _ = tfvae.data.to_tfrecords(np.zeros([6, 4, 4, 1], np.uint8), "shards", num_shards=2)
    >>> stream = tfvae.data.from_tfrecords("shards/*", (4, 4, 1), test="shards/*", binarize="stochastic", count=True)
    >>> stream.num_images, stream.num_levels, len(stream.train(4)), len(stream.test(2))
    (6, 1, 2, 3)

    Attributes:
        name, event_shape, binarize, seed: as in `data.ImageData`.
        num_levels: 255, as grey levels are 0, 1/255, ..., 1; 1 once binarized.
        num_images, train_size: of the training set; None if not counted.
        shuffle_buffer: images in the buffer from which the next is drawn.
        sources: {split: files}.
        summary: {argument of `from_image_folder`: what was taken and what was left out}.
    """

    name: str
    event_shape: tuple[int, ...]
    binarize: str | None
    seed: int
    shuffle_buffer: int
    sources: dict[str, Files] = dataclasses.field(repr=False)
    summary: dict[str, str] = dataclasses.field(default_factory=dict)

    num_levels = property(lambda self: 1 if self.binarize else 255)
    num_images = train_size = property(lambda self: self.sources["train"].num_images())

    @checked
    def train(self, batch_size: int, *, first_epoch: int = 0, shard: tuple[int, int] = (0, 1)) -> Batches:
        """`Batches` of float32 [B, H, W, C], the last of an epoch smaller; each iteration is one epoch.

        Each epoch shuffles the files, reads up to 16 of them in turn, and draws images out of a buffer. The next
        iteration is epoch `first_epoch + 1`. `VAE.fit` derives the epoch from the optimizer's count of updates where
        `num_images` is known, and else starts from `first_epoch`.

        Args:
            shard: (index, count): every count-th file from the index-th, or every count-th record where there are fewer
                files than workers. Shards are disjoint and together complete, but may differ in size: workers that
                wait for each other need the same `steps_per_epoch`.

        Raises:
            ValueError: batch_size out of [1, number of images], first_epoch below 0, an invalid shard.
        """
        if len(shard) != 2 or not 0 <= shard[0] < shard[1]:
            raise ValueError(f"shard must be (index, count) with 0 <= index < count, got {shard}")
        source, (index, count) = self.sources["train"], shard
        num_images = source.num_images(index, count)
        checks.batch_size(batch_size, num_images)

        def batches_of(epoch, index=index, count=count, sizes=None):
            # The seed of this function's graph alone; without it, the order would depend on the caller's set_seed.
            tf.random.set_seed(1)
            seed = fold_in(self.seed, _ORDER, epoch)
            items = source.items(seed, index, count)
            drawn = tf.random.stateless_uniform([], seed, minval=None, maxval=None, dtype=tf.int64)
            items = items.shuffle(self.shuffle_buffer, seed=drawn, reshuffle_each_iteration=False)
            images = self._images("train", items, self.binarize == "static")
            batches = images.batch(batch_size) if sizes is None else images.batch(max(sizes)).rebatch(sizes)
            if self.binarize != "stochastic":
                return batches
            seed = fold_in(self.seed, _FRESH, epoch)
            return batches.enumerate().map(lambda step, x: draw(x, fold_in(seed, step, index)))

        def pipeline(epochs, **part):
            return epochs.flat_map(lambda epoch: batches_of(epoch, **part)).prefetch(2)

        def parts(first, context):
            if count > 1:
                raise ValueError(f"shard must be (0, 1) under several workers, who get theirs anyway, got {shard}")
            first = first_epoch if num_images is None else first
            return pipeline(tf.data.Dataset.counter(first), **self._part(batch_size, context))

        num_steps = None if num_images is None else math.ceil(num_images / batch_size)
        return Batches(pipeline, batch_size, num_steps, first_epoch=first_epoch, parts=parts)

    def _part(self, batch_size, context):
        """The shard of one worker, and the sizes of its batches, one for each replica and step.

        Shards differ in size; each whose size is known is cut into as many batches as an epoch has steps.
        """
        index, count = context.input_pipeline_id, context.num_input_pipelines
        source, num_replicas = self.sources["train"], context.num_replicas_in_sync
        num_images, replicas = source.num_images(index, count), replicas_of(context)
        if num_images == 0:
            rule = f"the data must hold images for each of {count} workers"
            raise ValueError(f"{rule}, got none for that of index {index}")
        if num_images is None:
            ends = bounds(batch_size, replicas, num_replicas)
        else:
            num_batches = math.ceil(source.num_images() / batch_size) * len(replicas)
            ends = bounds(num_images, range(num_batches), num_batches)
        return {"index": index, "count": count, "sizes": np.diff(ends)}

    @checked
    def validation(self, batch_size: int) -> tf.data.Dataset:
        """A `tf.data.Dataset` of float32 [B, H, W, C], in the files' order; binarized once, by the seed."""
        return self._fixed("validation", batch_size)

    @checked
    def test(self, batch_size: int) -> tf.data.Dataset:
        """A `tf.data.Dataset` of float32 [B, H, W, C], in the files' order; binarized once, by the seed."""
        return self._fixed("test", batch_size)

    def _fixed(self, split, batch_size):
        if split not in self.sources:
            raise ValueError(f"{split} must be given to have a {split} set, got None")
        source = self.sources[split]
        checks.batch_size(batch_size, source.num_images())
        dataset = self._images(split, source.items(), self.binarize is not None).batch(batch_size)
        if source.counts is not None:
            num_steps = math.ceil(sum(source.counts) / batch_size)
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_steps))
        return dataset.prefetch(2)

    def _images(self, split, items, binarized):
        """A Dataset of [H, W, C]; bits are a function of the seed, the split and the image's index in its files."""
        seed = fold_in(self.seed, _FIXED, SPLITS.index(split))

        def image(file, place, record):
            read = self.sources[split].decode(file, place, record)
            x = tf.ensure_shape(tf.cast(read, tf.float32) / 255, self.event_shape)
            return draw(x, fold_in(seed, file, place)) if binarized else x

        return items.map(image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def sources_of(files_at: Callable, find: Callable, argument: str, *given) -> dict[str, Files]:
    """{split: `Files`} of the paths that `find` gives, where one is given; `argument` names the training set's."""
    named = zip(SPLITS, (argument, *SPLITS[1:]), given, strict=True)
    found = {split: (name, tf.constant(find(name, value))) for split, name, value in named if value is not None}
    return {split: files_at(name, paths) for split, (name, paths) in found.items()}


def image_shape(event_shape: Sequence[int], encoded: bool) -> tuple[int, ...]:
    """`event_shape` as a tuple; ValueError for what is not (H, W, C), or cannot be `encoded` as PNG or JPEG."""
    sizes = tuple(map(int, event_shape))
    if len(sizes) != 3:
        raise ValueError(f"event_shape must be three integers of at least 1, (H, W, C), got {event_shape!r}")
    if encoded and sizes[2] not in (1, 3, 4):
        raise ValueError(f"event_shape must end in 1, 3 or 4 channels for PNG and JPEG, got {sizes}")
    return sizes
