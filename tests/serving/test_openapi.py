"""The OpenAPI document of an export: it is one, and a real server's exchanges obey it."""

import json

import jsonschema
import openapi_spec_validator
import pytest
from click.testing import CliRunner
from conftest import ROOT, TESTS

from tfvae import cli, serving

EXPORT = ROOT / "saved_models" / "digits" / "1"
EXCHANGES = [
    e for e in json.loads((TESTS / "serving_transcripts.json").read_text()) if ":predict" in e["request"]["path"]
]
# What the server refuses, and a schema cannot say: values, and how many rows there are.
BEYOND = ("unknown model", "empty instances", "empty inputs", "out of range", "mismatched columns")


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """Of a model as that of the exchanges, with four latents."""
    path = tmp_path_factory.mktemp("digits") / "1"
    path.mkdir()
    (path / "saved_model.pb").touch()
    card = json.loads((EXPORT / "model_card.json").read_text())
    for signature in card["signatures"].values():
        for spec in [*signature["inputs"].values(), *signature["outputs"].values()]:
            spec["shape"] = [4 if i == 1 and len(spec["shape"]) == 2 else n for i, n in enumerate(spec["shape"])]
    (path / "model_card.json").write_text(json.dumps(card))
    return serving.openapi_document(path, "digits")


def obeys(document, content, schema):
    return jsonschema.Draft202012Validator(schema | {"components": document["components"]}).is_valid(content)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["name"])
def test_exchanges_obey_it(exchange, document):
    predict = document["paths"][exchange["request"]["path"].replace("nothing", "digits")]["post"]
    answered = predict["responses"][str(exchange["status"])]["content"]["application/json"]["schema"]
    assert obeys(document, exchange["answer"], answered)
    if "body" in exchange["request"]:  # else it is no JSON
        asked = predict["requestBody"]["content"]["application/json"]["schema"]
        good = exchange["status"] == 200 or exchange["name"] in BEYOND
        assert obeys(document, exchange["request"]["body"], asked) == good


def test_answers_of_another_shape_break_it(document):
    schema = {"$ref": "#/components/schemas/generate_answer"}
    (known,) = [e["answer"] for e in EXCHANGES if e["name"] == "generate rows"]
    assert obeys(document, known, schema)
    row = dict(known["predictions"][0])
    for bad in ({**row, "latent": row["latent"][1:]}, {"image": row["image"]}, {**row, "more": 1}):
        assert not obeys(document, {"predictions": [bad]}, schema)


def test_a_models_name_is_a_word():
    assert "/v1/models/digits:predict" in serving.openapi_document(EXPORT)["paths"]
    for name in ("", "a/b", "{x}"):
        with pytest.raises(ValueError, match="model must be made of letters, digits"):
            serving.openapi_document(EXPORT, name)


def test_it_is_an_openapi_document(document):
    openapi_spec_validator.validate(document)
    with pytest.raises(jsonschema.ValidationError):
        openapi_spec_validator.validate(document | {"paths": 1})


def test_the_stored_one_is_that_of_the_digits(tmp_path):
    result = CliRunner().invoke(cli.main, ["openapi", str(EXPORT), "--to", str(tmp_path / "openapi.json")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "openapi.json").read_text() == (ROOT / "deploy" / "openapi.json").read_text()
