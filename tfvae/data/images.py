"""Images as arrays and as batches: float32 [H, W, C] in [0, 1], optionally binarized."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tfvae.data.epochs import Epochs, Stored, grey
from tfvae.support import checks


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
        return self._train_source.total() / self.num_images / self.max_level

    def train(self, batch_size, *, first_epoch=0, labels=False):
        """`Batches` of [B, H, W, C], the last of an epoch smaller; each iteration is one epoch, in a new order.

        Order and stochastic binarization are functions of (seed, epoch); iterating a second time gives epoch
        `first_epoch + 1`. `VAE.fit` starts from the epoch that the optimizer's count of updates tells, so that an
        interrupted training resumes where it was.

        Args:
            labels: gives pairs of images and their labels, int64 [B], as a `ConditionalVAE` wants them.

        Raises:
            ValueError: batch_size out of [1, number of images], first_epoch below 0, labels that are no integers.
        """
        checks.batch_size(batch_size, self.num_images)
        checks.count("first_epoch", first_epoch, 0)
        epochs = self._epochs_with_labels if labels else self._epochs
        return epochs.batches(batch_size, first_epoch)

    @functools.cached_property
    def _epochs(self):
        if self.binarize == "static":
            return Epochs(Stored(self.x_train.astype(np.uint8), 1), max_level=1, stochastic=False, seed=self.seed)
        stochastic = self.binarize == "stochastic"
        return Epochs(self._train_source, max_level=self.max_level, stochastic=stochastic, seed=self.seed)

    @functools.cached_property
    def _epochs_with_labels(self):
        return self._epochs.with_labels(self._integer_labels("train"))

    @functools.cached_property
    def _train_source(self):
        images = self.images["train"]
        return Stored(images, self.max_level) if isinstance(images, np.ndarray) else images

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
