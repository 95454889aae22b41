"""The client against what a real TF Serving 2.21 answered (serving_transcripts.json), and against a stand-in for it."""

import contextlib
import json
import pathlib
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import urllib3
from conftest import ROOT, TESTS
from served import Batching, GrpcDouble, JsonServer, RestDouble, Served
from tensorflow.core.protobuf import meta_graph_pb2

from tfvae import serving
from tfvae.client.rest import Rest

TRANSCRIPTS = json.loads((TESTS / "serving_transcripts.json").read_text())
RECORDED = {entry["name"]: entry for entry in TRANSCRIPTS}


def same_meaning(body):
    """A request without the freedoms that TF Serving leaves: the default signature, names of a single input."""
    body = {"signature_name": "serving_default", **body}
    if "inputs" in body and isinstance(body["inputs"], dict) and len(body["inputs"]) == 1:
        body["inputs"] = next(iter(body["inputs"].values()))
    if "instances" in body:
        rows = body["instances"]
        body["instances"] = [next(iter(r.values())) if isinstance(r, dict) and len(r) == 1 else r for r in rows]
    return body


def recorded_answer(method, path, body):
    for entry in TRANSCRIPTS:
        request = entry["request"]
        if (request["method"], request["path"]) == (method, path) and (
            method == "GET" or same_meaning(request.get("body", {})) == same_meaning(json.loads(body))
        ):
            return entry["status"], entry["answer"]
    return 500, {"error": f"never recorded: {method} {path} {body}"}


@pytest.fixture(scope="module")
def recorded():
    return serving.Client(JsonServer(recorded_answer).address, "digits")


def columns_of(entry):
    body = entry["request"]["body"]
    inputs = body.get("inputs")
    if inputs is None:
        rows = body["instances"]
        inputs = {key: [row[key] for row in rows] for key in rows[0]} if isinstance(rows[0], dict) else rows
    if not isinstance(inputs, dict):
        inputs = {{"decode": "latent", "generate": "seed"}.get(body.get("signature_name"), "image"): inputs}
    return body.get("signature_name", "serving_default"), {key: np.array(value) for key, value in inputs.items()}


def expected_columns(entry, outputs):
    answer = entry["answer"]
    if "outputs" in answer:
        columns = answer["outputs"]
        return columns if isinstance(columns, dict) else dict.fromkeys(outputs, columns)
    rows = answer["predictions"]
    return {name: [row[name] if isinstance(row, dict) else row for row in rows] for name in outputs}


def test_status_and_signatures_are_read(recorded):
    assert recorded.status() == {1: "AVAILABLE"}
    inputs, outputs = recorded.signatures()["elbo"]
    assert inputs == {"image": ("float32", [None, 8, 8, 1]), "seed": ("int64", [None])}
    assert outputs.keys() == {"elbo", "log_likelihood", "kl"}
    assert recorded.signatures().keys() == {
        *("serving_default", "encode", "decode", "generate", "elbo", "log_evidence")
    }


@pytest.mark.parametrize(
    "name",
    [e["name"] for e in TRANSCRIPTS if e["request"]["path"] == "/v1/models/digits:predict" and e["status"] == 200],
)
def test_recorded_predictions_are_asked_and_read(recorded, name):
    """The client forms the very request that was recorded, and makes arrays of its answer."""
    entry = RECORDED[name]
    signature, inputs = columns_of(entry)
    answer = recorded.predict(signature, rows="instances" in entry["request"]["body"], **inputs)
    expected = expected_columns(entry, answer)
    assert answer.keys() == recorded.signatures()[signature][1].keys()
    for key, value in answer.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, np.array(expected[key], np.float32))


def test_rows_and_columns_say_the_same(recorded):
    signature, inputs = columns_of(RECORDED["log_evidence columns"])
    by_column = recorded.predict(signature, **inputs)
    by_row = recorded.predict(signature, rows=True, **inputs)
    np.testing.assert_array_equal(by_column["log_evidence"], by_row["log_evidence"])


