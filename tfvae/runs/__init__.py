"""Training runs on disk: start, resume after any interruption, save, load."""

from tfvae.runs.run import CARD, CHECKPOINT, HISTORY, RECIPE, WEIGHTS, load, read_recipe, resume, save, start

__all__ = ["CARD", "CHECKPOINT", "HISTORY", "RECIPE", "WEIGHTS", "load", "read_recipe", "resume", "save", "start"]


def __dir__():
    return __all__
