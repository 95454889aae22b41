"""Serving: export as a SavedModel that TF Serving can trust, a client, and the check of a running server."""

from tfvae.client import Client, ServingError
from tfvae.serving.contract import Finding, check
from tfvae.serving.litert import to_litert
from tfvae.serving.openapi import openapi_document
from tfvae.serving.savedmodel import WARMUP, expected_answers, export, verify, versions

__all__ = [
    "WARMUP",
    "Client",
    "Finding",
    "ServingError",
    "check",
    "expected_answers",
    "export",
    "openapi_document",
    "to_litert",
    "verify",
    "versions",
]


def __dir__():
    return __all__