@pytest.mark.parametrize("entry", [e for e in TRANSCRIPTS if e["status"] != 200], ids=lambda e: e["name"])
def test_recorded_refusals_are_errors_with_the_servers_words(entry):
    address = JsonServer(lambda *request: (entry["status"], entry["answer"])).address
    rest, request = Rest(address, "digits", version=None), entry["request"]
    with pytest.raises(serving.ServingError) as caught:
        rest.call(request["method"], ":predict", 10, request.get("raw", "{}"))
    assert caught.value.code == {400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}[entry["status"]]
    assert entry["answer"]["error"].startswith(str(caught.value).split(": ", 1)[1])
    assert "{{" not in str(caught.value)


@pytest.fixture(scope="module")
def export(trained_vae, tmp_path_factory):
    return serving.export(trained_vae, tmp_path_factory.mktemp("models"), num_samples=5)


@pytest.fixture(scope="module", params=[RestDouble, GrpcDouble])
def client(request, export):
    return serving.Client(request.param(Served(export)).address, "digits")


def test_every_signature_answers_as_the_model(client, trained_vae, digits):
    for name, (inputs, outputs) in serving.expected_answers(trained_vae, digits.x_test[:4], 5).items():
        for rows in (False, True):
            answer = client.predict(name, rows=rows, **inputs)
            assert answer.keys() == outputs.keys()
            for key, value in outputs.items():
                assert answer[key].dtype == value.dtype
                np.testing.assert_allclose(answer[key], value, rtol=1e-5, atol=1e-5)


WITHOUT_TENSORFLOW = """
import sys
sys.path.insert(0, "site")
import numpy as np
import tfvae
client = tfvae.client.Client(sys.argv[1], "digits")
answer = client.predict("generate", seed=[1, 2])
assert list(client.status()) == [1]
print(answer["image"].shape, answer["image"].dtype, np.isfinite(answer["latent"]).all(), len(client.signatures()))
try:
    client.predict("encode", image=np.full([1, 8, 8, 1], 2.0), seed=[0])
except ValueError as error:
    print(error)
for bad in ({"address": "grpc://localhost:8500"}, {"timeout": 0}):
    try:
        tfvae.client.Client(**{"address": sys.argv[1], "model": "digits", **bad})
    except (ImportError, ValueError) as error:
        print(error)
"""


def test_a_client_needs_numpy_and_urllib3_alone(export, tmp_path):
    """In a process that finds these two and this package, and nothing else that was installed."""
    (tmp_path / "site").mkdir()
    packages = [ROOT / "tfvae", *(pathlib.Path(module.__file__).parent for module in (np, urllib3))]
    for path in [*packages, *packages[1].parent.glob("numpy.libs")]:
        (tmp_path / "site" / path.name).symlink_to(path)
    command = [sys.executable, "-I", "-S", "-c", WITHOUT_TENSORFLOW, RestDouble(Served(export)).address]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "(2, 8, 8, 1) float32 True 8",
        "encode must be given image, got image, seed",
        "address must begin with http where tensorflow-serving-api is not installed: No module named 'grpc'",
        "timeout must be a finite number above 0, got 0",
    ]


CURLS = [(path, line) for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "deploy/README.md")
         for line in re.findall("^curl .*", path.read_text(), re.MULTILINE)]  # fmt: skip


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(("path", "line"), CURLS, ids=lambda value: getattr(value, "name", None))
def test_the_pages_curl_lines_are_answered(path, line, export):
    line = line.replace("http://localhost:8501", RestDouble(Served(export)).address)
    done = subprocess.run(["bash", "-c", line.replace("curl ", "curl -sS ", 1)], capture_output=True, text=True)
    assert done.stderr == "" and json.loads(done.stdout).keys() & {"predictions", "outputs"}, done


def test_some_page_has_a_curl_line():
    assert CURLS


