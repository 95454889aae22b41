"""Data sets by name, and the user's own arrays."""

import os
import pathlib
from typing import Annotated, Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tfvae.data import downloads, records
from tfvae.data.factors import FactorData, held_out_size
from tfvae.data.images import ImageData
from tfvae.data.sprites import FACTOR_NAMES, FACTOR_SIZES, Sprites
from tfvae.data.streams import Stream
from tfvae.support import checks, pieces
from tfvae.support.pieces import option, piece
from tfvae.support.rules import Labels, checked


@checked
def load(
    name: Annotated[str, checks.text_or_path],  # a path gets a hint below
    binarize: str | None = None,
    seed: int = 0,
    *,
    validation_size: int | None = None,
    path: str | pathlib.Path | None = None,
    **options: Any,
) -> ImageData | FactorData | Stream:
    """A named data set.

    >>> digits = tfvae.data.load("digits", binarize="static")
    >>> digits.x_train.shape, digits.event_shape
    ((1293, 8, 8, 1), (8, 8, 1))

    Args:
        name: "mnist10k" or "digits" (no download); "sprites" (drawn as they are read: a `FactorData`); "mnist",
            "fashion_mnist" or "cifar10"; your own: "folder:PATH", "npz:FILE", "csv:FILE" or "tfrecords:PATTERN"
            (docs/own_data.md); one that `pieces.piece` declares; "tfds:<name>" of tensorflow_datasets, a `Stream`.
        binarize: None for grey levels; "static" for one draw of x ~ Bernoulli(grey), by the seed; "stochastic" for a
            fresh draw each time a training image is read (validation and test are drawn once, by the seed).
        seed: of binarization and shuffling; the split into training and validation does not depend on it.
        validation_size: images held out of the training set, stratified by label (by position for "tfds:<name>");
            0 for none. Of the sprites, default: as many as for the test, 1000 or at most a tenth.
        path: of "mnist", Keras' `mnist.npz` or its folder; default: TFVAE_DATA, then Keras' download. Of
            tensorflow_datasets, its data_dir.
        **options: of the data set: `image_size` and `factor_sizes` of the sprites; `image_size` and `channels` of a
            folder.

    Raises:
        ImportError: tensorflow_datasets is not installed.
        ValueError: an unknown name or binarization, a validation_size out of range, a file that is not the published.
        OSError: the data set is not on this machine and cannot be downloaded.
    """
    if name == "tfds:dsprites":
        rule = "name must be a data set whose bytes are grey levels, got 'tfds:dsprites', which has 0 and 1"
        raise ValueError(f"{rule}: data.dsprites(path) reads its published file, with the factors")
    if str(name).startswith("tfds:"):
        return records.from_tfds(name[5:], binarize, seed, validation_size=validation_size, path=path)
    found, (chosen, place) = pieces.of_kind("data"), pieces.data_piece(name)
    if chosen is None and name and (os.sep in str(name) or os.path.exists(str(name))):
        rule = f"name must be one of {', '.join(found)}"
        raise ValueError(f"{rule}, got {str(name)!r}: `tfvae.load` reads a run's folder")
    if chosen is None:
        raise checks.no_such_name("name", name, found)
    for argument, value in options.items():
        users = [one.name for one in pieces.users(argument).get("data", ())]
        if not users:
            raise checks.InputTypeError(f"load must get options of a data set, got {argument!r}, which none has")
        if value is not None and chosen.name not in users:
            raise ValueError(f"{argument} must be None unless name is {' or '.join(users)}, got {value}")
    given = {"binarize": binarize, "seed": seed, "validation_size": validation_size, "path": place or path, **options}
    return chosen.function(**{argument: value for argument, value in given.items() if argument in chosen.parameters})


@piece(
    "data",
    defaults={
        "binarize": "stochastic",
        "latent_size": 20,
        "hidden_sizes": (200, 200),
        "epochs": 60,
        "batch_size": 100,
        "learning_rate": 4e-3,
        "mean_bias": True,
    },
)
def mnist10k(binarize=None, seed=0, validation_size=None):
    """10,000 training and 2,000 test images of MNIST, 28 x 28, which the package holds: no download."""
    with np.load(pathlib.Path(__file__).with_name("mnist10k.npz"), allow_pickle=False) as found:
        train, test = ((found[f"x_{split}"], found[f"y_{split}"]) for split in ("train", "test"))
    return _split("mnist10k", train, test, validation_size, 1000, 255, binarize, seed)


@piece("data")
def digits(binarize=None, seed=0, validation_size=None):
    """The digits of scikit-learn: 1,797 images of 8 x 8 pixels, ink counted from 0 to 16."""
    found = load_digits()
    x, y = found.images.astype(np.uint8)[..., np.newaxis], found.target
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=360, stratify=y, random_state=0)
    return _split("digits", (x_train, y_train), (x_test, y_test), validation_size, 144, 16, binarize, seed)


