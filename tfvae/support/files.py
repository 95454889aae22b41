"""Files and directories that appear whole or not at all."""

import contextlib
import errno
import io
import json
import os
import pathlib
import shutil
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

Path = str | os.PathLike
_STAGED = ".tfvae-staged-"


def write_bytes(path: Path, content: bytes | memoryview):
    """Writes a file in one step: a reader sees the old content or the new."""
    path = pathlib.Path(path)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(staged, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any):
    """Writes JSON in one step."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """A JSON file's content; FileNotFoundError or ValueError, which name the file, if it is missing or corrupt."""
    path = pathlib.Path(path)
    with _named_errors(path, "JSON", ValueError):
        return json.loads(path.read_text())


def write_arrays(path: Path, arrays: dict[str, np.ndarray]):
    """Writes named arrays (.npz, uncompressed) in one step."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    write_bytes(path, file.getbuffer())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Named arrays, without pickles, their checksums verified. Errors as for `read_json`."""
    path = pathlib.Path(path)
    errors = ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error
    with _named_errors(path, "arrays", *errors), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@contextlib.contextmanager
def _named_errors(path, content, *corrupt):
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent} must hold {path.name}, which is missing") from None
    except corrupt as error:
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
    for left in path.parent.glob(_STAGED + 32 * "[0-9a-f]"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)
    staged = _beside(path)
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


def check_new(path: Path):
    """Raises OSError unless `path` is absent or an empty directory, and its parent is writable."""
    path = pathlib.Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"output must be a new or an empty directory, got {path}, which exists")
    check_writable(path.absolute().parent)


def check_writable(directory: Path):
    """Raises PermissionError unless `directory`, or its nearest existing parent, is a writable directory."""
    existing = pathlib.Path(directory).absolute()
    while not os.path.lexists(existing):  # a link to nowhere is there, and no directory
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"output must be in a directory that can be written, got {directory}")
