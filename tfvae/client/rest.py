"""TF Serving's REST interface, by NumPy and urllib3 alone."""

import base64
import contextlib
import http.client
import io
import json
import socket
import time
import urllib.parse

import numpy as np
import urllib3

from tfvae.client import answers
from tfvae.client.answers import ServingError, broken, contract, plain, signatures

# gRPC's name of a REST status.
_CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_CODES |= {408: "DEADLINE_EXCEEDED", 412: "FAILED_PRECONDITION", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
_CODES |= {501: "UNIMPLEMENTED"} | dict.fromkeys((502, 503, 504), "UNAVAILABLE")
_OVERLOADED = (429, 502, 503, 504)


class _Reader(io.RawIOBase):
    """What a socket receives within its timeout, which is one for all reads, and acknowledges at once.

    TF Serving writes 16 KB at a time, and waits for an acknowledgement that Linux delays by 40 ms on a kept connection.
    """

    def __init__(self, sock, raw):
        self._sock, self._raw = sock, raw
        self._deadline = time.monotonic() + sock.gettimeout()

    def readable(self):
        return True

    def readinto(self, buffer):
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        if hasattr(socket, "TCP_QUICKACK"):  # on Linux; it lasts for about one read
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return self._raw.readinto(buffer)

    def close(self):
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock, *args, **kwargs):
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(sock, self.fp.detach()))


class Rest:
    """TF Serving's REST interface: JSON over HTTP. Follows no redirects, uses no proxies."""

    def __init__(self, address, model, version):
        self.address = address
        self.path = f"{urllib.parse.urlsplit(address).path}/v1/models/{urllib.parse.quote(model, safe='')}"
        self.path += "" if version is None else f"/versions/{version}"
        self.pool = urllib3.connection_from_url(address, maxsize=16)
        responses = {"response_class": _Response}
        self.pool.ConnectionCls = type("Connection", (self.pool.ConnectionCls,), responses)  # type: ignore[misc]

    def close(self):
        self.pool.close()

    def status(self, seconds):
        answer = self.call("GET", "", seconds)
        with contract(self.address):
            return {int(s["version"]): str(s["state"]) for s in answer["model_version_status"]}

    def metadata(self, seconds):
        answer = self.call("GET", "/metadata", seconds)
        with contract(self.address):
            return signatures(answer["metadata"]["signature_def"])

    def predict(self, signature, inputs, outputs, rows, seconds):
        columns = {name: _json_values(np.asarray(array)) for name, array in inputs.items()}
        asked: dict = {"inputs": columns}
        if rows:
            asked = {"instances": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
        body = json.dumps({"signature_name": signature, **asked})
        answer = self.call("POST", ":predict", seconds, body)

        def named(value):  # of a single output, TF Serving leaves out the name
            return value if isinstance(value, dict) else dict(zip(outputs, [value], strict=True))

        with contract(self.address):
            if rows:
                found = [named(row) for row in answer["predictions"]]
                columns = {name: [row[name] for row in found] for name in set().union(*found)}
            else:
                columns = named(answer["outputs"])
            return {name: _array(name, column, outputs[name]) for name, column in columns.items()}

    def call(self, method: str, path: str, seconds: float, body: str | None = None):
        """The server's JSON answer as Python values; raises ServingError for a status other than 200."""
        url, headers = self.path + path, {"Content-Type": "application/json"}
        how: dict = {"retries": False, "redirect": False, "preload_content": False, "decode_content": False}
        try:
            timeout = urllib3.Timeout(total=max(1e-3, seconds))
            with contextlib.closing(self.pool.urlopen(method, url, body, headers, timeout=timeout, **how)) as response:
                content = response.read(answers.LARGEST_ANSWER + 1)
        except urllib3.exceptions.HTTPError as error:
            refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # for urllib3 a timeout too
            if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
                message = f"no answer from {self.address} within {seconds:.3g} s"
                raise ServingError("DEADLINE_EXCEEDED", message) from None
            again = None if isinstance(error, urllib3.exceptions.SSLError) else 0
            raise ServingError("UNAVAILABLE", f"{self.address} cannot be reached: {error}", again) from None
        if len(content) > answers.LARGEST_ANSWER:
            raise broken(self.address, f"more than {answers.LARGEST_ANSWER} bytes")
        status, pause = response.status, response.headers.get("Retry-After", "")
        code = _CODES.get(status, "UNKNOWN")
        wait = None if status not in _OVERLOADED else float(pause) if pause.isdecimal() else 0.0
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            got = f"got status {status}: {content[:200].decode(errors='replace')!r}"
            raise ServingError(code, f"{self.address} must answer with JSON, {got}", wait) from None
        if status != 200:
            words = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise ServingError(code, plain(words), wait)
        return answer


def _json_values(array):
    if array.dtype.kind in "OS":
        return [{"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value for value in array]
    return array.tolist()


@np.errstate(all="ignore")  # what overflows is infinite, and seen
def _array(name, values, spec):
    """An output in JSON as an array; ValueError unless it holds what `spec` says."""
    array = np.asarray(values)
    typed = array.astype(spec.dtype) if array.dtype.kind in "iuf" or spec.dtype == "object" else array
    if typed.dtype.kind in "iu" and not np.array_equal(typed, array):
        raise ValueError(f"{name} must hold {spec.dtype}, got {array.min()} to {array.max()}")
    return typed
