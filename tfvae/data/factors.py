"""Images whose generating factors are known: to draw by their factors, and to train on.

Factors are integers from 0, one column each: [N, F]. A combination also has a number: its index in the full grid, where
the last factor changes quickest.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.data.epochs import Part, Stored, grey
from tfvae.data.images import SPLITS, ImageData
from tfvae.data.sprites import FACTOR_NAMES
from tfvae.support import checks, files
from tfvae.support.rules import Byte, checked


@checked
class FactorData:
    """Images of known factors; each row of factors has one image, and combinations may be missing.

    Training, validation and test set are disjoint random draws of images; no factor value is held out. So test images
    are new combinations of known values; another set can hold the same symmetric sprite in another orientation.

    >>> sprites = tfvae.data.load("sprites", image_size=32, factor_sizes=(3, 6, 8, 8, 8))
    >>> factors = sprites.sample_given_factors(5, {"shape": 2})
    >>> factors.shape, sprites.images(factors).shape
    ((5, 5), (5, 32, 32, 1))

    Attributes:
        factor_sizes, factor_names: the number of values of each factor, and its name.
        categorical: indices of the factors whose values have no order.
        num_images: N, over the three sets; `train_size` is that of the training set.
        factors_train, factors_validation, factors_test: [n, F], row by row the factors of the split's images.
        All others are as in `data.ImageData`; there are no labels.
    """

    y_train = y_validation = y_test = None

    def __init__(
        self, name, source: Any, numbers, sizes, names, num_levels: int | None, validation_size, seed, categorical=()
    ):
        # `source` holds all images, in the order of `numbers`: which combinations there are, ascending, [N].
        self._source, self._numbers, self.num_images = source, numbers, len(numbers)
        self.factor_sizes, self.factor_names, self.categorical = tuple(sizes), tuple(names), categorical
        size_of_test = max(1, min(1000, len(source) // 10))
        size = held_out_size(validation_size, size_of_test, len(source) - size_of_test)
        drawn = np.split(np.random.default_rng(0).permutation(len(source)), [size, size + size_of_test])
        places = {split: np.sort(part) for split, part in zip(("validation", "test", "train"), drawn, strict=True)}
        images = {split: source.gather(tf.constant(places[split])).numpy() for split in ("validation", "test")}
        images["train"], self.event_shape = Part(source, places["train"]), images["test"].shape[1:]
        none, self._max_level = dict.fromkeys(SPLITS), num_levels or 1
        splits = ImageData(name, self.event_shape, num_levels, None, seed, images, none, self._max_level)
        self.name, self.seed, self.num_levels, self.binarize = name, seed, num_levels, None
        self.train, self.validation, self.test = splits.train, splits.validation, splits.test
        self.mean_image, self.train_size = splits.mean_image, splits.train_size
        self.fingerprint, self.label_names = splits.fingerprint, splits.label_names
        self.x_validation, self.x_test = splits.x_validation, splits.x_test
        factors = (self._factors(numbers[places[split]]) for split in SPLITS)
        self.factors_train, self.factors_validation, self.factors_test = factors

    @property
    def x_train(self) -> np.ndarray:
        """float32 [N, H, W, C], drawn anew at each access: 12 GB for all sprites."""
        return self.images(self.factors_train)

    @checked
    def images(self, factors) -> np.ndarray:
        """The images of these factors: integers [n, F] -> float32 [n, H, W, C]; ValueError if one has no image."""
        factors = self._checked(factors)
        numbers = np.ravel_multi_index(tuple(factors.T), self.factor_sizes)  # [n]
        rows = np.minimum(np.searchsorted(self._numbers, numbers), self.num_images - 1)
        missing = np.flatnonzero(self._numbers[rows] != numbers)
        if len(missing):
            raise ValueError(f"factors must have an image, got {factors[missing[0]].tolist()}, which has none")
        return grey(self._source.gather(tf.constant(rows)), self._max_level).numpy()

    def sample_factors(self, n: int, seed: int = 0) -> np.ndarray:
        """Factors of n images, drawn uniformly and independently from all there are: int64 [n, F]."""
        return self.sample_given_factors(n, {}, seed)

    @checked
    def sample_given_factors(self, n: int, given: dict, seed: int = 0) -> np.ndarray:
        """As `sample_factors`, from the images that have the `given` values, {factor's name: value}: int64 [n, F].

        Raises:
            ValueError: n below 1, an unknown factor, a value that no image has, seed below 0.
        """
        for name, value in given.items():
            checks.check_name("given", name, self.factor_names)
            checks.count(f"given[{name!r}]", value, 0)
        columns = [self.factor_names.index(name) for name in given]
        rng = np.random.default_rng(seed)
        if self.num_images == math.prod(self.factor_sizes):  # the grid is full: no search
            factors = self._factors(rng.integers(self.num_images, size=n))
            factors[:, columns] = list(given.values())
            return self._checked(factors)
        fits = np.all(self._factors(self._numbers)[:, columns] == list(given.values()), axis=1)
        if not fits.any():
            raise ValueError(f"given must be values that an image has, got {given}")
        return self._factors(rng.choice(self._numbers[fits], n))

    def _factors(self, numbers):
        """[n] -> [n, F]."""
        return np.stack(np.unravel_index(numbers, self.factor_sizes), axis=1).astype(np.int64)

    def _checked(self, factors):
        factors = _integers(factors, len(self.factor_sizes))
        wrong = np.argwhere((factors < 0) | (factors >= self.factor_sizes))
        if len(wrong):
            row, column = wrong[0]
            size, name = self.factor_sizes[column], self.factor_names[column]
            raise ValueError(f"factors must be in [0, {size - 1}] for {name}, got {factors[row, column]}")
        return factors.astype(np.int64)


def held_out_size(given: int | None, default: int, num_images: int) -> int:
    """The size of a validation set; ValueError unless it leaves some of the images."""
    size = default if given is None else given
    is_integer = isinstance(size, int | np.integer) and not isinstance(size, bool)
    if not is_integer or not 0 <= size < num_images:
        error = ValueError if is_integer else checks.InputTypeError
        raise error(f"validation_size must be an integer in [0, {num_images - 1}], got {size!r}")
    return size


def _integers(factors, num_factors=None):
    """factors as int64 [N, F]."""
    factors = checks.array("factors", factors)
    if factors.ndim != 2 or factors.shape[1] == 0 or num_factors not in (None, factors.shape[1]):
        raise ValueError(f"factors must have shape [N, {num_factors or 'F'}], got {list(factors.shape)}")
    if not np.issubdtype(factors.dtype, np.integer):
        raise ValueError(f"factors must be integers, got {factors.dtype}")
    return factors


@checked
def from_factors(
    images: np.ndarray,
    factors: np.ndarray,
    *,
    factor_names: Sequence[str] | None = None,
    max_level: Byte = 255,
    validation_size: int | None = None,
    seed: int = 0,
    name: str = "factors",
) -> FactorData:
    """The user's own images whose factors are known.

    >>> factors = np.argwhere(np.ones([3, 5]))
    >>> bars = tfvae.data.from_factors(np.zeros([15, 4, 4], np.uint8), factors, factor_names=("height", "width"))
    >>> bars.factor_sizes, bars.train_size, bars.images([[2, 4]]).shape
    ((3, 5), 13, (1, 4, 4, 1))

    Args:
        images: [N, H, W] or [N, H, W, C]; uint8 in 0 ... max_level, or floats in [0, 1].
        factors: integers from 0, [N, F], each row once.
        factor_names: F names; default: "factor_0" and so on.
        max_level: the byte that means 1, at most 255.
        validation_size: images held out of the training set; default: as many as for the test, 1000 or at most a tenth.

    Raises:
        ValueError: bad images; factors that are not such integers, do not match the images in number, or repeat.
    """
    images, rows = checks.images("images", images), _integers(factors)
    if len(rows) != len(images):
        raise ValueError(f"factors must hold a row for each of the {len(images)} images, got {len(rows)}")
    rows = checks.non_negative("factors", rows)
    names = tuple(factor_names or (f"factor_{i}" for i in range(rows.shape[1])))
    if len(names) != rows.shape[1]:
        raise ValueError(f"factor_names must be {rows.shape[1]} names, got {names}")
    if images.dtype == np.uint8:
        checks.bytes_up_to("images", images, max_level)
    sizes = [int(most) + 1 for most in rows.max(axis=0)]
    if math.prod(sizes) >= 2**63:
        raise ValueError(f"factors must have fewer than 2^63 combinations, got sizes {sizes}")
    numbers = np.ravel_multi_index(tuple(rows.T), sizes)
    if not np.all(numbers[1:] > numbers[:-1]):  # sorting copies the images
        order = np.argsort(numbers, kind="stable")
        numbers, rows, images = numbers[order], rows[order], images[order]
    repeated = np.flatnonzero(numbers[1:] == numbers[:-1])
    if len(repeated):
        raise ValueError(f"factors must have no row twice, got {rows[repeated[0]].tolist()}")
    num_levels = max_level if images.dtype == np.uint8 else None
    source = Stored(images if images.ndim == 4 else images[..., np.newaxis])
    return FactorData(name, source, numbers, sizes, names, num_levels, validation_size, seed)


@checked
def dsprites(path: str | pathlib.Path, *, validation_size: int | None = None, seed: int = 0) -> FactorData:
    """dSprites from its published file, dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz: 3 GB in memory.

    Its first factor, the colour, has one value and is left out.

    >>> classes = np.argwhere(np.ones([1, 3, 2, 2, 2, 2]))  # a small file of that form
    >>> np.savez("small.npz", imgs=np.zeros([48, 64, 64], np.uint8), latents_classes=classes)
    >>> tfvae.data.dsprites("small.npz").factor_sizes
    (3, 2, 2, 2, 2)

    Raises:
        OSError: no such file.
        ValueError: a file without the two arrays.
    """
    path = files.existing("path", path)
    try:
        with np.load(path, allow_pickle=False) as file:
            images, factors = file["imgs"], file["latents_classes"][:, 1:]
    except Exception as error:  # zip, zlib and NumPy raise different ones for broken bytes
        raise ValueError(f"path must hold imgs and latents_classes, got {path}: {error}") from None
    options: dict[str, Any] = {"validation_size": validation_size, "seed": seed, "name": "dsprites"}
    found = from_factors(images, factors, factor_names=FACTOR_NAMES, max_level=1, **options)
    found.categorical = (FACTOR_NAMES.index("shape"),)
    return found