def test_status_and_specs_are_the_same_over_both(client):
    assert client.status() == {1: "AVAILABLE"}
    assert client.signatures()["serving_bytes"][0] == {"image_bytes": ("object", [None])}
    assert client.signatures()["generate"] == (
        {"seed": ("int64", [None])},
        {"image": ("float32", [None, 8, 8, 1]), "latent": ("float32", [None, 4])},
    )


def test_large_requests_are_split(client, digits):
    answer = serving.Client(client.address, "digits", max_batch_size=3).predict("encode", image=digits.x_test[:8])
    np.testing.assert_allclose(answer["loc"], client.predict("encode", image=digits.x_test[:8])["loc"], atol=1e-5)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("nothing", {}, "signature must be one of .*serving_default.*, got 'nothing'"),
        ("elbo", {"image": np.zeros([1, 8, 8, 1])}, "elbo must be given image and seed, got image"),
        ("generate", {}, "generate must be given seed, got nothing"),
        ("generate", {"seeds": [1]}, "generate must be given seed, got seeds"),
        ("generate", {"seed": [1.5]}, "seed must hold int64, got float64"),
        ("generate", {"seed": 1}, "seed must have the batch as its first axis, got a single int64"),
        ("encode", {"image": ["text"]}, "image must hold float32, got"),
        ("serving_uint8", {"image": np.array([300], np.uint16)}, "image must hold uint8, got 300 to 300"),
        ("serving_uint8", {"image": np.array([256])}, "image must hold uint8, got int64"),
        ("serving_bytes", {"image_bytes": ["a.png"]}, "image_bytes must hold bytes, got str"),
        ("decode", {"latent": [[1], [1, 2]]}, "latent must be an array, got"),
        ("decode", {"latent": np.zeros([1, 4]), "more": [1]}, "decode must be given latent, got latent, more"),
        ("generate", {"seed": np.array([2**63], np.uint64)}, "seed must hold int64, got 9223372036854775808 to"),
        ("decode", {"latent": np.full([1, 4], 2**24 + 1)}, "latent must hold float32, got 16777217 to 16777217"),
        (
            "elbo",
            {"image": np.zeros([4, 8, 8, 1]), "seed": [1, 2]},
            "image and seed must have the same batch size, got 4 and 2",
        ),
    ],
)
def test_bad_requests_are_refused_before_they_are_sent(client, signature, inputs, message):
    with pytest.raises(ValueError, match=message):
        client.predict(signature, **inputs)


def test_what_the_server_refuses_has_its_words(client, digits):
    bad = digits.x_test[:2].copy()
    bad[0] = 2
    with pytest.raises(serving.ServingError, match=r"INVALID_ARGUMENT: .*image must be in \[0, 1\], got\] \[2\]$"):
        client.predict("encode", image=bad)
    with pytest.raises(serving.ServingError, match="same batch size"):
        client.send("elbo", {"image": digits.x_test[:2], "seed": np.array([1])})


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(serving.ServingError, match=r"NOT_FOUND: .*Servable not found"):
        serving.Client(client.address, "nothing").status()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_is_not_there_is_named(scheme):
    with pytest.raises(serving.ServingError, match="UNAVAILABLE"):
        serving.Client(f"{scheme}://127.0.0.1:9", "digits", retries=1).status()


def test_what_is_overloaded_is_asked_again():
    asked = []

    def busy_twice(method, path, body):
        asked.append(path)
        return (503, {"error": "busy"}) if len(asked) < 3 else recorded_answer(method, path, body)

    assert serving.Client(JsonServer(busy_twice).address, "digits").status() == {1: "AVAILABLE"}
    assert len(asked) == 3
    asked.clear()
    with pytest.raises(serving.ServingError, match="UNAVAILABLE: busy"):
        serving.Client(JsonServer(busy_twice).address, "digits", retries=1).status()
    assert len(asked) == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_every_status_of_an_overload_is_asked_again(status):
    asked = []

    def busy_once(method, path, body):
        asked.append(path)
        return (status, {"error": "busy"}) if len(asked) < 2 else recorded_answer(method, path, body)

    assert serving.Client(JsonServer(busy_once).address, "digits").status() == {1: "AVAILABLE"}
    assert len(asked) == 2


