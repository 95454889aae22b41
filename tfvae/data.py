"""Images as arrays and as `tf.data`: float32 [H, W, C] in [0, 1], optionally binarized.

digits = load("digits")
digits.x_test, digits.y_test, digits.event_shape
for x in digits.train(batch_size=128): ...
"""

import dataclasses
import functools
import zipfile

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tfvae import checks, downloads, streams
from tfvae import factors as factors_module
from tfvae.checks import check_name
from tfvae.epochs import Epochs, Stored, grey
from tfvae.factors import FactorData, Part
from tfvae.shares import replicas_of
from tfvae.sprites import FACTOR_NAMES, Sprites
from tfvae.streams import BINARIZATIONS

NAMES = ("digits", "sprites", "mnist", "fashion_mnist", "cifar10")

# Data sets larger than memory.
from_tfrecords = streams.from_tfrecords
from_image_folder = streams.from_image_folder
to_tfrecords = streams.to_tfrecords

# Images held out of the published training set, to choose by.
_VALIDATION_SIZE = {"digits": 144, "mnist": 5000, "fashion_mnist": 5000, "cifar10": 5000}
_DIGITS_TEST_SIZE = 360


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A training, a validation and a test set of images.

    Attributes:
        name: what was loaded.
        event_shape: (H, W, C).
        num_levels: n where grey levels are 0, 1/n, ..., 1 (what `likelihoods.binomial` takes); None where they are
            continuous. 1 once binarized.
        binarize: None, "static" or "stochastic".
        seed: of binarization and shuffling.
        y_train, y_validation, y_test: labels, or None.
    """

    name: str
    event_shape: tuple
    num_levels: int | None
    binarize: str | None
    seed: int
    images: dict = dataclasses.field(repr=False)  # split -> grey images, [N, H, W, C], integers up to max_level
    labels: dict = dataclasses.field(repr=False)
    max_level: int = 1

    @functools.cached_property
    def x_train(self):
        """float32 [N, H, W, C]; under stochastic binarization one draw of what `train` draws anew."""
        return self._split("train")

    @functools.cached_property
    def x_validation(self):
        """float32 [N, H, W, C]; binarized once, by the seed."""
        return self._split("validation")

    @functools.cached_property
    def x_test(self):
        """float32 [N, H, W, C]; binarized once, by the seed."""
        return self._split("test")

    @property
    def num_images(self):
        """In the training set."""
        return len(self.images["train"])

    train_size = num_images

    @property
    def num_classes(self):
        """The labels' number of values: one more than the largest.

        Raises:
            ValueError: no labels, or labels that are no integers from 0.
        """
        return 1 + max(int(self._integer_labels(split).max(initial=0)) for split in self.labels)

    @property
    def y_train(self):
        return self.labels["train"]

    @property
    def y_validation(self):
        return self.labels["validation"]

    @property
    def y_test(self):
        return self.labels["test"]

    def mean_image(self):
        """The mean grey levels of the training images: float64 [H, W, C]."""
        images = self.images["train"]
        total = images.total() if isinstance(images, Part) else images.sum(axis=0, dtype=np.float64)
        return total / len(images) / self.max_level

    def train(self, batch_size, *, first_epoch=0, labels=False):
        """A `tf.data.Dataset` of [B, H, W, C], the last batch smaller; each iteration is one epoch, in a new order.

        Order and stochastic binarization are functions of (seed, epoch); iterating a second time gives epoch
        `first_epoch + 1`. `VAE.fit` starts from the epoch that the optimizer's count of updates tells, so that an
        interrupted training goes on where it was.

        Args:
            labels: gives pairs of images and their labels, int64 [B], as a `ConditionalVAE` wants them.

        Raises:
            ValueError: batch_size out of [1, number of images], first_epoch below 0, labels that are no integers.
        """
        images = self.images["train"]
        checks.batch_size(batch_size, len(images))
        checks.count("first_epoch", first_epoch, 0)
        epochs = self._epochs_with_labels if labels else self._epochs
        epoch = tf.Variable(first_epoch - 1, dtype=tf.int64, trainable=False)
        this_epoch = tf.data.Dataset.from_tensors(0).map(lambda _: epoch.assign_add(1))
        num_steps = -(-len(images) // batch_size)
        dataset = epochs.batches(this_epoch, batch_size)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_steps))
        # What `VAE.fit` reads instead: the images themselves, or all epochs from the first in one iterator.
        dataset.in_memory, dataset.batch_size, dataset.num_steps = epochs, batch_size, num_steps
        dataset.epochs_from = lambda first: epochs.batches(tf.data.Dataset.counter(first), batch_size)
        # Of the same batches, what one of several workers reads.
        dataset.parts_from = lambda first, context: epochs.parts(
            tf.data.Dataset.counter(first), batch_size, replicas_of(context), context.num_replicas_in_sync
        )
        return dataset

    @functools.cached_property
    def _epochs(self):
        images, max_level = self.images["train"], self.max_level
        if self.binarize == "static":
            images, max_level = self.x_train.astype(np.uint8), 1
        return Epochs(images, max_level=max_level, stochastic=self.binarize == "stochastic", seed=self.seed)

    @functools.cached_property
    def _epochs_with_labels(self):
        return self._epochs.with_labels(self._integer_labels("train"))

    def validation(self, batch_size, *, labels=False):
        """A `tf.data.Dataset` of [B, H, W, C], in a fixed order; `labels` as for `train`."""
        if len(self.x_validation) == 0:
            raise ValueError("validation_size must be at least 1 to have a validation set, got 0")
        return self._fixed("validation", self.x_validation, batch_size, labels)

    def test(self, batch_size, *, labels=False):
        """A `tf.data.Dataset` of [B, H, W, C], in a fixed order; `labels` as for `train`."""
        return self._fixed("test", self.x_test, batch_size, labels)

    def _fixed(self, split, x, batch_size, labels):
        checks.batch_size(batch_size, len(x))
        slices = (x, self._integer_labels(split)) if labels else x
        return tf.data.Dataset.from_tensor_slices(slices).batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def _integer_labels(self, split):
        return checks.labels(f"labels of {self.name}", self.labels[split])

    def _split(self, split):
        x = np.asarray(grey(self.images[split], self.max_level))
        if self.binarize is None:
            return x
        salt = ("train", "validation", "test").index(split)
        return (np.random.default_rng([self.seed, salt]).random(x.shape, np.float32) < x).astype(np.float32)


def load(name, binarize=None, seed=0, *, validation_size=None, path=None, image_size=None, factor_sizes=None):
    """A named data set.

    Args:
        name: "digits" (bundled with scikit-learn, no download); "sprites" (binary, made from known factors as they are
            read: a `factors.FactorData`); "mnist", "fashion_mnist" or "cifar10" (Keras' loaders); "tfds:<name>" for a
            data set of tensorflow_datasets (its train, validation and test splits), which needs that package and gives
            a `streams.Stream`.
        binarize: None for grey levels; "static" for one draw of x ~ Bernoulli(grey), by the seed; "stochastic" for a
            fresh draw each time a training image is read (validation and test are drawn once, by the seed).
        seed: of binarization and shuffling; the split into training and validation does not depend on it.
        validation_size: images held out of the training set, stratified by label (by position for "tfds:<name>");
            0 for none. Of the sprites, default: as many as for the test, 1000 or at most a tenth.
        image_size, factor_sizes: of the sprites alone, see `sprites.Sprites`; default: 64, and the full grid.
        path: for "mnist", a file like Keras' `mnist.npz` or a folder that holds it; default: the environment variable
            TFVAE_DATA, then Keras' download. For tensorflow_datasets, its data_dir.

    Raises:
        ImportError: tensorflow_datasets is not installed.
        ValueError: an unknown name or binarization, a validation_size out of range, a file whose content is not the
            published one.
        OSError: the data set is neither on this machine nor can it be downloaded.
    """
    if name == "tfds:dsprites":
        raise ValueError(
            "name must be a data set whose bytes are grey levels, got 'tfds:dsprites', which has 0 and 1: "
            "data.dsprites(path) reads its published file, with the factors"
        )
    if str(name).startswith("tfds:"):
        return streams.from_tfds(name[5:], binarize, seed, validation_size=validation_size, path=path)
    check_name("name", name, NAMES)
    if name == "sprites":
        return _sprites(binarize, seed, validation_size, image_size, factor_sizes)
    for argument, value in (("image_size", image_size), ("factor_sizes", factor_sizes)):
        if value is not None:
            raise ValueError(f"{argument} must be None unless name is sprites, got {value}")
    if name == "digits":
        digits = load_digits()
        x, y = digits.images.astype(np.uint8)[..., np.newaxis], digits.target
        x_train, x_test, y_train, y_test = train_test_split(
            x, y, test_size=_DIGITS_TEST_SIZE, stratify=y, random_state=0
        )
        max_level = 16
    else:
        (x_train, y_train), (x_test, y_test) = downloads.mnist(path) if name == "mnist" else downloads.keras(name)
        max_level = 255
    validation_size = _VALIDATION_SIZE[name] if validation_size is None else validation_size
    return _assemble(name, x_train, x_test, y_train, y_test, validation_size, max_level, binarize, seed)


def from_arrays(
    x_train, x_test, y_train=None, y_test=None, *, validation_size=None, binarize=None, seed=0, name="arrays"
):
    """The user's own images.

    Args:
        x_train, x_test: [N, H, W] or [N, H, W, C]; uint8 in 0 ... 255, or floats in [0, 1].
        y_train, y_test: labels [N], or None. With labels, the split into training and validation is stratified.
        validation_size: images held out of x_train; default: a tenth.
        binarize, seed: as for `load`.

    Raises:
        ValueError: empty arrays, shapes that do not fit, values that are not finite or out of range.
    """
    x_train, x_test = (checks.images(a, x) for a, x in (("x_train", x_train), ("x_test", x_test)))
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise ValueError(
            f"x_test must have the image shape and dtype of x_train, {x_train.shape[1:]} {x_train.dtype}, "
            f"got {x_test.shape[1:]} {x_test.dtype}"
        )
    for argument, x, y in (("y_train", x_train, y_train), ("y_test", x_test, y_test)):
        if y is not None and len(y) != len(x):
            raise ValueError(f"{argument} must hold a label for each of the {len(x)} images, got {len(y)}")
    validation_size = len(x_train) // 10 if validation_size is None else validation_size
    max_level = 255 if x_train.dtype == np.uint8 else None
    return _assemble(name, x_train, x_test, y_train, y_test, validation_size, max_level, binarize, seed)


def from_factors(images, factors, *, factor_names=None, max_level=255, validation_size=None, seed=0, name="factors"):
    """The user's own images whose factors are known: a `factors.FactorData`.

    Args:
        images: [N, H, W] or [N, H, W, C]; uint8 in 0 ... max_level, or floats in [0, 1].
        factors: integers from 0, [N, F], each row once.
        factor_names: F names; default: "factor_0" and so on.
        max_level: the byte that means 1.
        validation_size: images held out of the training set; default: as many as for the test, 1000 or at most a tenth.
        seed: of shuffling.

    Raises:
        ValueError: bad images; factors that are no such integers, or not as many as images, or repeated.
    """
    images, rows = checks.images("images", images), factors_module.checked(factors)
    if len(rows) != len(images):
        raise ValueError(f"factors must hold a row for each of the {len(images)} images, got {len(rows)}")
    if rows.min() < 0:
        raise ValueError(f"factors must be at least 0, got {rows.min()}")
    names = tuple(factor_names or (f"factor_{i}" for i in range(rows.shape[1])))
    if len(names) != rows.shape[1]:
        raise ValueError(f"factor_names must be {rows.shape[1]} names, got {names}")
    if images.dtype == np.uint8 and images.max() > max_level:
        raise ValueError(f"images must be at most max_level, {max_level}, got {images.max()}")
    sizes = (rows.max(axis=0) + 1).tolist()
    numbers = factors_module.numbered(rows, sizes)
    if not np.all(numbers[1:] > numbers[:-1]):
        order = np.argsort(numbers, kind="stable")
        numbers, rows, images = numbers[order], rows[order], images[order]
    repeated = np.flatnonzero(numbers[1:] == numbers[:-1])
    if len(repeated):
        raise ValueError(f"factors must have no row twice, got {rows[repeated[0]].tolist()}")
    max_level, num_levels = (max_level, max_level) if images.dtype == np.uint8 else (1, None)
    source = Stored(images if images.ndim == 4 else images[..., np.newaxis], max_level)
    splits, places = _drawn_splits(name, source, validation_size, max_level, num_levels, seed)
    return FactorData(splits, source, numbers, sizes, names, places)


def dsprites(path, *, validation_size=None, seed=0):
    """dSprites from its published file, dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz: a `factors.FactorData`.

    Its images are 3 GB in memory. Its first factor, the colour, has one value and is left out.

    Raises:
        OSError: no such file.
        ValueError: a file without the two arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            images, classes = file["imgs"], file["latents_classes"]
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"path must hold imgs and latents_classes, got {path}: {error}") from None
    sprites = from_factors(
        images,
        classes[:, 1:],
        factor_names=FACTOR_NAMES,
        max_level=1,
        validation_size=validation_size,
        seed=seed,
        name="dsprites",
    )
    sprites.categorical = (FACTOR_NAMES.index("shape"),)
    return sprites


