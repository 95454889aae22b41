"""The files of deploy/: each is read, and they agree with each other, with the models and with the page."""

import re

import pytest
import yaml
from conftest import ROOT

DEPLOY = ROOT / "deploy"
VERSION = re.search(r"tensorflow-serving-api==(.*)", (ROOT / "requirements.txt").read_text())[1]


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def test_compose_names_files_that_exist_and_the_models_release():
    ((service,),) = [document["services"].values() for document in documents("compose.yaml")]
    assert service["image"] == f"tensorflow/serving:{VERSION}"
    targets = {}
    for volume in service["volumes"]:
        source, target, mode = volume.split(":")
        assert (DEPLOY / source).resolve().exists() and mode == "ro"
        targets[target] = source
    assert f"--batching_parameters_file={next(t for t in targets if t.endswith('.txt'))}" in service["command"]
    assert f"/models/{service['environment']['MODEL_NAME']}" in targets


def test_the_batching_file_has_the_servers_fields():
    """Of `BatchingParameters` in TF Serving's session_bundle_config.proto, which no Python package holds."""
    lines = (DEPLOY / "batching.txt").read_text().splitlines()
    found = dict(re.fullmatch(r"(\w+) \{ value: (\d+) \}", line).groups() for line in lines)
    assert found["max_batch_size"] == "64"
    assert set(found) == {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"}


def test_kubernetes_probes_what_it_exposes():
    deployment, service = documents("kubernetes.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    assert container["readinessProbe"]["httpGet"]["port"] in ports


def test_every_file_names_one_release():
    (kserve,) = documents("kserve.yaml")
    assert kserve["spec"]["predictor"]["model"]["runtimeVersion"] == VERSION
    assert f"FROM tensorflow/serving:{VERSION}\n" in (DEPLOY / "Dockerfile").read_text()
    for path in (ROOT / "docs/serve.md", *DEPLOY.iterdir()):
        assert set(re.findall(r"tensorflow/serving:([\w.]+)", path.read_text())) <= {VERSION}


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_every_file_is_listed(path):
    assert path.name == "README.md" or f"[`{path.name}`]({path.name})" in (DEPLOY / "README.md").read_text()