def test_model_and_version_are_in_the_address():
    asked = []

    def answer(method, path, body):
        asked.append(path)
        return 200, {"model_version_status": []}

    for version in (None, 3):
        serving.Client(JsonServer(answer).address, "a/b c", version=version).status()
    assert asked == ["/v1/models/a%2Fb%20c", "/v1/models/a%2Fb%20c/versions/3"]


def test_refusals_are_not_asked_again():
    asked = []

    def refuse(method, path, body):
        asked.append(path)
        return 400, {"error": "no"}

    with pytest.raises(serving.ServingError, match="INVALID_ARGUMENT: no"):
        serving.Client(JsonServer(refuse).address, "digits").status()
    assert len(asked) == 1


def test_a_slow_answer_is_a_timeout_and_not_asked_again():
    asked = []

    def slow(method, path, body):
        asked.append(path)
        time.sleep(1)
        return 200, {}

    with pytest.raises(serving.ServingError, match=r"DEADLINE_EXCEEDED: no answer from .* within 0.2 s"):
        serving.Client(JsonServer(slow).address, "digits", timeout=0.2).status()
    assert len(asked) == 1


def test_a_page_that_is_no_json_is_an_error():
    client = serving.Client(JsonServer(lambda *request: (200, b"<html>")).address, "digits")
    with pytest.raises(serving.ServingError, match=r"must answer with JSON, got status 200: '<html>'"):
        client.status()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "localhost:8501"}, r"address must be http\(s\)://HOST:PORT or grpc\(s\)://HOST:PORT"),
        ({"address": "ftp://host"}, "address must be"),
        ({"address": "http://host:port"}, "address must be"),
        ({"address": "http://two hosts:1"}, "address must be"),
        ({"address": None}, "address must be"),
        ({"model": ""}, "model must be the name of a model, got ''"),
        ({"timeout": 0}, "timeout must be a finite number above 0, got 0"),
        ({"timeout": "1"}, "timeout must be a finite number above 0, got '1'"),
        ({"retries": -1}, "retries must be an integer of at least 0, got -1"),
        ({"version": "1"}, "version must be an integer of at least 0, got '1'"),
        ({"max_batch_size": 0}, "max_batch_size must be an integer of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        serving.Client(**{"address": "http://localhost:8501", "model": "digits", **options})


def test_a_client_can_be_closed(client):
    with serving.Client(client.address, "digits") as other:
        assert other.status() == {1: "AVAILABLE"}


@pytest.mark.parametrize(("status", "code"), [(500, "INTERNAL"), (403, "PERMISSION_DENIED"), (418, "UNKNOWN")])
def test_other_answers_have_the_names_of_grpc_too(status, code):
    client = serving.Client(JsonServer(lambda *request: (status, {"error": "words"})).address, "digits")
    with pytest.raises(serving.ServingError, match=f"{code}: words"):
        client.status()


@pytest.mark.parametrize("double", [RestDouble, GrpcDouble])
def test_an_empty_batch_is_answered_without_the_server(double, export):
    """Which, if it batches, would never answer it."""
    client = serving.Client(double(Batching(export)).address, "digits")
    for name, (inputs, outputs) in client.signatures().items():
        answer = client.predict(
            name, **{key: np.zeros([0, *spec.shape[1:]], spec.dtype) for key, spec in inputs.items()}
        )
        assert {key: (value.dtype, value.shape) for key, value in answer.items()} == {
            key: (spec.dtype, (0, *spec.shape[1:])) for key, spec in outputs.items()
        }


class BusyGrpc(GrpcDouble):
    """Says UNAVAILABLE, or another code, to the first `times` calls, and counts all."""

    def __init__(self, times, code=grpc.StatusCode.UNAVAILABLE):
        self.times, self.code, self.asked = times, code, 0
        super().__init__(served=None)

    def find(self, request, context):
        self.asked += 1
        if self.asked <= self.times:
            context.abort(self.code, "busy")


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_grpc_is_asked_once_more_for_each_retry(retries):
    patient, hopeless = BusyGrpc(retries), BusyGrpc(99)
    assert serving.Client(patient.address, "digits", retries=retries).status() == {1: "AVAILABLE"}
    assert patient.asked == retries + 1
    with pytest.raises(serving.ServingError, match="UNAVAILABLE"):
        serving.Client(hopeless.address, "digits", retries=retries).status()
    assert hopeless.asked == retries + 1
    for double in (patient, hopeless):
        double.server.stop(None)


def test_an_exhausted_grpc_server_is_asked_again():
    double = BusyGrpc(1, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert serving.Client(double.address, "digits").status() == {1: "AVAILABLE"}
    assert double.asked == 2
    double.server.stop(None)


def test_grpc_is_asked_for_the_version():
    class Recording(GrpcDouble):
        def find(self, request, context):
            asked.append(request.model_spec.version.value if request.model_spec.HasField("version") else None)

    asked, double = [], Recording(served=None)
    for version in (None, 3):
        serving.Client(double.address, "digits", version=version).status()
    assert asked == [None, 3]
    double.server.stop(None)


def test_grpc_answers_may_be_larger_than_its_own_limit_but_not_without_end(monkeypatch):
    """Of 4 MB, unless it is lifted; what is larger than ours is asked for once."""

    class Large:
        def __init__(self):
            self.signatures, self.asked = {"encode": meta_graph_pb2.SignatureDef()}, 0

        def __call__(self, name, **inputs):
            self.asked += 1
            return {"loc": np.zeros([2, 10**6], np.float32)}

    large = Large()
    double = GrpcDouble(large)
    assert serving.Client(double.address, "digits").send("encode", {"image": np.zeros(1)})["loc"].shape == (2, 10**6)
    monkeypatch.setattr("tfvae.client.answers.LARGEST_ANSWER", 10**6)
    with pytest.raises(serving.ServingError, match=r"RESOURCE_EXHAUSTED: .*larger than max"):
        serving.Client(double.address, "digits").send("encode", {"image": np.zeros(1)})
    assert large.asked == 2
    double.server.stop(None)


STATED = {"signature_def": {"two": {
    "inputs": {"x": {"dtype": "DT_INT64", "tensor_shape": {"dim": [{"size": "-1"}]}}},
    "outputs": {"a": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}]}},
                "b": {"dtype": "DT_INT64", "tensor_shape": {"dim": [{"size": "-1"}]}}},
}}}  # fmt: skip
GOOD = {"a": [[0.5, 1], [2, 3]], "b": [4, 5]}


