"""Recipes: a training run as plain values, and the only assembler of models from them."""

from tfvae.recipes.assemble import (
    build,
    compile,
    least_memory,
    least_seconds,
    objective_of,
    start_at_mean,
    within_memory,
)
from tfvae.recipes.recipe import Recipe

__all__ = [
    "Recipe",
    "build",
    "compile",
    "least_memory",
    "least_seconds",
    "objective_of",
    "start_at_mean",
    "within_memory",
]


def __dir__():
    return __all__
