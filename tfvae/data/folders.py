"""Picture files in folders: found, checked, resized; as a stream, or as an array."""

import collections
import dataclasses
import os
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfvae.data.streams import Files, Stream, image_shape, sources_of
from tfvae.support import files, pictures, tensors
from tfvae.support.rules import checked

Path = str | pathlib.Path
_READ = (".png", ".jpg", ".jpeg")
_UNREAD = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".ppm", ".tga", ".tif", ".tiff"}
_UNREAD |= {".webp"}


@checked
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
    """A `Stream` of the pictures in a folder and the folders below it, resized as they are read.

    >>> png = tf.io.encode_png(np.full([16, 8, 3], 51, np.uint8))
    >>> tf.io.write_file("photos/a.png", png)
    >>> (x,) = tfvae.data.from_image_folder("photos", (4, 4, 3)).train(batch_size=1)
    >>> x.shape, np.allclose(x, 51 / 255)
    (TensorShape([1, 4, 4, 3]), True)

    Taken are the files named .png, .jpg or .jpeg, in upper or lower case, links to files and folders among them (each
    folder once); left out are all others, and what is hidden: names that begin with a dot. `Stream.summary` counts
    both; a UserWarning tells of pictures in other formats.

    A file must be PNG or JPEG with at most 8 bits a channel (palettes too), in grey or RGB, not CMYK, upright by its
    EXIF orientation, with at most 2^26 pixels. What is transparent is composited over white, unless C = 4. Grey is
    0.299 R + 0.587 G + 0.114 B; colour profiles are not applied. Every file is decoded once before, to name a bad one.

    Resizing is bilinear with antialiasing, and does not keep the aspect ratio. Memory holds the files' names; each
    epoch shuffles all of them.

    Args:
        folder, validation, test: of each set.
        event_shape: (H, W, C), C = 1 for grey, 3 for RGB, 4 for RGBA.
        binarize, seed: as for `from_tfrecords`.

    Raises:
        ValueError: a folder without such files, a file against the rule or broken, an invalid event_shape, an unknown
            binarization.
    """
    shape = image_shape(event_shape, encoded=True)
    found = {}

    def find(argument, folder):
        found[argument] = pictures_below(argument, folder)
        _of_each(argument, found[argument].paths, lambda path: tf.reduce_max(_picture(argument, path, shape[2])))
        return found[argument].paths

    def files_at(argument, paths):
        def decode(file, place, record):
            return _resized(_picture(argument, paths[file], shape[2]), shape[:2])

        return Files(len(paths), None, decode, (1,) * len(paths))

    sources = sources_of(files_at, find, "folder", folder, validation, test)
    warn_of_unread(found, stacklevel=4)
    return Stream(
        name, shape, binarize, seed, 1, sources, {argument: str(of_one) for argument, of_one in found.items()}
    )


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The picture files in a folder and the folders below it, as text: what was taken and what was left out."""

    paths: list[str]  # sorted
    left_out: collections.Counter[str]  # {suffix, "hidden" or "no file": how many}

    def __str__(self):
        left = ", ".join(f"{number} {kind}" for kind, number in sorted(self.left_out.items()) if number) or "nothing"
        return f"{len(self.paths)} files taken ({', '.join(_READ)}); left out: {left}"


def pictures_below(argument: str, folder: Path) -> Pictures:
    """By the rule of `from_image_folder`; ValueError for none."""
    taken, seen, left_out = [], set(), collections.Counter[str]()
    for place, folders, names in os.walk(files.local(argument, folder), followlinks=True):
        if (target := os.path.realpath(place)) in seen:  # a link to what was, or a loop
            folders.clear()
            continue
        seen.add(target)
        left_out["hidden"] += sum(name.startswith(".") for name in folders + names)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (os.path.join(place, name) for name in names if not name.startswith(".")):
            suffix = os.path.splitext(path)[1].lower()
            if suffix in _READ and os.path.isfile(path):
                taken.append(path)
            else:
                left_out["no file" if suffix in _READ else suffix or "no suffix"] += 1
    if odd := next((path for path in taken if not _is_text(path)), None):
        raise ValueError(f"{argument} must hold names in UTF-8, got {os.fsencode(odd)!r}")
    found = Pictures(sorted(taken), left_out)
    if not taken:
        raise ValueError(f"{argument} must be a folder with PNG or JPEG files, got {str(folder)!r}: {found}")
    return found


def warn_of_unread(found: dict[str, Pictures], stacklevel: int):
    """Of pictures in formats that are not read, by the arguments that named their folders."""
    for argument, of_one in found.items():
        if not _UNREAD.isdisjoint(of_one.left_out):
            rule = f"{argument} must hold PNG or JPEG files for them to be read"
            warnings.warn(f"{rule}: {of_one}", stacklevel=stacklevel)


def _is_text(path):
    """Whether a file's name is UTF-8, as TensorFlow's strings must be: Python stands in surrogates for other bytes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in path)


def _of_each(argument, paths, function):
    """A function of every file, in order, [N, ...]; ValueError names the first for which it fails."""
    numbered = tf.data.Dataset.from_tensor_slices(paths).enumerate()
    read = numbered.map(lambda i, path: (i, function(path)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    blocks = [(numbers.numpy(), values.numpy()) for numbers, values in read.ignore_errors().batch(1000)]
    numbers, values = zip(*blocks, strict=True) if blocks else ([()], [()])
    if bad := sorted(set(range(len(paths))) - set(np.concatenate(numbers))):
        path = paths[bad[0]]
        try:
            with tensors.graph_errors():
                tf.function(function)(tf.constant(path))
        except tf.errors.OpError as error:
            raise ValueError(
                f"{argument} must hold pictures that can be read, got {path!r}: {tensors.first_line(error)}"
            ) from None
    return np.concatenate(values)


def pictures_in(argument: str, paths: Sequence[str], shape: Sequence[int]) -> np.ndarray:
    """Picture files by the rule of `from_image_folder`: uint8 [N, H, W, C]; ValueError names a bad one."""
    return _of_each(argument, paths, lambda path: _resized(_picture(argument, path, shape[2]), shape[:2]))


def _picture(argument, path, channels):
    return pictures.decode(argument, tf.io.read_file(path), channels, where=[tf.strings.join(["in ", path])])


def _resized(picture, size):
    """Bilinear, antialiased, rounded to bytes."""
    return tf.cast(tf.clip_by_value(tf.round(tf.image.resize(picture, size, antialias=True)), 0, 255), tf.uint8)
