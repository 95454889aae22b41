"""Requests to TensorFlow Serving, over REST or gRPC, with the same methods, answers and errors.

status(seconds) -> {version: state}      predict(signature, inputs, outputs, rows, seconds) -> {output: array}
metadata(seconds) -> {signature: (inputs, outputs)}, each {name: Spec}      close()

A request is sent once, ends within `seconds`, and fails with ServingError alone.
"""

import base64
import contextlib
import http.client
import io
import json
import socket
import time
import urllib.parse
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
import urllib3
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

LARGEST_ANSWER = 2**28  # bytes, 256 MB

# gRPC's name of a REST status.
_CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_CODES |= {408: "DEADLINE_EXCEEDED", 412: "FAILED_PRECONDITION", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
_CODES |= {501: "UNIMPLEMENTED"} | dict.fromkeys((502, 503, 504), "UNAVAILABLE")


_OVERLOADED = (429, 502, 503, 504)


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
        with _contract(self.address):
            return {int(s["version"]): str(s["state"]) for s in answer["model_version_status"]}

    def metadata(self, seconds):
        answer = self.call("GET", "/metadata", seconds)
        with _contract(self.address):
            found, empty = answer["metadata"]["signature_def"], get_model_metadata_pb2.SignatureDefMap()
            return _signatures(json_format.ParseDict(found, empty, ignore_unknown_fields=True))

    def predict(self, signature, inputs, outputs, rows, seconds):
        columns = {name: _json_values(np.asarray(array)) for name, array in inputs.items()}
        asked: dict = {"inputs": columns}
        if rows:
            asked = {"instances": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
        body = json.dumps({"signature_name": signature, **asked})
        answer = self.call("POST", ":predict", seconds, body)

        def named(value):  # of a single output, TF Serving leaves out the name
            return value if isinstance(value, dict) else dict(zip(outputs, [value], strict=True))

        with _contract(self.address):
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
                content = response.read(LARGEST_ANSWER + 1)
        except urllib3.exceptions.HTTPError as error:
            refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # for urllib3 a timeout too
            if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
                message = f"no answer from {self.address} within {seconds:.3g} s"
                raise ServingError("DEADLINE_EXCEEDED", message) from None
            again = None if isinstance(error, urllib3.exceptions.SSLError) else 0
            raise ServingError("UNAVAILABLE", f"{self.address} cannot be reached: {error}", again) from None
        if len(content) > LARGEST_ANSWER:
            raise _broken(self.address, f"more than {LARGEST_ANSWER} bytes")
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
            raise ServingError(code, _plain(words), wait)
        return answer


class Grpc:
    """TF Serving's gRPC interface, through `tensorflow-serving-api`."""

    def __init__(self, address, model, version):
        self.address, self.model, self.version = address, model, version
        options = [("grpc.max_receive_message_length", LARGEST_ANSWER), ("grpc.max_send_message_length", -1)]
        # A server that comes back is found within a second; gRPC's own pauses grow to two minutes.
        options += [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)]
        parsed = urllib.parse.urlsplit(address)
        if parsed.scheme == "grpcs":
            self.channel = grpc.secure_channel(parsed.netloc, grpc.ssl_channel_credentials(), options)
        else:
            self.channel = grpc.insecure_channel(parsed.netloc, options)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def status(self, seconds):
        answer = self.call(self.models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest(), seconds)
        name_of = get_model_status_pb2.ModelVersionStatus.State.Name
        with _contract(self.address):
            return {s.version: name_of(s.state) for s in answer.model_version_status}

    def metadata(self, seconds):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self.call(self.prediction.GetModelMetadata, request, seconds)
        with _contract(self.address):
            found = get_model_metadata_pb2.SignatureDefMap()
            answer.metadata["signature_def"].Unpack(found)
            return _signatures(found)

    def predict(self, signature, inputs, outputs, rows, seconds):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        answer = self.call(self.prediction.Predict, request, seconds)
        with _contract(self.address):
            return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    def call(self, method, request, seconds):
        """The answer to a request, addressed to the model here; raises ServingError."""
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        try:
            return method(request, timeout=max(1e-3, seconds))
        except grpc.RpcError as error:
            code, details = error.code().name, _plain(error.details())
            again = code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED") and "larger than max" not in details
            raise ServingError(code, details, 0 if again else None) from None


@contextlib.contextmanager
def _contract(address):
    """ServingError for whatever goes wrong in reading an answer."""
    try:
        yield
    except Exception as error:
        raise _broken(address, f"{type(error).__name__}: {error}") from None


def _broken(address, got):
    return ServingError("INTERNAL", f"{address} must answer as TF Serving does, got {got}")


def _signatures(found):
    """{signature: (inputs, outputs)} of a SignatureDefMap, sorted by name."""
    if not found.signature_def:
        raise ValueError("no signatures")
    signatures = sorted(found.signature_def.items())
    return {k: (_specs(s.inputs), _specs(s.outputs)) for k, s in signatures if not k.startswith("__")}


def _specs(side):
    """{name: Spec} of a signature's inputs or outputs, sorted by name."""
    specs = {}
    for name, info in sorted(side.items()):
        dtype = np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype)
        specs[name] = Spec(dtype.name, [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim])
    return specs


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


def _plain(message):
    """An error message without the graph's node names, or the whole request that it may repeat."""
    return str(message).split("\n\t [[")[0][:2000]
