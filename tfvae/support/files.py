"""Files and folders that appear whole or not at all."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import time
import zipfile
import zlib

import numpy as np


def write_bytes(path, content):
    """Writes a file in one step: whoever reads it sees the old content or the new."""
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


def write_json(path, value):
    """Writes JSON in one step."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path):
    """A JSON file's content.

    Raises:
        FileNotFoundError, ValueError: it is missing, or no JSON; the message names it.
    """
    path = pathlib.Path(path)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent} must hold {path.name}, which is missing") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must hold JSON, but is corrupt: {error}") from None


def write_arrays(path, arrays):
    """Writes named arrays (.npz, uncompressed) in one step."""
    with tempfile.TemporaryFile() as file:
        np.savez(file, **arrays)
        file.seek(0)
        write_bytes(path, file.read())


def read_arrays(path):
    """Named arrays; nothing but arrays is read (no pickle), and their checksums are verified.

    Raises:
        FileNotFoundError, ValueError: it is missing, or corrupt; the message names it.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent} must hold {path.name}, which is missing") from None
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} must hold arrays, but is corrupt: {error}") from None


@contextlib.contextmanager
def staged_directory(path):
    """A folder to fill, which becomes `path` in one step at the end, or nothing after an error.

    Raises:
        FileExistsError: `path` exists. An empty folder is taken.
    """
    path = pathlib.Path(path)
    check_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    staged = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.staged-"))
    try:
        yield staged
        for file in staged.rglob("*"):
            if file.is_file():
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
        os.chmod(staged, 0o777 & ~_umask())
        os.rename(staged, path)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def remove_directory(path):
    """Removes a folder: whoever looks sees it whole or not at all."""
    path = pathlib.Path(path)
    removed = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.staged-"))
    os.rename(path, removed)
    shutil.rmtree(removed)


def _remove_leftovers(directory, age=24 * 3600):
    """Removes what killed processes have staged; a day old, so that nobody is still writing to it."""
    for staged in directory.glob(".*.staged-*"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if time.time() - staged.stat().st_mtime > age:
                shutil.rmtree(staged)


def check_new(path):
    """Raises unless `path` can be made: absent or an empty folder, below a folder that can be written."""
    path = pathlib.Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"output must be a new or an empty directory, got {path}, which exists")
    check_writable(path.absolute().parent)


def check_writable(directory):
    """Raises unless files can be written to `directory`, or to the nearest folder above it that exists."""
    existing = pathlib.Path(directory).absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"output must be in a directory that can be written, got {directory}")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
