"""Images as arrays and as batches: float32 [H, W, C] in [0, 1], optionally binarized."""

import dataclasses
import functools
import zlib
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.data.epochs import Epochs, Source, Stored, grey
from tfvae.support import checks, rules

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A training, a validation and a test set of images.

    >>> digits = tfvae.data.load("digits")
    >>> digits.x_test.shape, digits.num_levels, next(iter(digits.train(100))).shape
    ((360, 8, 8, 1), 16, TensorShape([100, 8, 8, 1]))

    Attributes:
        name: what was loaded.
        event_shape: (H, W, C).
        num_levels: n where grey levels are 0, 1/n, ..., 1 (what `likelihoods.binomial` takes); None where they are
            continuous. 1 once binarized.
        binarize, seed: as given to `data.load`.
        x_train, x_validation, x_test: float32 [N, H, W, C]; binarized once, by the seed, also where `train` draws anew.
        y_train, y_validation, y_test: labels, or None.
        num_images, train_size: of the training set.
        label_names: what the labels 0, 1, ... mean, where it is known: the folders' names.
    """

    name: str
    event_shape: tuple[int, ...]
    num_levels: int | None
    binarize: str | None
    seed: int
    images: dict[str, np.ndarray | Source] = dataclasses.field(repr=False)  # [N, H, W, C], up to max_level
    labels: dict[str, np.ndarray | None] = dataclasses.field(repr=False)
    max_level: int = 1
    label_names: tuple[str, ...] = ()

    x_train = functools.cached_property(lambda self: self._split("train"))
    x_validation = functools.cached_property(lambda self: self._split("validation"))
    x_test = functools.cached_property(lambda self: self._split("test"))
    y_train = property(lambda self: self.labels["train"])
    y_validation = property(lambda self: self.labels["validation"])
    y_test = property(lambda self: self.labels["test"])
    num_images = train_size = property(lambda self: len(self.images["train"]))

    @property
    def num_classes(self) -> int:
        """One more than the largest label; ValueError unless labels are integers from 0."""
        return 1 + max(int(self._integer_labels(split).max(initial=0)) for split in self.labels)

    def mean_image(self) -> np.ndarray:
        """The mean grey levels of the training images: float64 [H, W, C]."""
        blocks = tf.data.Dataset.range(self.num_images).batch(10_000)  # sprites do not fit into memory
        sums = [np.sum(self._train_source.gather(block), axis=0, dtype=np.float64) for block in blocks]
        return np.sum(sums, axis=0) / self.num_images / self.max_level

    def fingerprint(self) -> dict[str, Any]:
        """Name, number of images a split, and a checksum of what is stored: equal for equal data."""
        sizes = {split: len(images) for split, images in self.images.items()}
        stored = [*self.images.values(), *self.labels.values()]
        checksum = 0
        for array in stored:
            if isinstance(array, np.ndarray):
                checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
        return {"name": self.name, **sizes, "crc32": f"{checksum:08x}"}

    @rules.checked
    def train(self, batch_size: int, *, first_epoch: int = 0, labels: rules.Flag = False):
        """`Batches` of [B, H, W, C], the last of an epoch smaller; each iteration is one epoch, in a new order.

        Order and stochastic binarization are functions of (seed, epoch); the next iteration is epoch `first_epoch + 1`.
        `VAE.fit` derives the epoch from the optimizer's count of updates, and so resumes exactly.

        Args:
            labels: pairs of images and their labels, int64 [B], as a `ConditionalVAE` takes them.

        Raises:
            ValueError: batch_size out of [1, number of images], first_epoch below 0, labels that are no integers.
        """
        checks.batch_size(batch_size, self.num_images)
        return (self._epochs_with_labels if labels else self._epochs).batches(batch_size, first_epoch)

    @rules.checked
    def validation(self, batch_size: int, *, labels: rules.Flag = False) -> tf.data.Dataset:
        """A `tf.data.Dataset` of [B, H, W, C], in a fixed order; `labels` as for `train`."""
        if len(self.x_validation) == 0:
            raise ValueError("validation_size must be at least 1 to have a validation set, got 0")
        return self._fixed("validation", self.x_validation, batch_size, labels)

    @rules.checked
    def test(self, batch_size: int, *, labels: rules.Flag = False) -> tf.data.Dataset:
        """A `tf.data.Dataset` of [B, H, W, C], in a fixed order; `labels` as for `train`."""
        return self._fixed("test", self.x_test, batch_size, labels)

    @functools.cached_property
    def _train_source(self):
        images = self.images["train"]
        return Stored(images) if isinstance(images, np.ndarray) else images

    @functools.cached_property
    def _epochs(self):
        if self.binarize == "static":
            return Epochs(Stored(self.x_train.astype(np.uint8)), 1, False, self.seed)
        return Epochs(self._train_source, self.max_level, self.binarize == "stochastic", self.seed)

    @functools.cached_property
    def _epochs_with_labels(self):
        return dataclasses.replace(self._epochs, labels=tf.constant(self._integer_labels("train")))

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
        rng = np.random.default_rng([self.seed, SPLITS.index(split)])
        return (rng.random(x.shape, np.float32) < x).astype(np.float32)
