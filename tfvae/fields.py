"""What the fields of a recipe may hold."""

import dataclasses
import math
import types
import typing

import numpy as np
import tf_keras as tfk

from tfvae import data as data_module
from tfvae import latents, likelihoods
from tfvae.muon import Muon

LIKELIHOODS = {
    "bernoulli": likelihoods.bernoulli,
    "binomial": likelihoods.binomial,
    "normal": likelihoods.normal,
    "laplace": likelihoods.laplace,
    "normal_per_image": likelihoods.normal_per_image,
    "normal_per_pixel": likelihoods.normal_per_pixel,
    "normal_optimal": likelihoods.normal_optimal,
    "continuous_bernoulli": likelihoods.continuous_bernoulli,
    "discretized_logistic": likelihoods.discretized_logistic,
    "logistic_mixture": likelihoods.logistic_mixture,
}
# Likelihoods with a scale to choose, and those of so many grey levels as the data have.
SCALED = ("normal", "laplace")
COUNTED = ("binomial", "discretized_logistic", "logistic_mixture")
OBJECTIVES = (
    *("elbo", "beta_elbo", "capacity_elbo", "tc_elbo", "factor_elbo", "dip_elbo"),
    *("iwae", "dreg_iwae", "stl_elbo", "score_function_elbo", "wake_phase"),
)
# Fields that are for some objectives alone.
_ONLY_FOR = {
    "beta": ("beta_elbo", "tc_elbo"),
    "gamma": ("capacity_elbo", "factor_elbo"),
    "capacity": ("capacity_elbo",),
    "warmup_steps": ("beta_elbo", "capacity_elbo", "iwae", "dreg_iwae"),
    "free_bits": ("beta_elbo",),
    "discriminator_sizes": ("factor_elbo",),
    "dip_variant": ("dip_elbo",),
    "dip_off_diagonal": ("dip_elbo",),
    "dip_diagonal": ("dip_elbo",),
}
NETWORKS = ("mlp", "conv")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = {"adam": tfk.optimizers.Adam, "muon": Muon}
# Likelihoods whose last bias a mean image tells, and how.
BIASES = {
    "bernoulli": lambda mean: np.log(mean / (1 - mean)),
    "binomial": lambda mean: np.log(mean / (1 - mean)),
    "normal": lambda mean: mean,
    "laplace": lambda mean: mean,
}
_LEAST = {
    "averaged_epochs": 0,
    "batch_size": 1,
    "beta": 0,
    "capacity": 0,
    "dip_diagonal": 0,
    "dip_off_diagonal": 0,
    "epochs": 1,
    "flow_steps": 1,
    "free_bits": 0,
    "gamma": 0,
    "kernel_size": 1,
    "latent_size": 1,
    "likelihood_components": 1,
    "num_classes": 2,
    "num_components": 1,
    "num_pseudo_inputs": 1,
    "num_samples": 1,
    "validation_size": 0,
    "warmup_steps": 0,
}
_SIZES = (
    "dense_sizes",
    "discriminator_sizes",
    "filters",
    "flow_hidden_sizes",
    "hidden_sizes",
    "layer_hidden_sizes",
)


def check(recipe):
    """Raises ValueError, with field, rule and value, unless a `recipes.Recipe`'s fields are right and fit together."""
    _check_names(recipe)
    _check_numbers(recipe)
    latents.check(recipe)
    if recipe.num_classes is not None and not recipe.conditional:
        raise ValueError(f"num_classes must be None unless conditional is true, got {recipe.num_classes}")
    if recipe.averaged_epochs > recipe.epochs:
        raise ValueError(f"averaged_epochs must be at most epochs, {recipe.epochs}, got {recipe.averaged_epochs}")
    _check_objective(recipe)


def _check_names(recipe):
    for name, names in (
        ("binarize", data_module.BINARIZATIONS),
        ("likelihood", (None, *LIKELIHOODS)),
        ("posterior", latents.POSTERIORS),
        ("prior", latents.PRIORS),
        ("network", NETWORKS),
        ("objective", OBJECTIVES),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
    ):
        data_module.check_name(name, getattr(recipe, name), names)
    if recipe.mean_bias and recipe.likelihood is not None:
        data_module.check_name("likelihood under mean_bias", recipe.likelihood, BIASES)
    try:
        tfk.activations.get(recipe.activation)
    except ValueError:
        raise ValueError(f"activation must be one of Keras' activations, got {recipe.activation!r}") from None


def _check_numbers(recipe):
    for name, least in _LEAST.items():
        value = getattr(recipe, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    for name in ("learning_rate", "scale"):
        value = getattr(recipe, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")
    for name in _SIZES:
        if any(size < 1 for size in getattr(recipe, name)):
            raise ValueError(f"{name} must hold sizes of at least 1, got {getattr(recipe, name)}")
    if not recipe.flow_hidden_sizes:
        raise ValueError("flow_hidden_sizes must hold at least one size, got ()")
    if not 0 <= recipe.seed < 2**31:
        raise ValueError(f"seed must be in [0, 2^31), got {recipe.seed}")
    if recipe.dip_variant not in (1, 2):
        raise ValueError(f"dip_variant must be 1 or 2, got {recipe.dip_variant}")


def _check_objective(recipe):
    """What the objective asks of other fields."""
    if recipe.objective in ("score_function_elbo", "wake_phase") and recipe.num_samples < 2:
        raise ValueError(f"num_samples must be at least 2 for {recipe.objective}, got {recipe.num_samples}")
    if recipe.jit and recipe.warmup_steps and recipe.objective in ("iwae", "dreg_iwae"):
        raise ValueError(f"jit must not be true while samples grow, warmup_steps = {recipe.warmup_steps}, got true")
    for field in dataclasses.fields(recipe):
        value, users = getattr(recipe, field.name), _ONLY_FOR.get(field.name, OBJECTIVES)
        if recipe.objective not in users and value != field.default:
            raise ValueError(
                f"{field.name} must be {field.default} unless objective is {' or '.join(users)}, got {value}"
            )


def check_fits(recipe, likelihood, data):
    """Raises ValueError unless likelihood, scale, batch size and labels suit the data: see `Recipe.complete`."""
    if likelihood == "bernoulli" and data.num_levels != 1:
        raise ValueError(
            f"likelihood must fit the data's grey levels, got bernoulli for {data.name}, which is not binarized: "
            "choose binarize static or stochastic, or another likelihood"
        )
    if likelihood in COUNTED and data.num_levels is None:
        raise ValueError(f"likelihood must fit continuous grey levels, got {likelihood} for {data.name}")
    if recipe.scale is not None and likelihood not in SCALED:
        raise ValueError(f"scale must be None unless likelihood is {' or '.join(SCALED)}, got {recipe.scale}")
    if data.train_size is not None and recipe.batch_size > data.train_size:
        raise ValueError(
            f"batch_size must be at most the number of training images, {data.train_size}, got {recipe.batch_size}"
        )
    if recipe.conditional and getattr(data, "y_train", None) is None:
        raise ValueError(f"conditional must be False for images without labels, got True for {data.name}")


def typed(field, value):
    """The value as the field's type says: an integer is taken for a float, a list for a tuple; all else is refused."""
    options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    if value is None and type(None) in options:
        return None
    kind = typing.get_origin(options[0]) or options[0]
    if kind is tuple:
        if isinstance(value, list | tuple) and all(type(v) is int for v in value):
            return tuple(value)
        raise ValueError(f"{field.name} must be a list of integers, got {value!r}")
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"{field.name} must be of type {kind.__name__}, got {value!r}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{field.name} must be finite, got {value}")
    return value