def predictions(value, stated=STATED, **options):
    """A client of a server that answers `value` to every prediction."""

    def answer(method, path, body):
        return (200, {"metadata": {"signature_def": stated}}) if method == "GET" else (200, value)

    return serving.Client(JsonServer(answer).address, "digits", retries=0, **options)


def test_an_answer_as_stated_is_read():
    answer = predictions({"outputs": GOOD}).predict("two", x=[1, 2])
    assert {name: (array.dtype, array.tolist()) for name, array in answer.items()} == {
        "a": (np.float32, GOOD["a"]),
        "b": (np.int64, GOOD["b"]),
    }


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], {}, 1, "text", True, {"outputs": None}, {"outputs": []}, {"outputs": {}}, {"outputs": "text"}),
        *({"predictions": [GOOD]}, {"error": "an error with status 200"}, b"{", b"[" * 10**5, b"", b"\xff", b"<html>"),
        *({"outputs": [[0.5, 1], [2, 3]]}, {"outputs": {"a": GOOD["a"]}}, {"outputs": {**GOOD, "c": [1, 2]}}),
        *({"outputs": {**GOOD, "b": b}} for b in ([4], [4, 5, 6], [[4], [5]], 4, [], None, [None, 5], ["4", "5"])),
        *({"outputs": {**GOOD, "b": b}} for b in ([4.5, 5], [True, False], [{}, {}], [4, [5]], [2**70, 5], "45")),
        *({"outputs": {**GOOD, "a": [[0.5, a], [2, 3]]}} for a in (float("nan"), float("inf"), 1e39, None, "1", [1])),
        *({"outputs": {**GOOD, "a": a}} for a in ([[0.5], [1]], [0.5, 1], [[0.5, 1, 2], [3, 4, 5]], [["1", "2"]] * 2)),
        b'{"outputs": {"a": [[0.5, 1e999], [2, 3]], "b": [4, 5]}}',
    ],
    ids=lambda value: repr(value)[:60],
)
def test_an_answer_that_is_none_is_an_error_of_the_server(value):
    with pytest.raises(serving.ServingError):
        predictions(value).predict("two", x=[1, 2])


