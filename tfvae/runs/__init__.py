"""Training runs on disk: start, resume after any interruption, save, load."""

from tfvae.runs.latents import encode
from tfvae.runs.pretrained import pretrained
from tfvae.runs.run import (
    CARD,
    CHECKPOINT,
    DATA,
    HISTORY,
    RECIPE,
    WEIGHTS,
    load,
    load_data,
    read_recipe,
    resume,
    save,
    start,
)

__all__ = [
    "CARD",
    "CHECKPOINT",
    "DATA",
    "HISTORY",
    "RECIPE",
    "WEIGHTS",
    "encode",
    "load",
    "load_data",
    "pretrained",
    "read_recipe",
    "resume",
    "save",
    "start",
]


def __dir__():
    return __all__
