"""Requests to TensorFlow Serving, over REST or gRPC, with the same methods, answers and errors.

status(seconds) -> {version: state}      predict(signature, inputs, outputs, rows, seconds) -> {output: array}
metadata(seconds) -> {signature: (inputs, outputs)}, each {name: Spec}      close()

A request is sent once, ends within `seconds`, and fails with ServingError alone.
"""

import contextlib
from typing import NamedTuple

import numpy as np

LARGEST_ANSWER = 2**28  # bytes, 256 MB
# NumPy's names of types that TensorFlow calls otherwise than DT_ and that name.
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_STRING": "object"}


class Spec(NamedTuple):
    """A tensor of a signature."""

    dtype: str  # NumPy's name
    shape: list  # None is a free axis


class ServingError(RuntimeError):
    """A server refused a request, could not be reached, or broke the contract; `code` is gRPC's name, over REST too.

    `wait` is the least number of seconds after which the request may be sent again, None if it may not.

    >>> tfvae.serving.ServingError("NOT_FOUND", "there is no such model").code
    'NOT_FOUND'
    """

    def __init__(self, code: str, message: str, wait: float | None = None):
        super().__init__(f"{code}: {message}")
        self.code, self.wait = code, wait


@contextlib.contextmanager
def contract(address):
    """ServingError for whatever goes wrong in reading an answer."""
    try:
        yield
    except Exception as error:
        raise broken(address, f"{type(error).__name__}: {error}") from None


def broken(address, got):
    return ServingError("INTERNAL", f"{address} must answer as TF Serving does, got {got}")


def signatures(found: dict) -> dict[str, tuple[dict[str, Spec], dict[str, Spec]]]:
    """{signature: (inputs, outputs)} of a SignatureDefMap in JSON, sorted by name."""
    if not found["signature_def"]:
        raise ValueError("no signatures")
    stated = sorted(found["signature_def"].items())
    return {k: (_specs(s.get("inputs", {})), _specs(s.get("outputs", {}))) for k, s in stated if not k.startswith("__")}


def _specs(side):
    """{name: Spec} of a signature's inputs or outputs, sorted by name."""
    specs = {}
    for name, info in sorted(side.items()):
        dtype = np.dtype(_DTYPES.get(info["dtype"]) or info["dtype"].removeprefix("DT_").lower())
        sizes = [int(dim.get("size", 0)) for dim in info.get("tensor_shape", {}).get("dim", [])]
        specs[name] = Spec(dtype.name, [None if size < 0 else size for size in sizes])
    return specs


def plain(message):
    """An error message without the graph's node names, or the whole request that it may repeat."""
    return str(message).split("\n\t [[")[0][:2000]
