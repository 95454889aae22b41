"""A client of TensorFlow Serving, over REST or gRPC: arrays in, arrays out."""

import urllib.parse
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.serving.transports import Grpc, Rest


class Spec(NamedTuple):
    """A tensor of a signature."""

    dtype: str  # NumPy's name
    shape: list  # None is a free axis


class Client:
    """A model on a TF Serving, and a context manager that closes the connection; ValueError for a bad argument.

    >>> client = tfvae.serving.Client("http://localhost:8501", "digits")  # or "grpc://localhost:8500"
    >>> client.predict("elbo", image=x, seed=np.arange(len(x)))["elbo"]  # doctest: +SKIP

    Answers depend on their requests alone, so a request is sent again, after growing pauses, while the server cannot
    be reached or is overloaded; not after a timeout or a refusal.

    Args:
        address: "http://HOST:PORT" or "https://..." for REST, "grpc://HOST:PORT" or "grpcs://..." (TLS) for gRPC.
        model: its name on the server; `version` is an integer, or None for the newest.
        timeout: seconds for each request.
        retries: of a request, 0 to 4.
        max_batch_size: a request of more rows is sent in several; None: in one.
    """

    def __init__(
        self, address: str, model: str, *, version=None, timeout: float = 10.0, retries: int = 3, max_batch_size=None
    ):
        parsed = urllib.parse.urlsplit(address)
        if parsed.scheme not in ("http", "https", "grpc", "grpcs") or not parsed.netloc:
            raise ValueError(f"address must be http(s)://HOST:PORT or grpc(s)://HOST:PORT, got {address!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, got {timeout}")
        if retries not in range(5):
            raise ValueError(f"retries must be from 0 to 4, got {retries}")
        if max_batch_size is not None and max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
        transport: Any = Rest if parsed.scheme.startswith("http") else Grpc
        self._transport = transport(address.rstrip("/"), model, version, timeout, retries)
        self.address, self._max_batch_size = address, max_batch_size
        self._signatures: dict[str, tuple[dict, dict]] = {}

    def status(self) -> dict[int, str]:
        """{version: state}, such as {1: "AVAILABLE"}."""
        return self._transport.status()

    def signatures(self) -> dict[str, tuple[dict, dict]]:
        """{signature: (inputs, outputs)}, each {name: Spec}; requested once."""
        if not self._signatures:
            found = sorted(self._transport.metadata().signature_def.items())
            self._signatures = {k: (_specs(s.inputs), _specs(s.outputs)) for k, s in found if not k.startswith("__")}
        return self._signatures

    def predict(self, signature: str = "serving_default", *, rows: bool = False, **inputs) -> dict[str, np.ndarray]:
        """The answer of one of `signatures()`: {output: array}, the batch first.

        Args:
            rows: over REST, sends rows (`instances`) instead of columns (`inputs`); the answer is the same.
            **inputs: an array for each input of the signature; files as bytes. ValueError if they do not fit it.

        Raises:
            ServingError: the server refused, or could not be reached.
        """
        arrays = self._checked(signature, inputs)
        size = len(next(iter(arrays.values())))
        step = self._max_batch_size or max(size, 1)
        parts = [{name: array[i : i + step] for name, array in arrays.items()} for i in range(0, max(size, 1), step)]
        answers = [self.send(signature, part, rows=rows) for part in parts]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def send(self, signature: str, inputs: dict[str, np.ndarray], *, rows: bool = False) -> dict[str, np.ndarray]:
        """As `predict`, in one request and unchecked: the server must refuse what is wrong."""
        _, outputs = self.signatures().get(signature, ({}, {}))
        return self._transport.predict(signature, inputs, outputs, rows)

    def close(self):
        """Ends the connection."""
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _checked(self, signature, inputs):
        if signature not in self.signatures():
            raise ValueError(f"signature must be one of {', '.join(sorted(self.signatures()))}, got {signature!r}")
        specs = self.signatures()[signature][0]
        if specs.keys() != inputs.keys():
            given = ", ".join(sorted(inputs)) or "nothing"
            raise ValueError(f"{signature} must be given {' and '.join(specs)}, got {given}")
        arrays = {}
        for name, spec in specs.items():
            array = np.asarray(inputs[name], object if spec.dtype == "object" else None)
            if array.ndim == 0:
                raise ValueError(f"{name} must have the batch as its first axis, got a single {array.dtype.name}")
            if not np.can_cast(array.dtype, spec.dtype, "same_kind") and array.size:
                raise ValueError(f"{name} must hold {spec.dtype}, got {array.dtype.name}")
            arrays[name] = array.astype(spec.dtype)
            if array.dtype.kind in "iu" and not np.array_equal(arrays[name], array):
                raise ValueError(f"{name} must hold {spec.dtype}, got {array.min()} to {array.max()}")
        sizes = [str(len(array)) for array in arrays.values()]
        if len(set(sizes)) > 1:
            raise ValueError(f"{' and '.join(arrays)} must have the same batch size, got {' and '.join(sizes)}")
        return arrays


def _specs(side):
    """{name: Spec} of a signature's inputs or outputs, sorted by name."""
    specs = {}
    for name, info in sorted(side.items()):
        dtype = np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype)
        specs[name] = Spec(dtype.name, [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim])
    return specs
