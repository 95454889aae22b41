"""TF Serving's gRPC interface, through `tensorflow-serving-api`, whose messages need TensorFlow."""

import urllib.parse

import grpc
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfvae.client import answers
from tfvae.client.answers import ServingError, contract, plain, signatures


class Grpc:
    """TF Serving's gRPC interface."""

    def __init__(self, address, model, version):
        self.address, self.model, self.version = address, model, version
        options = [("grpc.max_receive_message_length", answers.LARGEST_ANSWER), ("grpc.max_send_message_length", -1)]
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
        with contract(self.address):
            return {s.version: name_of(s.state) for s in answer.model_version_status}

    def metadata(self, seconds):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self.call(self.prediction.GetModelMetadata, request, seconds)
        with contract(self.address):
            found = get_model_metadata_pb2.SignatureDefMap()
            answer.metadata["signature_def"].Unpack(found)
            return signatures(json_format.MessageToDict(found, preserving_proto_field_name=True))

    def predict(self, signature, inputs, outputs, rows, seconds):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        answer = self.call(self.prediction.Predict, request, seconds)
        with contract(self.address):
            return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    def call(self, method, request, seconds):
        """The answer to a request, addressed to the model here; raises ServingError."""
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        try:
            return method(request, timeout=max(1e-3, seconds))
        except grpc.RpcError as error:
            code, details = error.code().name, plain(error.details())
            again = code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED") and "larger than max" not in details
            raise ServingError(code, details, 0 if again else None) from None