@pytest.mark.parametrize("value", [None, [], {"predictions": []}, {"predictions": [GOOD]}, {"predictions": [1, 2]}])
def test_rows_that_are_none_are_errors_of_the_server(value):
    with pytest.raises(serving.ServingError):
        predictions(value).predict("two", rows=True, x=[1, 2])


def test_parts_that_are_longer_than_what_was_asked_are_refused():
    with pytest.raises(serving.ServingError, match=r"a of the server's answer must have shape \[1, 2\], got \[2, 2\]"):
        predictions({"outputs": GOOD}, max_batch_size=1).predict("two", x=[1, 2])


@pytest.mark.parametrize("value", [None, 1, {}, {"signature_def": {}}, {"signature_def": {"a": {"inputs": {"x": 5}}}},
                                   {"signature_def": {"a": {"inputs": {"x": {"dtype": "DT_NONSENSE"}}}}}])  # fmt: skip
def test_signatures_that_are_none_are_errors_of_the_server(value):
    with pytest.raises(serving.ServingError):
        predictions({}, stated=value).predict("two", x=[1, 2])


@pytest.mark.parametrize("states", [None, 1, [None], [{}], [{"version": "x", "state": "AVAILABLE"}], [{"version": []}]])
def test_a_status_that_is_none_is_an_error_of_the_server(states):
    with pytest.raises(serving.ServingError):
        serving.Client(JsonServer(lambda *_: (200, {"model_version_status": states})).address, "digits").status()


def test_grpc_answers_that_are_none_are_errors_of_the_server(export, digits):
    class Changed(Served):
        def __call__(self, name, **inputs):
            answer = super().__call__(name, **inputs) | change
            return {key: value for key, value in answer.items() if value is not None}

    double, change = GrpcDouble(Changed(export)), {}
    client, image = serving.Client(double.address, "digits"), digits.x_test[:2]
    assert client.predict("encode", image=image).keys() == {"loc", "scale"}
    loc = np.zeros([2, 4], np.float32)
    wrong = [loc[:1], loc[:, :3], loc.astype(float), loc + np.float32(np.nan), np.array([[b"1"] * 4] * 2, object)]
    for change in [*({"loc": value} for value in wrong), {"more": loc}, {"scale": None}]:  # noqa: B007 (Changed reads it)
        with pytest.raises(serving.ServingError, match=r"INTERNAL: .* of the server's answer must"):
            client.predict("encode", image=image)
    double.server.stop(None)


