"""An export in a v1 Session, as TF Serving runs it, and a stand-in for TF Serving around it (REST and gRPC).

The stand-in reads and answers as the recorded transcripts show that TF Serving does; it lets the client and the
contract's check be tested whole where no server can run.
"""

import base64
import functools
import http.server
import json
import threading
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


class Served:
    """An export in a Session, called by signature past Python's own checks of shapes."""

    def __init__(self, path):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        self.signatures = tf.compat.v1.saved_model.load(self.session, ["serve"], str(path)).signature_def

    def __call__(self, name, **inputs):
        call = self.callable(name, tuple(inputs))
        return dict(zip(sorted(self.signatures[name].outputs), call(*inputs.values()), strict=True))

    @functools.cache  # noqa: B019 (there are few, and they live as long as the tests)
    def callable(self, name, keys):
        signature = self.signatures[name]
        for key in keys:
            if key not in signature.inputs:  # asking a protobuf map for a key would make it
                raise ValueError(f"input tensor alias not found in signature: {key}")
        feed = [signature.inputs[key].name for key in keys]
        fetch = [signature.outputs[key].name for key in sorted(signature.outputs)]
        return self.session._make_callable_from_options(config_pb2.CallableOptions(feed=feed, fetch=fetch))


class Batching(Served):
    """As a server that batches: sizes that differ are refused before the graph; an empty request would never end."""

    def __call__(self, name, **inputs):
        sizes = {len(value) for value in inputs.values()}
        if len(sizes) > 1:
            raise ValueError("Batching Run() input tensors must have equal 0th-dimension size")
        assert sizes != {0}, "an empty request"
        return super().__call__(name, **inputs)


class JsonServer:
    """HTTP on 127.0.0.1: `answer(method, path, body)` gives a status and a value, sent as JSON (bytes as they are).

    Connections are kept and written to as TF Serving does: 16 KB at a time, each after the last has arrived.
    """

    def __init__(self, answer, **headers):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version, wbufsize = "HTTP/1.1", 2**14

            def do_GET(self):
                self.reply(b"")

            def do_POST(self):
                self.reply(self.rfile.read(int(self.headers["Content-Length"])))

            def reply(self, body):
                status, value = answer(self.command, self.path, body)
                content = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, header in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name.replace("_", "-"), header)
                self.end_headers()
                for i in range(0, len(content), 2**14):
                    self.wfile.write(content[i : i + 2**14])

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class RestDouble(JsonServer):
    """Serves one export as `http://127.0.0.1:PORT/v1/models/digits`."""

    def __init__(self, served, version=1):
        self.served, self.version = served, version
        super().__init__(lambda method, path, body: self.get(path) if method == "GET" else self.post(path, body))

    def get(self, path):
        if path == "/v1/models/digits":
            state = {"version": str(self.version), "state": "AVAILABLE", "status": {"error_code": "OK"}}
            return 200, {"model_version_status": [state]}
        if path == "/v1/models/digits/metadata":
            signatures = json_format.MessageToDict(_signature_map(self.served), preserving_proto_field_name=True)
            return 200, {"model_spec": {"name": "digits"}, "metadata": {"signature_def": signatures}}
        return 404, {"error": f"Servable not found for request: {path}"}

    def post(self, path, body):
        if path != "/v1/models/digits:predict":
            return 404, {"error": f"Servable not found for request: {path}"}
        try:
            request = json.loads(body)
            name = request.get("signature_name", "serving_default")
            if name not in self.served.signatures:
                raise ValueError(f'Serving signature name: "{name}" not found in signature def')
            specs = self.served.signatures[name].inputs
            if "instances" in request:
                if not request["instances"]:
                    raise ValueError("No values in 'instances' array")
                rows = [self.named(row, specs) for row in request["instances"]]
                for key in {key for row in rows for key in row} - specs.keys():
                    raise ValueError(f"JSON object: does not have named input: {key}")
                columns = {key: [row[key] for row in rows] for key in specs}
            else:
                columns = self.named(request["inputs"], specs)
                for key in specs.keys() - columns.keys():
                    raise ValueError(f"Missing named input: {key} in 'inputs' object.")
                columns = {key: columns[key] for key in specs}  # what the signature does not have is ignored
            answer = self.served(name, **{key: _array(column, specs[key]) for key, column in columns.items()})
        except (ValueError, KeyError, TypeError, tf.errors.InvalidArgumentError) as error:
            return 400, {"error": str(error)}
        answer = {key: value.tolist() for key, value in answer.items()}
        single = len(answer) == 1
        if "instances" not in request:
            return 200, {"outputs": next(iter(answer.values())) if single else answer}
        rows = [dict(zip(answer, row, strict=True)) for row in zip(*answer.values(), strict=True)]
        return 200, {"predictions": next(iter(answer.values())) if single else rows}

    def named(self, value, specs):
        return value if isinstance(value, dict) else {next(iter(specs)): value}


class GrpcDouble(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Serves one export as `grpc://127.0.0.1:PORT`, model digits."""

    def __init__(self, served, version=1):
        self.served, self.version = served, version
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self.server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self.server)
        self.address = f"grpc://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def GetModelStatus(self, request, context):  # noqa: N802 (gRPC's name)
        self.find(request, context)
        state = get_model_status_pb2.ModelVersionStatus(version=self.version, state=30)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[state])

    def GetModelMetadata(self, request, context):  # noqa: N802 (gRPC's name)
        self.find(request, context)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.metadata["signature_def"].Pack(_signature_map(self.served))
        return answer

    def Predict(self, request, context):  # noqa: N802 (gRPC's name)
        self.find(request, context)
        name = request.model_spec.signature_name or "serving_default"
        if name not in self.served.signatures:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        try:
            answer = self.served(name, **{key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()})
        except (ValueError, KeyError, TypeError, tf.errors.InvalidArgumentError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        for key, value in answer.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response

    def find(self, request, context):
        if request.model_spec.name != "digits":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")


def _signature_map(served):
    return get_model_metadata_pb2.SignatureDefMap(signature_def=served.signatures)


def _array(values, info):
    """JSON as a tensor, with the refusals of TF Serving."""
    dtype = tf.dtypes.as_dtype(info.dtype)
    if dtype == tf.string:
        return np.array([base64.b64decode(value["b64"]) for value in values], object)
    array = np.asarray(values)
    if array.dtype.kind not in ("iu" if dtype.is_integer else "iuf") and array.size:
        raise ValueError(f"JSON Value: Type is not of expected type: {dtype.name}")
    return array.astype(dtype.as_numpy_dtype)