@piece(
    "data",
    image_size=option(None, "Height and width: 32 or 64", of=int),
    factor_sizes=option(None, "Values of each factor: 3,6,8,8,8", of=tuple),
)
def sprites(binarize=None, seed=0, validation_size=None, image_size=None, factor_sizes=None):
    """Binary images made from known factors: shape, scale, orientation, x and y."""
    if binarize is not None:
        raise ValueError(f"binarize must be None for sprites, which are binary, got {binarize!r}")
    source = Sprites(64 if image_size is None else image_size, FACTOR_SIZES if factor_sizes is None else factor_sizes)
    grid = (source, np.arange(len(source)), source.factor_sizes, FACTOR_NAMES)
    return FactorData("sprites", *grid, 1, validation_size, seed, categorical=(FACTOR_NAMES.index("shape"),))


@piece("data")
def mnist(binarize=None, seed=0, validation_size=None, path=None):
    """MNIST, 28 x 28, in Keras' download or in the folder that TFVAE_DATA names."""
    return _split("mnist", *downloads.mnist(path), validation_size, 5000, 255, binarize, seed)


@piece("data")
def fashion_mnist(binarize=None, seed=0, validation_size=None):
    """Fashion-MNIST, 28 x 28, by Keras' download."""
    return _split("fashion_mnist", *downloads.fashion_mnist(), validation_size, 5000, 255, binarize, seed)


@piece("data")
def cifar10(binarize=None, seed=0, validation_size=None):
    """CIFAR-10, 32 x 32 x 3, by Keras' download."""
    return _split("cifar10", *downloads.cifar10(), validation_size, 5000, 255, binarize, seed)


@checked
def from_arrays(
    x_train: np.ndarray,
    x_test: np.ndarray,
    y_train: Labels | None = None,
    y_test: Labels | None = None,
    *,
    validation_size: int | None = None,
    binarize: str | None = None,
    seed: int = 0,
    name: str = "arrays",
) -> ImageData:
    """The user's own images.

    >>> x = np.zeros([20, 6, 5], np.uint8)
    >>> tfvae.data.from_arrays(x, x).x_train.shape
    (18, 6, 5, 1)

    Args:
        x_train, x_test: [N, H, W] or [N, H, W, C]; uint8 in 0 ... 255, which means 1, or floats in [0, 1].
        y_train, y_test: labels [N], or None. With labels, the split into training and validation is stratified.
        validation_size: images held out of x_train; default: a tenth. With labels, it must hold and leave as many as
            there are classes.
        binarize, seed: as for `load`.

    Raises:
        ValueError: empty arrays, shapes that do not fit, values that are not finite, masked or out of range, bytes of
            0 and 1 alone, a class of one image where some are held out.
    """
    x_train, x_test = (checks.images(a, x) for a, x in (("x_train", x_train), ("x_test", x_test)))
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise ValueError(
            f"x_test must have the image shape and dtype of x_train, {x_train.shape[1:]} {x_train.dtype}, "
            f"got {x_test.shape[1:]} {x_test.dtype}"
        )
    for argument, x, y in (("y_train", x_train, y_train), ("y_test", x_test, y_test)):
        if y is not None and checks.array(argument, y).shape != (len(x),):
            raise ValueError(f"{argument} must hold a label for each of the {len(x)} images, got {list(np.shape(y))}")
    if x_train.dtype == np.uint8:
        checks.bytes_up_to("x_train", x_train, 255)
        checks.bytes_up_to("x_test", x_test, 255)
    tenth, max_level = len(x_train) // 10, 255 if x_train.dtype == np.uint8 else None
    return _split(name, (x_train, y_train), (x_test, y_test), validation_size, tenth, max_level, binarize, seed)


def _split(name, train, test, validation_size, default_size, max_level, binarize, seed):
    """`ImageData` of (images, labels) for training, of which some are held out, and for the test."""
    (x, y), (x_test, y_test) = train, test
    size = held_out_size(validation_size, default_size, len(x))
    if x.ndim == 3:
        x, x_test = x[..., np.newaxis], x_test[..., np.newaxis]
    kept, held_out = np.arange(len(x)), np.arange(0)
    if size and y is not None:
        _check_strata(y, size)
    if size:
        kept, held_out = train_test_split(kept, test_size=size, stratify=y, random_state=0)
    images = {"train": x[kept], "validation": x[held_out], "test": x_test}
    of_split = (("train", y, kept), ("validation", y, held_out), ("test", y_test, ...))
    labels = {split: None if given is None else np.asarray(given)[part] for split, given, part in of_split}
    num_levels = 1 if binarize else max_level
    return ImageData(name, x.shape[1:], num_levels, binarize, seed, images, labels, max_level or 1)


def _check_strata(y, size):
    """Raises ValueError unless `size` images can be held out in the classes' proportions."""
    try:
        _, counts = np.unique(np.asarray(y), return_counts=True)
    except TypeError:
        raise checks.InputTypeError("y_train must hold labels of one type, got several") from None
    if counts.min() < 2:
        raise ValueError(f"validation_size must be 0 where a class has a single image, got {size}")
    if not len(counts) <= size <= len(y) - len(counts):
        rule = f"validation_size must hold and leave an image for each of the {len(counts)} classes"
        raise ValueError(f"{rule}, of {len(y)}, got {size}")
