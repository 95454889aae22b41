"""A client of TensorFlow Serving, over REST or gRPC: arrays in, arrays out."""

import contextlib
import re
import time
from typing import Any

import numpy as np
import urllib3

from tfvae.client.answers import ServingError, Spec
from tfvae.client.rest import Rest
from tfvae.support import checks
from tfvae.support.quiet import quiet


class Client:
    """A model on a TF Serving, and a context manager that closes the connection; ValueError for a bad argument.

    >>> client = tfvae.client.Client("http://localhost:8501", "digits")  # or "grpc://localhost:8500"
    >>> client.predict("elbo", image=x, seed=np.arange(len(x)))["elbo"]  # doctest: +SKIP

    REST suits single rows, gRPC batches: numbers in JSON cost more to write and read than the model does.
    Answers depend on their requests alone, so a request is sent again, after growing pauses, while the server cannot
    be reached, ends the connection or is overloaded; not after a refusal. Redirects and proxies are not followed.

    Args:
        address: "http://HOST:PORT" or "https://..." for REST, "grpc://HOST:PORT" or "grpcs://..." (TLS) for gRPC.
        model: its name on the server; `version` is an integer, or None for the newest.
        timeout: seconds for a call, with all its requests, retries and pauses.
        retries: of a request, after 0.1 s and up to 2 s. The default waits 25 s in all; a server restarts in 4 to 20.
        max_batch_size: a request of more rows is sent in several; None: in one.
    """

    def __init__(
        self, address: Any, model: str, *, version=None, timeout=30.0, retries=16, max_batch_size: int | None = None
    ):
        transport: Any = Rest if _scheme(address).startswith("http") else _grpc()
        if not isinstance(model, str) or not model:
            raise checks.InputTypeError(f"model must be the name of a model, got {model!r}")
        for name, value, least in (("version", version, 0), ("max_batch_size", max_batch_size, 1)):
            if value is not None:
                checks.count(name, value, least)
        checks.count("retries", retries, 0)
        checks.above_zero("timeout", timeout)
        self.address, self._timeout, self._retries = address, timeout, retries
        self._max_batch_size = max_batch_size
        self._transport = transport(address.rstrip("/"), model, version)
        self._signatures: dict[str, tuple[dict[str, Spec], dict[str, Spec]]] = {}

    def status(self) -> dict[int, str]:
        """{version: state}, such as {1: "AVAILABLE"}."""
        return self._asked(self._deadline(), self._transport.status)

    def signatures(self) -> dict[str, tuple[dict[str, Spec], dict[str, Spec]]]:
        """{signature: (inputs, outputs)}, each {name: Spec}; requested once."""
        return self._stated(self._deadline())

    def predict(self, signature: str = "serving_default", *, rows: bool = False, **inputs) -> dict[str, np.ndarray]:
        """The answer of one of `signatures()`: {output: array}, the batch first. An empty batch is answered here.

        Args:
            rows: over REST, sends rows (`instances`) instead of columns (`inputs`); the answer is the same.
            **inputs: an array for each input of the signature; files as bytes. ValueError if they do not fit it.

        Raises:
            ServingError: the server refused, could not be reached within `timeout`, or gave other names, shapes or
                dtypes than the signature states, another number of rows, or numbers that are not finite.
        """
        checks.flag("rows", rows)
        deadline = self._deadline()
        arrays = self._checked(signature, inputs, deadline)
        outputs = self._signatures[signature][1]
        size = len(next(iter(arrays.values())))
        if size == 0:  # which makes a server that batches wait for ever
            return {name: np.zeros([0, *(n or 0 for n in s.shape[1:])], s.dtype) for name, s in outputs.items()}
        step, answers = self._max_batch_size or size, []
        for i in range(0, size, step):
            part = {name: array[i : i + step] for name, array in arrays.items()}
            answer = self._asked(deadline, self._transport.predict, signature, part, outputs, rows)
            _check_answer(signature, outputs, answer, min(step, size - i))
            answers.append(answer)
        return {name: np.concatenate([answer[name] for answer in answers]) for name in outputs}

    def send(self, signature: str, inputs: dict[str, np.ndarray], *, rows: bool = False) -> dict[str, np.ndarray]:
        """As `predict`, in one request and unchecked: the server must refuse what is wrong. Send no empty batch."""
        deadline = self._deadline()
        _, outputs = self._stated(deadline).get(signature, ({}, {}))
        return self._asked(deadline, self._transport.predict, signature, inputs, outputs, rows)

    def close(self):
        """Ends the connection."""
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _deadline(self):
        return time.monotonic() + min(self._timeout, 1e6)

    def _asked(self, deadline, question, *args) -> Any:
        """`question(*args, seconds left)`, again while its error says when, as long as the time allows."""
        for i in range(self._retries + 1):
            try:
                return question(*args, deadline - time.monotonic())
            except ServingError as error:
                pause = max(min(0.1 * 2**i, 2.0), error.wait or 0)
                if error.wait is None or i == self._retries or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)

    def _stated(self, deadline):
        self._signatures = self._signatures or self._asked(deadline, self._transport.metadata)
        return self._signatures

    def _checked(self, signature, inputs, deadline):
        checks.check_name("signature", signature, sorted(self._stated(deadline)))
        specs = self._signatures[signature][0]
        if specs.keys() != inputs.keys():
            given = ", ".join(sorted(inputs)) or "nothing"
            raise ValueError(f"{signature} must be given {' and '.join(specs)}, got {given}")
        arrays = {}
        for name, spec in specs.items():
            try:
                array = np.asarray(inputs[name], object if spec.dtype == "object" else None)
            except ValueError as error:
                raise ValueError(f"{name} must be an array, got {error}") from None
            if array.ndim == 0:
                raise ValueError(f"{name} must have the batch as its first axis, got a single {array.dtype.name}")
            if not np.can_cast(array.dtype, spec.dtype, "same_kind") and array.size:
                raise ValueError(f"{name} must hold {spec.dtype}, got {array.dtype.name}")
            arrays[name] = array.astype(spec.dtype)
            if array.dtype.kind in "iu" and not np.array_equal(arrays[name], array):
                raise ValueError(f"{name} must hold {spec.dtype}, got {array.min()} to {array.max()}")
            if spec.dtype == "object" and (others := [value for value in array.flat if not isinstance(value, bytes)]):
                raise ValueError(f"{name} must hold bytes, got {type(others[0]).__name__}")
        sizes = [str(len(array)) for array in arrays.values()]
        if len(set(sizes)) > 1:
            raise ValueError(f"{' and '.join(arrays)} must have the same batch size, got {' and '.join(sizes)}")
        return arrays


