"""Requests to TensorFlow Serving, over REST or gRPC, with the same methods, answers and errors.

status() -> {version: state}      predict(signature, inputs, outputs, rows) -> {output: array}
metadata() -> SignatureDefMap     close()
"""

import base64
import json
import urllib.parse

import grpc
import numpy as np
import requests
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

# gRPC's name of a REST status.
_CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_CODES |= {408: "DEADLINE_EXCEEDED", 412: "FAILED_PRECONDITION", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
_CODES |= {501: "UNIMPLEMENTED"} | dict.fromkeys((502, 503, 504), "UNAVAILABLE")


class ServingError(RuntimeError):
    """A server refused a request, or could not be reached; `code` is gRPC's name, over REST too.

    >>> tfvae.serving.ServingError("NOT_FOUND", "there is no such model").code
    'NOT_FOUND'
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


class Rest:
    """TF Serving's REST interface: JSON over HTTP, through `requests`."""

    def __init__(self, address, model, version, timeout, retries):
        path = f"{address}/v1/models/{urllib.parse.quote(model, safe='')}"
        self.url = path if version is None else f"{path}/versions/{version}"
        self.timeout = timeout
        when: dict = {"read": False, "allowed_methods": None, "status_forcelist": (429, 502, 503, 504)}
        policy = urllib3.Retry(retries, **when, backoff_factor=0.1, raise_on_status=False)
        self.session = requests.Session()
        self.session.mount(address, requests.adapters.HTTPAdapter(max_retries=policy))
        self.session.headers["Content-Type"] = "application/json"

    def close(self):
        self.session.close()

    def status(self):
        return {int(s["version"]): s["state"] for s in self.call("GET", self.url)["model_version_status"]}

    def metadata(self):
        signatures = self.call("GET", f"{self.url}/metadata")["metadata"]["signature_def"]
        return json_format.ParseDict(signatures, get_model_metadata_pb2.SignatureDefMap(), ignore_unknown_fields=True)

    def predict(self, signature, inputs, outputs, rows):
        columns = {name: _json_values(np.asarray(array)) for name, array in inputs.items()}
        asked: dict = {"inputs": columns}
        if rows:
            asked = {"instances": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
        answer = self.call("POST", f"{self.url}:predict", json.dumps({"signature_name": signature, **asked}))

        def named(value, name):  # of a single output, TF Serving leaves out the name
            return value[name] if isinstance(value, dict) else value

        if rows:
            columns = {name: [named(row, name) for row in answer["predictions"]] for name in outputs}
        else:
            columns = {name: named(answer["outputs"], name) for name in outputs}
        return {name: np.asarray(columns[name], spec.dtype) for name, spec in outputs.items()}

    def call(self, method: str, url: str, body: str | None = None):
        """The server's JSON answer as Python values; raises ServingError for a status other than 200."""
        try:
            response = self.session.request(method, url, data=body, timeout=self.timeout)
        except requests.Timeout:
            raise ServingError("DEADLINE_EXCEEDED", f"no answer from {url} within {self.timeout} s") from None
        except requests.RequestException as error:
            raise ServingError("UNAVAILABLE", f"{url} cannot be reached: {error}") from None
        code = _CODES.get(response.status_code, "UNKNOWN")
        try:
            answer = response.json()
        except ValueError:
            got = f"got status {response.status_code}: {response.text[:200]!r}"
            raise ServingError(code, f"{url} must answer with JSON, {got}") from None
        if response.status_code != 200:
            raise ServingError(code, _plain(answer.get("error", answer) if isinstance(answer, dict) else answer))
        return answer


class Grpc:
    """TF Serving's gRPC interface, through `tensorflow-serving-api`."""

    def __init__(self, address, model, version, timeout, retries):
        self.model, self.version, self.timeout = model, version, timeout
        policy = {"maxAttempts": retries + 1, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2}
        policy["retryableStatusCodes"] = ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
        config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]} if retries else {}
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        options = [("grpc.service_config", json.dumps(config)), *unlimited]
        parsed = urllib.parse.urlsplit(address)
        if parsed.scheme == "grpcs":
            self.channel = grpc.secure_channel(parsed.netloc, grpc.ssl_channel_credentials(), options)
        else:
            self.channel = grpc.insecure_channel(parsed.netloc, options)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def status(self):
        answer = self.call(self.models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest())
        name_of = get_model_status_pb2.ModelVersionStatus.State.Name
        return {s.version: name_of(s.state) for s in answer.model_version_status}

    def metadata(self):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self.call(self.prediction.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return signatures

    def predict(self, signature, inputs, outputs, rows):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        answer = self.call(self.prediction.Predict, request)
        return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    def call(self, method, request):
        """The answer to a request, addressed to the model here; raises ServingError."""
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, _plain(error.details())) from None


def _json_values(array):
    if array.dtype.kind in "OS":
        return [{"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value for value in array]
    return array.tolist()


def _plain(message):
    """An error message without the graph's node names."""
    return str(message).split("\n\t [[")[0]
