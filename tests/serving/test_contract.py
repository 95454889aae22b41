"""The contract's check: it passes on what keeps the contract, and finds what does not."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import small_vae
from served import Batching, GrpcDouble, RestDouble, Served

from tfvae import cli, serving
from tfvae.serving.contract import check, largest_difference


@pytest.fixture(scope="module")
def export(trained_vae, tmp_path_factory):
    return serving.export(trained_vae, tmp_path_factory.mktemp("models"), num_samples=5)


@pytest.fixture(scope="module", params=[RestDouble, GrpcDouble])
def double(request, export):
    return request.param(Served(export))


def test_a_server_that_keeps_the_contract_passes(double, export):
    findings = list(check(serving.Client(double.address, "digits"), export))
    assert [finding for finding in findings if not finding.passed] == []
    assert len(findings) > 40


@pytest.mark.parametrize("transport", [RestDouble, GrpcDouble])
def test_a_server_that_batches_passes_and_is_asked_nothing_empty(transport, export):
    double = transport(Batching(export))
    assert not [found for found in check(serving.Client(double.address, "digits")) if found.passed is False]


def test_a_server_of_another_contract_fails_with_words(export):
    other = Served(export)
    other.signatures = {name: other.signatures[name] for name in ("generate", "decode")}
    assert [f.passed for f in check(serving.Client(GrpcDouble(other).address, "digits"))] == [True, False]


class Changed:
    """A server whose answers have been changed."""

    def __init__(self, served, change):
        self.served, self.change = served, change
        self.signatures = served.signatures

    def __call__(self, name, **inputs):
        return self.change(name, inputs, self.served(name, **inputs))


def of_the_batch(name, inputs, answer):
    """Rows that depend on their neighbours."""
    return {key: value + 1e-3 * len(value) for key, value in answer.items()}


def by_position(name, inputs, answer):
    """Rows that depend on where they stand."""
    shape = {key: (-1, *[1] * (value.ndim - 1)) for key, value in answer.items()}
    return {
        key: value + np.float32(1e-3) * np.arange(len(value), dtype="f4").reshape(shape[key])
        for key, value in answer.items()
    }


def without_kl(name, inputs, answer):
    return {**answer, "elbo": answer["log_likelihood"]} if name == "elbo" else answer


def not_a_number(name, inputs, answer):
    return {key: np.full_like(value, np.nan) for key, value in answer.items()}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (of_the_batch, "encode: a row alone answers as in a batch"),
        (by_position, "generate: the order of rows does not matter"),
        (without_kl, "elbo: log_likelihood - kl"),
        (not_a_number, "decode: answers, finite, with the shapes it states"),
    ],
)
def test_a_server_that_breaks_it_is_found(export, change, found):
    double = GrpcDouble(Changed(Served(export), change))
    failed = [f.about for f in check(serving.Client(double.address, "digits")) if f.passed is False]
    assert found in failed


def test_a_difference_is_not_a_number_if_any_element_is_not():
    arrays = {"loc": np.zeros(3), "scale": np.array([1, np.nan])}
    assert np.isnan(largest_difference(arrays, {"loc": np.zeros(3), "scale": np.ones(2)}))
    assert largest_difference({"x": np.array([0.5, 11])}, {"x": np.array([0.0, 10])}) == 0.5


def test_another_model_is_found(double, digits, tmp_path):
    other = serving.export(small_vae(digits, latent_size=4), tmp_path, num_samples=5)
    failed = [f.about for f in check(serving.Client(double.address, "digits"), other) if f.passed is False]
    assert "encode: equal to the export's own answer" in failed


class Careless(Served):
    """A server that answers whatever it is asked: bad rows are made good."""

    def __call__(self, name, **inputs):
        return super().__call__(name, **{key: self.good(value) for key, value in inputs.items()})

    def good(self, value):
        return np.clip(np.nan_to_num(value), 0, 1) if value.dtype == np.float32 else value


def test_a_server_that_refuses_nothing_is_found(export):
    double = GrpcDouble(Careless(export))
    failed = [f.about for f in check(serving.Client(double.address, "digits")) if f.passed is False]
    assert {"refused: NaN", "refused: values above 1", "refused: an infinite latent"} <= set(failed)


def test_the_command_prints_a_table(double, export):
    where = ["--url", double.address] if double.address.startswith("http") else ["--grpc", double.address[7:]]
    done = CliRunner().invoke(cli.main, ["serve-check", *where, "--export", str(export)])
    assert done.exit_code == 0, done.output
    assert "ok   status: a version is available" in done.output
    assert "0 failed" in done.output


def test_the_command_fails_where_the_check_does():
    done = CliRunner().invoke(cli.main, ["serve-check", "--url", "http://127.0.0.1:9", "--timeout", "1"])
    assert done.exit_code == 1
    assert "FAIL" in done.output and "UNAVAILABLE" in done.output


def test_the_command_wants_an_export_that_is_there(tmp_path):
    done = CliRunner().invoke(cli.main, ["serve-check", "--export", str(tmp_path)])
    assert done.exit_code == 1
    assert "export must be a version's directory with a saved_model.pb, got" in done.output


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def real_server(models):
    """(REST address, gRPC address) of a TF Serving that has `models` as digits, started and stopped here."""
    rest, grpc = free_port(), free_port()
    command = [shutil.which("tensorflow_model_server"), f"--rest_api_port={rest}", f"--port={grpc}"]
    process = subprocess.Popen([*command, "--model_name=digits", f"--model_base_path={models}"])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(serving.ServingError):
                if "AVAILABLE" in serving.Client(f"grpc://127.0.0.1:{grpc}", "digits").status().values():
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{rest}", f"grpc://127.0.0.1:{grpc}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.server
def test_a_real_tf_serving_keeps_the_contract(export):
    """TF Serving itself: started where it is installed, or already running where TFVAE_SERVING says.

    TFVAE_SERVING holds addresses of one that serves `digits`, between commas: http://HOST:PORT, grpc://HOST:PORT.
    """
    with contextlib.ExitStack() as stack:
        if os.environ.get("TFVAE_SERVING"):
            addresses, served = os.environ["TFVAE_SERVING"].split(","), None
        elif shutil.which("tensorflow_model_server"):
            addresses, served = stack.enter_context(real_server(export.parent)), export
        else:
            pytest.skip("no TF Serving: tensorflow_model_server is not on the path, TFVAE_SERVING names no server")
        for address in addresses:
            findings = list(check(serving.Client(address, "digits"), served))
            assert [finding for finding in findings if finding.passed is False] == []
