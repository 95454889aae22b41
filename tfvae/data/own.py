"""The user's own data by name: folder:PATH, npz:FILE, tfrecords:PATTERN, csv:FILE.

They are read into memory once, so that training, cards and exports take them as they take the built-in sets. What does
not fit is streamed, in Python: `data.from_image_folder`, `data.from_tfrecords`.
"""

import pathlib

import numpy as np
from sklearn.model_selection import train_test_split

from tfvae.data import folders, records
from tfvae.data.factors import held_out_size
from tfvae.data.images import SPLITS, ImageData
from tfvae.support import checks, files, pieces
from tfvae.support.pieces import option, piece

_IMAGE_SIZE, _LEAST = 64, 10  # the default; the fewest rows that can be split in three
_FOR_PICTURES = {
    "network": "conv",
    "filters": (32, 64, 128),
    "activation": "relu",
    "latent_size": 32,
    "likelihood": "discretized_logistic",
    "epochs": 50,
    "learning_rate": 1e-3,
}


@piece(
    "data",
    name="folder:PATH",
    defaults=_FOR_PICTURES,
    image_size=option(None, "Height and width that pictures are resized to; default: 64", of=int, least=1),
    channels=option(None, "1 for grey, 3 for colour; default: 1 where all are grey", of=int, one_of=(1, 3)),
)
def folder(path, binarize=None, seed=0, validation_size=None, image_size=None, channels=None):
    """The PNG and JPEG files in a folder, resized; its subfolders are train/, validation/ and test/, or classes.

    Without test/, a tenth of the pictures is held out, in the classes' proportions, the same at each reading; without
    validation/ as many again, or `validation_size`.
    """
    root = pathlib.Path(path)
    places = {split: root / split for split in SPLITS if (root / split).is_dir()} or {"train": root}
    if "train" not in places:
        raise ValueError(f"path must be a folder with train/ where it has {' and '.join(places)}/, got {str(path)!r}")
    pictures = {split: folders.pictures_below(split, place) for split, place in places.items()}
    folders.warn_of_unread(pictures, stacklevel=5)
    found = {split: of_split.paths for split, of_split in pictures.items()}
    size = _IMAGE_SIZE if image_size is None else image_size
    _check_memory(path, sum(map(len, found.values())) * size * size * (channels or 3))
    images = {split: folders.pictures_in(split, paths, (size, size, channels or 3)) for split, paths in found.items()}
    if channels is None and all((x == x[..., :1]).all() for x in images.values()):
        images = {split: x[..., :1] for split, x in images.items()}
    classes = {split: _classes(paths, places[split]) for split, paths in found.items()}
    names = sorted(set(classes["train"]))
    if unknown := sorted({name for of_split in classes.values() for name in of_split} - set(names)):
        raise ValueError(f"path must hold the same classes in each split, got {unknown[0]!r}, which train/ has not")
    labels = None if len(names) < 2 else {s: np.array([names.index(n) for n in of]) for s, of in classes.items()}
    return _split(path, images, labels, names, 255, binarize, seed, validation_size)


@piece("data", name="npz:FILE")
def npz(path, binarize=None, seed=0, validation_size=None):
    """Images [N, H, W] or [N, H, W, C] in a NumPy file: x, or x_train and x_test (and x_validation); labels y likewise.

    Bytes from 0 to 255, or floats in [0, 1]; vectors [N, D] are floats of any size. What is not given is held out, as
    of `folder:PATH`.
    """
    found = _arrays(path)
    names = {"x": "train", **{f"x_{split}": split for split in SPLITS}}
    images = {names[name]: _images(f"{name} of {path}", x) for name, x in found.items() if name in names}
    if "train" not in images or {"x", "x_train"} <= set(found):
        raise ValueError(f"path must hold arrays x, or x_train and x_test, got {', '.join(found)} in {str(path)!r}")
    form = {(x.shape[1:], x.dtype) for x in images.values()}
    if len(form) > 1:
        raise ValueError(f"path must hold arrays of one shape and type, got {form} in {str(path)!r}")
    labels = {split: found["y" + name[1:]] for name, split in names.items() if "y" + name[1:] in found}
    for split, y in labels.items():
        if split not in images or y.shape != images[split].shape[:1]:
            raise ValueError(
                f"path must hold a label for each image, got y {list(y.shape)} of {split} in {str(path)!r}"
            )
    if labels and len(labels) < len(images):
        raise ValueError(f"path must hold labels of all splits or of none, got those of {', '.join(labels)}")
    levels = 255 if images["train"].dtype == np.uint8 else None
    return _split(path, images, labels or None, (), levels, binarize, seed, validation_size)