def raw_server(talk):
    """The address of a server that does `talk(socket)` with each connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            with contextlib.suppress(OSError):
                connection = listening.accept()[0]
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


STATUS = json.dumps({"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\n\r\n", HEAD % 10**6])
def test_an_answer_that_drips_ends_with_the_call(start):
    def drip(connection):
        with contextlib.suppress(OSError):
            connection.sendall(start)
            while True:
                connection.sendall(b"1")
                time.sleep(0.02)

    started = time.monotonic()
    with pytest.raises(serving.ServingError, match=r"DEADLINE_EXCEEDED: no answer from .* within 0.3 s"):
        serving.Client(raw_server(drip), "digits", timeout=0.3).status()
    assert time.monotonic() - started < 1


def test_an_answer_without_end_ends_at_a_limit(monkeypatch):
    def flood(connection):
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"1" * 10**5)

    monkeypatch.setattr("tfvae.client.answers.LARGEST_ANSWER", 10**6)
    with pytest.raises(serving.ServingError, match=r"must answer as TF Serving does, got more than 1000000 bytes"):
        serving.Client(raw_server(flood), "digits").status()


def test_a_connection_that_is_reset_or_closed_is_made_again():
    asked = []

    def reset_twice(connection):
        asked.append(connection.recv(10**5))
        if len(asked) == 1:  # "Connection reset by peer"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif len(asked) == 2:
            connection.sendall(HEAD % 100)
        else:
            connection.sendall(HEAD % len(STATUS) + STATUS)
        connection.close()

    assert serving.Client(raw_server(reset_twice), "digits").status() == {1: "AVAILABLE"}
    assert len(asked) == 3


def test_a_restart_of_twenty_seconds_is_waited_for_and_a_timeout_is_kept(monkeypatch):
    paused = []
    monkeypatch.setattr(time, "sleep", paused.append)
    for scheme in ("http", "grpc"):
        with pytest.raises(serving.ServingError, match="UNAVAILABLE"):
            serving.Client(f"{scheme}://127.0.0.1:9", "digits").status()
        assert 20 < sum(paused) < 30 and max(paused) <= 2
        paused.clear()
        with pytest.raises(serving.ServingError, match="UNAVAILABLE"):
            serving.Client(f"{scheme}://127.0.0.1:9", "digits", timeout=1).status()
        assert sum(paused) < 2 and max(paused) < 1
        paused.clear()


def test_a_server_says_when_to_ask_again_but_not_beyond_the_timeout(monkeypatch):
    paused = []
    monkeypatch.setattr(time, "sleep", paused.append)
    for after, seconds in (("7", [7, 7]), ("3600", []), ("Wed, 21 Oct 2026 07:28:00 GMT", [0.1, 0.2])):
        busy = JsonServer(lambda *request: (503, {"error": "busy"}), Retry_After=after)
        with pytest.raises(serving.ServingError, match="UNAVAILABLE: busy"):
            serving.Client(busy.address, "digits", retries=2).status()
        assert paused == seconds
        paused.clear()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status):
    followed = []
    other = JsonServer(lambda *request: (followed.append(request), (200, {}))[1])
    moved = JsonServer(lambda *request: (status, b""), Location=f"{other.address}/v1/models/digits")
    with pytest.raises(serving.ServingError, match=f"must answer with JSON, got status {status}"):
        serving.Client(moved.address, "digits").status()
    assert not followed


@pytest.mark.parametrize("address", ["http://me:secret@host:8501", "http://host:8501?token=secret", "me:secret@host",
                                     "grpc://secret@host:1", "http://host:1#secret"])  # fmt: skip
def test_no_message_tells_a_secret(address):
    with pytest.raises(ValueError, match="address must be") as caught:
        serving.Client(address, "digits")
    assert "secret" not in str(caught.value)


def test_a_kept_connection_does_not_wait_for_late_acknowledgements():
    """40 ms for each answer that is written in more than one part, else."""
    answer = {**json.loads(STATUS), "padding": "1" * 40_000}
    client, taken = serving.Client(JsonServer(lambda *request: (200, answer)).address, "digits"), []
    for _ in range(12):
        started = time.perf_counter()
        client.status()
        taken.append(time.perf_counter() - started)
    assert statistics.median(taken[2:]) < 0.03
