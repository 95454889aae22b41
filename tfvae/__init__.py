"""Variational autoencoders for TensorFlow, tf_keras and TensorFlow Probability: derived, checked, measured, served."""

import contextlib
import importlib
import sys

from tfvae.support.quiet import quiet

__version__ = "0.1.0"

_MODULES = (
    "audit",
    "client",
    "data",
    "diagnostics",
    "disentanglement",
    "distributions",
    "explore",
    "hierarchical",
    "likelihoods",
    "linear",
    "networks",
    "objectives",
    "plots",
    "posteriors",
    "priors",
    "recipes",
    "runs",
    "seeds",
    "serving",
    "train",
)
_NAMES = {
    "VAE": "tfvae.train",
    "ConditionalVAE": "tfvae.conditional",
    "Recipe": "tfvae.recipes",
    "build": "tfvae.recipes",
    "save": "tfvae.runs",
    "load": "tfvae.runs",
    "pretrained": "tfvae.runs",
}

__all__ = [*_MODULES, *_NAMES]


def __getattr__(name):
    # Resolved on first use: `import tfvae` and `python -m tfvae --help` do not wait for TensorFlow.
    with contextlib.nullcontext() if "tensorflow" in sys.modules else quiet("1"):
        if name in _MODULES:
            return importlib.import_module(f"tfvae.{name}")
        if name in _NAMES:
            return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")


def __dir__():
    return __all__
