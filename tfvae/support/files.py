"""Files and directories that appear whole or not at all."""

import contextlib
import errno
import io
import json
import os
import pathlib
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Path = str | os.PathLike


def write_bytes(path: Path, content: bytes | memoryview):
    """Writes a file in one step: a reader sees the old content or the new."""
    path = pathlib.Path(path)
    descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(staged, 0o666 & ~_umask())
        os.replace(staged, path)
    except BaseException:
        pathlib.Path(staged).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any):
    """Writes JSON in one step."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """A JSON file's content; FileNotFoundError or ValueError, which name the file, if it is missing or corrupt."""
    return _read(path, "JSON", lambda path: json.loads(path.read_text()), ValueError)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]):
    """Writes named arrays (.npz, uncompressed) in one step."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    write_bytes(path, file.getbuffer())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Named arrays, without pickles, their checksums verified. Errors as for `read_json`."""

    def read(path):
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    return _read(path, "arrays", read, ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def _read(path: Path, content: str, read: Callable[[pathlib.Path], Any], *errors: type[Exception]) -> Any:
    path = pathlib.Path(path)
    try:
        return read(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent} must hold {path.name}, which is missing") from None
    except errors as error:
        raise ValueError(f"{path} must hold {content}, but is corrupt: {error}") from None


@contextlib.contextmanager
def staged_directory(path: Path) -> Iterator[pathlib.Path]:
    """A directory to fill, which becomes `path` in one step at the end, or is removed after an error.

    Raises:
        FileExistsError: `path` exists and is not an empty directory.
    """
    path = pathlib.Path(path)
    check_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Removes what killed processes have staged; after a day, as a younger one may still be written to.
    for left in path.parent.glob(".*.staged-*"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left)
    staged = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.staged-"))
    try:
        yield staged
        for file in staged.rglob("*"):
            if file.is_file():
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
        os.chmod(staged, 0o777 & ~_umask())
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
    """Removes a directory in one step: a reader sees it whole or not at all."""
    path = pathlib.Path(path)
    removed = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.staged-"))
    os.rename(path, removed)
    shutil.rmtree(removed)


def check_new(path: Path):
    """Raises OSError unless `path` is absent or an empty directory, and its parent is writable."""
    path = pathlib.Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"output must be a new or an empty directory, got {path}, which exists")
    check_writable(path.absolute().parent)


def check_writable(directory: Path):
    """Raises PermissionError unless `directory`, or its nearest existing parent, is a writable directory."""
    existing = pathlib.Path(directory).absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"output must be in a directory that can be written, got {directory}")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