def _sprites(binarize, seed, validation_size, image_size, factor_sizes):
    if binarize is not None:
        raise ValueError(f"binarize must be None for sprites, which are binary, got {binarize!r}")
    options = {"image_size": image_size, "factor_sizes": factor_sizes}
    source = Sprites(**{name: value for name, value in options.items() if value is not None})
    splits, places = _drawn_splits("sprites", source, validation_size, 1, 1, seed)
    sprites = FactorData(splits, source, np.arange(len(source)), source.factor_sizes, FACTOR_NAMES, places)
    sprites.categorical = (FACTOR_NAMES.index("shape"),)
    return sprites


def _drawn_splits(name, source, validation_size, max_level, num_levels, seed):
    """An `ImageData` whose sets are drawn at random, the same whatever the seed, and their places: {split: [n]}."""
    size_of_test = max(1, min(1000, len(source) // 10))
    size = size_of_test if validation_size is None else validation_size
    if not 0 <= size < len(source) - size_of_test:
        raise ValueError(f"validation_size must be in [0, {len(source) - size_of_test - 1}], got {size}")
    drawn = np.split(np.random.default_rng(0).permutation(len(source)), [size, size + size_of_test])
    places = {split: np.sort(part) for split, part in zip(("validation", "test", "train"), drawn, strict=True)}
    held_out = {split: source.gather(tf.constant(places[split])).numpy() for split in ("validation", "test")}
    splits = ImageData(
        name=name,
        event_shape=tuple(int(size) for size in held_out["test"].shape[1:]),
        num_levels=num_levels,
        binarize=None,
        seed=seed,
        images={"train": Part(source, places["train"]), **held_out},
        labels={"train": None, "validation": None, "test": None},
        max_level=max_level,
    )
    return splits, places


def _assemble(name, x_train, x_test, y_train, y_test, validation_size, max_level, binarize, seed):
    check_name("binarize", binarize, BINARIZATIONS)
    if not 0 <= validation_size < len(x_train):
        raise ValueError(f"validation_size must be in [0, {len(x_train) - 1}], got {validation_size}")
    if x_train.ndim == 3:
        x_train, x_test = x_train[..., np.newaxis], x_test[..., np.newaxis]
    train, held_out = np.arange(len(x_train)), np.arange(0)
    if validation_size:
        train, held_out = train_test_split(train, test_size=validation_size, stratify=y_train, random_state=0)
    images = {"train": x_train[train], "validation": x_train[held_out], "test": x_test}
    labels = {"train": None, "validation": None, "test": None if y_test is None else np.asarray(y_test)}
    if y_train is not None:
        y_train = np.asarray(y_train)
        labels |= {"train": y_train[train], "validation": y_train[held_out]}
    return ImageData(
        name=name,
        event_shape=tuple(int(size) for size in x_train.shape[1:]),
        num_levels=1 if binarize else max_level,
        binarize=binarize,
        seed=seed,
        images=images,
        labels=labels,
        max_level=max_level or 1,
    )