def _scheme(address):
    """Of an address; ValueError, without what may be secret, unless it is one of a server."""
    rule = "address must be http(s)://HOST:PORT or grpc(s)://HOST:PORT, without user and query"
    if not isinstance(address, str):
        raise checks.InputTypeError(f"{rule}, got {address!r}")
    with contextlib.suppress(ValueError):  # of what is no URL
        parsed = urllib3.util.parse_url(address)
        known = parsed.scheme in ("http", "https", "grpc", "grpcs") and parsed.host and parsed.port != 0
        if known and not (parsed.auth or parsed.query or parsed.fragment):
            return parsed.scheme
    raise ValueError(f"{rule}, got {re.sub('.*@|[?#].*', '', address)!r}")


def _grpc():
    try:
        with quiet("1"):
            from tfvae.client.over_grpc import Grpc
    except ImportError as error:
        rule = "address must begin with http where tensorflow-serving-api is not installed"
        raise ImportError(f"{rule}: {error}") from None
    return Grpc


def _check_answer(signature, outputs, answer, size):
    """ServingError unless an answer of `size` rows is as its signature states."""

    def check(good, about, rule, got):
        if not good:
            raise ServingError("INTERNAL", f"{about} of the server's answer must {rule}, got {got}")

    check(
        answer.keys() == outputs.keys(), signature, f"hold {' and '.join(outputs)}", " and ".join(answer) or "nothing"
    )
    for name, spec in outputs.items():
        array, shape = answer[name], [size, *spec.shape[1:]]
        fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        check(fits, name, f"have shape [{checks.joined(shape)}]", f"[{checks.joined(array.shape)}]")
        check(array.dtype == spec.dtype, name, f"hold {spec.dtype}", array.dtype.name)
        if array.dtype.kind == "f" and not (good := np.isfinite(array)).all():
            check(False, name, "be finite", array[~good][0])
