"""An OpenAPI document of the REST interface by which TF Serving serves an export."""

import re
from typing import Any

from tfvae.serving.card import CARD
from tfvae.support import files
from tfvae.support.rules import checked

_ELEMENTS: dict[str, Any] = {  # as JSON holds them
    "float32": {"type": "number"},
    "uint8": {"type": "integer", "minimum": 0, "maximum": 255},
    "int64": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "bool": {"type": "boolean"},
    "string": {"type": "object", "required": ["b64"], "properties": {"b64": {"type": "string"}}},  # base64
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


@checked
def openapi_document(path, model: str | None = None) -> dict[str, Any]:
    """The document (OpenAPI 3.1) of the exported version at `path`, served by the name `model`, from its card.

    >>> tfvae.serving.openapi_document("saved_models/digits/1", "digits")
    Traceback (most recent call last):
    FileNotFoundError: path must be a version's directory with a saved_model.pb, got saved_models/digits/1

    Each signature takes rows (`instances`) or columns (`inputs`), and answers in kind (`predictions`, `outputs`). TF
    Serving names the tensors of a row or of the columns, unless there is one alone.

    Args:
        model: default: the name of the folder that holds the version.

    Raises:
        OSError, ValueError: the directory or a file in it is missing or corrupt; a model's name that is no word.
    """
    version = files.exported("path", path, CARD).resolve()
    card, model = files.read_json(version / CARD), version.parent.name if model is None else model
    if not re.fullmatch(r"[\w.-]+", model):
        raise ValueError(f"model must be made of letters, digits, '_', '.' and '-', got {model!r}")
    schemas: dict[str, Any] = {"Error": _ERROR}

    def ref(name):
        return {"$ref": f"#/components/schemas/{name}"}

    def tensor(spec):
        """A reference to the schema of a row of a tensor."""
        shape = spec["shape"][1:]
        name = "_".join([spec["dtype"], "x".join(map(str, shape))]).strip("_")
        schemas[name] = _nested(_ELEMENTS[spec["dtype"]], shape)
        return ref(name)

    def message(specs, rows, columns, **fixed):
        """All tensors by rows or by columns, beside what is `fixed`."""
        by_row = {key: tensor(spec) for key, spec in specs.items()}
        by_column = {key: {"type": "array", "items": row} for key, row in by_row.items()}
        contents = {rows: {"type": "array", "items": _named(by_row)}, columns: _named(by_column)}
        absent = dict.fromkeys(contents, False)  # no value is valid
        return {"anyOf": [_object(absent | fixed | {key: content}, [key]) for key, content in contents.items()]}

    for name, signature in card["signatures"].items():
        request = message(signature["inputs"], "instances", "inputs", signature_name={"const": name})
        if name != "serving_default":
            request["required"] = ["signature_name"]
        schemas[f"{name}_request"] = request | {"description": signature["about"]}
        schemas[f"{name}_answer"] = message(signature["outputs"], "predictions", "outputs")

    def response(about, schema):
        return {"description": about, "content": {"application/json": {"schema": schema}}}

    requests, answers = (
        {"anyOf": [ref(f"{name}_{side}") for name in card["signatures"]]} for side in ("request", "answer")
    )
    predict = {
        "summary": "Asks a signature; rows are answered in order",
        "requestBody": {"required": True, "content": {"application/json": {"schema": requests}}},
        "responses": {
            "200": response("The answer", answers),
            "400": response("What was wrong", ref("Error")),
            "404": response("No such model or version", ref("Error")),
        },
    }
    status = {
        "summary": "The versions and their states",
        "responses": {"200": response("The status", {"type": "object"}), "404": response("No model", ref("Error"))},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{model}: {card['model']}", "version": version.name},
        "servers": [{"url": "http://localhost:8501"}],
        "paths": {
            f"/v1/models/{model}:predict": {"post": predict},
            f"/v1/models/{model}/versions/{version.name}:predict": {"post": predict},
            f"/v1/models/{model}": {"get": status},
        },
        "components": {"schemas": schemas},
    }


def _nested(element, shape):
    for size in reversed(shape):
        element = {"type": "array", "items": element, "minItems": size, "maxItems": size}
    return element


def _object(properties, required):
    return {"type": "object", "required": required, "properties": properties}


def _named(tensors):
    """All by their names; one alone also without."""
    whole = _object(tensors, list(tensors)) | {"additionalProperties": False}
    return {"anyOf": [*tensors.values(), whole]} if len(tensors) == 1 else whole
