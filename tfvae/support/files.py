"""Files and directories that appear whole or not at all."""

import contextlib
import errno
import io
import json
import math
import os
import pathlib
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

Path = str | os.PathLike
_STAGED = ".tfvae-staged-"
_MOST_JSON = 2**26  # bytes; what the package writes is far below


def local(argument: str, value: Path) -> pathlib.Path:
    """A path of this machine, `~` expanded: every path that the package is given goes through here.

    Raises:
        TypeError: neither a string nor an `os.PathLike` of one.
        ValueError: empty, an address such as gs://bucket, an unknown `~user`, a NUL, a name of more than 255 bytes, a
            loop of links.
    """
    text = os.fspath(value) if isinstance(value, Path) else None
    if not isinstance(text, str):
        raise TypeError(f"{argument} must be a path, a string or a pathlib.Path, got {value!r}")
    path = os.path.expanduser(text)
    # pathlib.Path("gs://bucket") is the local "gs:/bucket".
    if not path or re.match(r"[a-zA-Z][\w+.-]+:/", path) or path.startswith("~") or "\0" in path:
        raise ValueError(f"{argument} must be a path on this machine, got {text!r}")
    if longest := next((name for name in path.split(os.sep) if len(os.fsencode(name)) > 255), None):
        raise ValueError(f"{argument} must hold names of at most 255 bytes, got {longest!r}")
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise ValueError(f"{argument} must be a path on this machine, got {text!r}: {error.strerror}") from None
    return pathlib.Path(path)


def existing(argument: str, value: Path) -> pathlib.Path:
    """As `local`, of a file; FileNotFoundError if there is none."""
    path = local(argument, value)
    if not path.is_file():
        raise FileNotFoundError(
            f"{argument} must be a file, got {path}, which " + ("is none" if path.exists() else "does not exist")
        )
    return path


def exported(argument: str, value: Path, *names: str) -> pathlib.Path:
    """As `local`, of an export; FileNotFoundError without its graph or the other files named."""
    path = local(argument, value)
    for name in ("saved_model.pb", *names):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{argument} must be a version's directory with a {name}, got {path}")
    return path


def course() -> pathlib.Path:
    """The folder that holds `notebooks/`, `saved_models/` and what they need: the wheel's, or the repository."""
    package = pathlib.Path(__file__).resolve().parents[1]
    return package / "course" if (package / "course").is_dir() else package.parent


def write_bytes(path: Path, content: bytes | memoryview):
    """Writes a file in one step: a reader sees the old content or the new. An OSError, as of a full disk, names it."""
    path = pathlib.Path(path)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(staged, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
    except BaseException as error:
        staged.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def write_json(path: Path, value: Any):
    """Writes strict JSON in one step: null for a number that is not finite."""
    write_bytes(path, (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode())


def finite(value: Any) -> Any:
    """A value as JSON can hold it: None for a number that is not finite, lists for tuples."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; FileNotFoundError or ValueError, which name the file, if it is missing or corrupt."""

    def integer(digits):
        if len(digits) > 20:
            raise ValueError(f"a number of {len(digits)} digits")
        return int(digits)

    with _opened(path, "JSON", ValueError, RecursionError) as file:
        content = file.read(_MOST_JSON + 1)
        if len(content) > _MOST_JSON:
            raise ValueError(f"more than {_MOST_JSON} bytes")
        found = json.loads(content, parse_int=integer)
        if not isinstance(found, dict):
            raise ValueError(f"no object, but {type(found).__name__}")
        return found


def write_arrays(path: Path, arrays: dict[str, np.ndarray]):
    """Writes named arrays (.npz, uncompressed) in one step."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    write_bytes(path, file.getbuffer())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Named arrays, without pickles, their checksums verified. Errors as for `read_json`."""
    path = pathlib.Path(path)
    # Beside its own errors NumPy raises those of zipfile, zlib and Python's parser, and MemoryError.
    with _opened(path, "arrays", Exception) as file:
        found: Any = np.load(file, allow_pickle=False)
        unpacked = sum(member.file_size for member in found.zip.infolist())
        if unpacked > path.stat().st_size:  # `write_arrays` compresses nothing
            raise ValueError(f"it unpacks to {unpacked} bytes")
        arrays = dict(found)
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"{name} is not finite")
        return arrays


@contextlib.contextmanager
def _opened(path, content, *corrupt):
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():  # a pipe or a device may have no end
        raise ValueError(f"{path} must be a regular file, which it is not")
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent} must hold {path.name}, which is missing") from None
    except corrupt as error:
        raise ValueError(f"{path} must hold {content}, but is corrupt: {' '.join(str(error).split())[:200]}") from None


@contextlib.contextmanager
def staged_directory(path: Path, argument: str = "directory") -> Iterator[pathlib.Path]:
    """A directory to fill, which becomes `path` in one step at the end, or is removed after an error.

    Raises:
        FileExistsError: `path` exists and is not an empty directory.
        OSError: its folder cannot be written, or the disk is full.
    """
    check_new(path, argument)
    path = pathlib.Path(os.path.realpath(path))  # no directory can take a link's name
    with _in_a_writable_folder(path, argument):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Removes what killed processes have staged; after a day, as a younger one may still be written to.
    for left in path.parent.glob(_STAGED + 32 * "[0-9a-f]"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)
    staged = _beside(path)
    with _in_a_writable_folder(path, argument):
        staged.mkdir()
    try:
        yield staged
        for file in staged.rglob("*"):
            if file.is_file():
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
        try:
            os.rename(staged, path)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # of a directory with content: no FileExistsError
                raise FileExistsError(error.errno, "another process has written it", str(path)) from None
            raise
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def remove_directory(path: Path):
    """Removes a directory, or a link to one, in one step: a reader sees it whole or not at all."""
    removed = _beside(pathlib.Path(path))
    os.rename(path, removed)
    if removed.is_symlink():
        removed.unlink()
    else:
        shutil.rmtree(removed)


def _beside(path):
    return path.with_name(f"{_STAGED}{uuid.uuid4().hex}")


def check_new(path: Path, argument: str = "directory"):
    """Raises OSError unless `path` is absent or an empty directory, and its parent is writable."""
    path = pathlib.Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{argument} must be a new or an empty directory, got {path}, which exists")
    check_writable(os.path.dirname(os.path.realpath(path)), argument)


def check_writable(directory: Path, argument: str = "directory"):
    """Raises PermissionError unless `directory`, or its nearest existing parent, is a writable directory."""
    existing = pathlib.Path(directory).absolute()
    while not os.path.lexists(existing):  # a link to nowhere is there, and no directory
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"{argument} must be in a folder that can be written, got {directory}")


@contextlib.contextmanager
def _in_a_writable_folder(path, argument):
    """Names the argument where `check_writable` cannot know: root may write to /proc by its mode, but nobody can."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # a full disk is no wrong folder
            raise
        rule = f"{argument} must be in a folder that can be written, got {path}"
        raise type(error)(f"{rule}: {error.strerror}") from None
