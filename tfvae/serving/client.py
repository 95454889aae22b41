"""A client of TensorFlow Serving, over REST or gRPC: arrays in, arrays out."""

import urllib.parse
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.serving.transports import Grpc, Rest


class Spec(NamedTuple):
    """A tensor of a signature: NumPy's name of its type, its shape with None where it is free."""

    dtype: str
    shape: list


class Client:
    """A model on a TF Serving.

        client = Client("http://localhost:8501", "digits")  # or "grpc://localhost:8500"
        client.predict("elbo", image=x, seed=np.arange(len(x)))["elbo"]

    Every answer of the served signatures is a function of the request, so that all requests may be retried: they are,
    with growing pauses, while the server cannot be reached or is overloaded; a timeout and a refusal are not.

    Args:
        address: "http://HOST:PORT" or "https://..." for REST, "grpc://HOST:PORT" or "grpcs://..." (TLS) for gRPC.
        model: the name under which the server has it.
        version: an integer; None for the newest.
        timeout: seconds for each request.
        retries: how often a request is tried again; 0 to 4.
        max_batch_size: more rows than this are sent as several requests; None: as one.

    Raises:
        ValueError: an address of another kind, or a number out of its range.
    """

    def __init__(self, address, model, *, version=None, timeout=10.0, retries=3, max_batch_size=None):
        parsed = urllib.parse.urlsplit(address)
        if parsed.scheme not in ("http", "https", "grpc", "grpcs") or not parsed.netloc:
            raise ValueError(f"address must be http(s)://HOST:PORT or grpc(s)://HOST:PORT, got {address!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, got {timeout}")
        if retries not in range(5):
            raise ValueError(f"retries must be from 0 to 4, got {retries}")
        if max_batch_size is not None and max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
        transport = Rest if parsed.scheme.startswith("http") else Grpc
        self._transport = transport(address.rstrip("/"), model, version, timeout, retries)
        self.address = address
        self._max_batch_size = max_batch_size
        self._signatures = None

    def status(self):
        """{version: state}, such as {1: "AVAILABLE"}."""
        return self._transport.status()

    def signatures(self):
        """{signature: (inputs, outputs)}, each {name: Spec}; asked once."""
        if self._signatures is None:
            self._signatures = {
                name: tuple({k: _spec(v) for k, v in sorted(side.items())} for side in (s.inputs, s.outputs))
                for name, s in sorted(self._transport.metadata().signature_def.items())
                if not name.startswith("__")
            }
        return self._signatures

    def predict(self, signature="serving_default", *, rows=False, **inputs):
        """A signature's answer: {output: array}, the batch first.

        Args:
            signature: one of `signatures()`.
            rows: over REST, sends rows (`instances`) instead of columns (`inputs`); the answer is the same.
            **inputs: arrays by the signature's names; files as bytes.

        Raises:
            ValueError: an unknown signature or input, one that is missing or of another type; batch sizes that differ.
            ServingError: the server refused, or could not be reached.
        """
        arrays = self._checked(signature, inputs)
        size = len(next(iter(arrays.values())))
        step = self._max_batch_size or max(size, 1)
        answers = [
            self.send(signature, {name: array[i : i + step] for name, array in arrays.items()}, rows=rows)
            for i in range(0, max(size, 1), step)
        ]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def send(self, signature, inputs, *, rows=False):
        """As `predict`, in one request and as it is: whatever is wrong with it, the server is to say so."""
        outputs = self.signatures()[signature][1] if signature in self.signatures() else {}
        return self._transport.predict(signature, inputs, outputs, rows)

    def close(self):
        """Ends the connection; a client is a context manager too."""
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
        sizes = [len(array) for array in arrays.values()]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"{' and '.join(arrays)} must have the same batch size, got {' and '.join(map(str, sizes))}"
            )
        return arrays


def _spec(info):
    dtype = tf.dtypes.as_dtype(info.dtype)
    shape = [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]
    return Spec("object" if dtype == tf.string else dtype.name, shape)
