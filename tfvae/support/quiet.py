"""TensorFlow's start without its greetings."""

import contextlib
import os
import sys


@contextlib.contextmanager
def quiet():
    """Sends file descriptor 2 to nowhere: TensorFlow's first lines go there whatever its log level. Exceptions pass."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