@piece("data", name="csv:FILE", defaults={"likelihood": "normal"})
def csv(path, seed=0, validation_size=None):
    """Rows of numbers between commas, each an example: vectors, not images; a first line may name the columns.

    A column named label holds integers from 0. Columns of different scales are best standardized before.
    """
    with open(files.existing("path", path), encoding="utf-8") as file:
        first = file.readline().strip().split(",")
    named = not all(map(_is_number, first))
    try:
        rows = np.loadtxt(path, delimiter=",", skiprows=int(named), ndmin=2)
    except ValueError as error:
        raise ValueError(f"path must hold numbers between commas, got {str(path)!r}: {error}") from None
    names = [name.strip().lower() for name in first] if named else []
    labels = None
    if "label" in names:
        place = names.index("label")
        y, rows = rows[:, place], np.delete(rows, place, axis=1)
        if not np.array_equal(y, np.round(y)) or y.min() < 0:
            raise ValueError(f"path must hold integers from 0 in its column label, got {str(path)!r}")
        labels = {"train": y.astype(np.int64)}
    if not np.isfinite(rows).all() or not rows.size:
        raise ValueError(f"path must hold finite numbers, got {str(path)!r}")
    images = {"train": rows.astype(np.float32)}
    return _split(path, images, labels, (), None, None, seed, validation_size)


@piece("data", name="tfrecords:PATTERN", defaults=_FOR_PICTURES)
def tfrecords(path, binarize=None, seed=0, validation_size=None):
    """TFRecord files of `data.to_tfrecords`: square images of 1 or 3 channels, as raw bytes or as PNG or JPEG."""
    shape, encoding = records.form_of_records(path)
    stream = records.from_tfrecords(path, shape, test=path, encoding=encoding, count=True)
    _check_memory(path, stream.num_images * int(np.prod(shape)))
    blocks = [np.round(x.numpy() * 255).astype(np.uint8) for x in stream.test(min(1000, stream.num_images))]
    return _split(path, {"train": np.concatenate(blocks)}, None, (), 255, binarize, seed, validation_size)


def _arrays(path):
    path = files.existing("path", path)
    try:
        with np.load(path, allow_pickle=False) as found:
            size = sum(member.file_size for member in found.zip.infolist())
            arrays = dict(found) if size <= _most_bytes() else {}
    except Exception as error:  # NumPy's, zipfile's, zlib's and the header parser's
        raise ValueError(f"path must be a file of numpy.savez, got {str(path)!r}: {error}") from None
    _check_memory(path, size)
    return arrays


def _images(argument, x):
    if x.ndim == 2 and x.dtype.kind == "f":  # vectors
        x = x.astype(np.float32)
        if not np.isfinite(x).all() or not x.size:
            raise ValueError(f"{argument} must hold finite numbers")
        return x
    x = checks.images(argument, x)
    if x.dtype == np.uint8:
        checks.bytes_up_to(argument, x, 255)
    return x if x.ndim == 4 else x[..., np.newaxis]


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _classes(paths, root):
    """The first folder below the root of each picture; the same for all where one lies in the root itself."""
    parts = [pathlib.Path(path).relative_to(root).parts for path in paths]
    return ["" if any(len(p) == 1 for p in parts) else p[0] for p in parts]


def _most_bytes():
    return checks.memory() / 4


def _check_memory(path, size):
    if size > _most_bytes():
        rule = f"path must hold data that fit into a quarter of the memory, {_most_bytes() / 1e9:.1f} GB"
        raise ValueError(
            f"{rule}, got {size / 1e9:.1f} GB in {str(path)!r}: from_image_folder and from_tfrecords stream"
        )


def _split(path, images, labels, label_names, max_level, binarize, seed, validation_size):
    """`ImageData` of what is given, with test and validation images held out of the training set where they are not."""
    labels = labels or dict.fromkeys(images)
    if "validation" in images and validation_size is not None:
        raise ValueError(f"validation_size must be None for data with a validation set, got {validation_size}")
    num_images, default = len(images["train"]), len(images["train"]) // 10
    if num_images < _LEAST:
        raise ValueError(f"path must hold at least {_LEAST} training examples, got {num_images} in {str(path)!r}")
    for split, size in (
        ("test", default),
        ("validation", held_out_size(validation_size, default, num_images - default)),
    ):
        if split not in images:
            x, y = images["train"], labels["train"]
            kept, held_out = np.arange(len(x)), np.arange(0)
            if size:
                strata = y if y is not None and _can_be_stratified(y, size) else None
                kept, held_out = train_test_split(kept, test_size=size, stratify=strata, random_state=0)
            images = images | {"train": x[kept], split: x[held_out]}
            labels = labels | {"train": y if y is None else y[kept], split: y if y is None else y[held_out]}
    num_levels = 1 if binarize else max_level
    shape, name = images["train"].shape[1:], pieces.stem(path)
    return ImageData(name, shape, num_levels, binarize, seed, images, labels, max_level or 1, tuple(label_names))


def _can_be_stratified(y, size):
    counts = np.unique(y, return_counts=True)[1]
    return counts.min() >= 2 and len(counts) <= size <= len(y) - len(counts)
