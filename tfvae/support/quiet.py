"""Importing TensorFlow without its log lines."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(level: str = "3") -> Iterator[None]:
    """A context with file descriptor 2 on /dev/null: TensorFlow's first lines ignore its log level. Exceptions pass.

    `level` is TensorFlow's from then on, unless the environment has one: "1" leaves out what is no warning, "3" all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", level)
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
