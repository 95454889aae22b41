"""A recipe names the pieces of a model and how it is trained; `build` is the only assembler."""

import dataclasses
import math
import types
import typing

import tf_keras as tfk

from tfvae import data as data_module
from tfvae import likelihoods, networks, objectives, posteriors, priors
from tfvae.vae import VAE

NETWORKS = ("mlp", "conv")
POSTERIORS = {"diagonal_normal": posteriors.diagonal_normal, "full_normal": posteriors.full_normal}
PRIORS = {"standard_normal": priors.standard_normal, "normal_mixture": priors.normal_mixture}
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
_SCALED = ("normal", "laplace")
_COUNTED = ("binomial", "discretized_logistic", "logistic_mixture")
_SAMPLED = {
    "iwae": objectives.iwae,
    "dreg_iwae": objectives.dreg_iwae,
    "stl_elbo": objectives.stl_elbo,
    "score_function_elbo": objectives.score_function_elbo,
    "wake_phase": objectives.wake_phase,
}
OBJECTIVES = ("elbo", "beta_elbo", *_SAMPLED)
SCHEDULES = ("constant", "cosine")
_LEAST = {
    "latent_size": 1,
    "num_components": 1,
    "likelihood_components": 1,
    "num_samples": 1,
    "epochs": 1,
    "batch_size": 1,
    "beta": 0,
    "warmup_steps": 0,
    "free_bits": 0,
    "validation_size": 0,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that makes a training run, as plain values: the same recipe gives the same weights.

    Attributes:
        data, binarize, validation_size: see `data.load`.
        event_shape: of one image; filled in from the data by `complete`.
        likelihood: a name of `LIKELIHOODS`; None for the one that fits the data (`complete`).
        total_count: of `binomial` and the logistics; filled in from the data.
        scale: of `normal` and `laplace`; None to learn it.
        likelihood_components: of `logistic_mixture`.
        posterior, prior, num_components, latent_size, network, hidden_sizes, filters, activation: the model.
        objective, beta, warmup_steps, free_bits, num_samples: what is maximised; beta and the two after it are for
            `beta_elbo`.
        epochs, batch_size, learning_rate, schedule ("cosine" falls to a hundredth of the rate), jit: the training.
        seed: of weights, shuffling, binarization and noise.

    Raises:
        ValueError: names the field, the rule and the value.
    """

    data: str = "digits"
    binarize: str | None = None
    validation_size: int | None = None
    event_shape: tuple[int, ...] | None = None
    likelihood: str | None = None
    total_count: int | None = None
    scale: float | None = None
    likelihood_components: int = 5
    posterior: str = "diagonal_normal"
    prior: str = "standard_normal"
    num_components: int = 10
    latent_size: int = 8
    network: str = "mlp"
    hidden_sizes: tuple[int, ...] = (256, 256)
    filters: tuple[int, ...] = (32, 64)
    activation: str = "tanh"
    objective: str = "elbo"
    beta: float = 1.0
    warmup_steps: int = 0
    free_bits: float = 0.0
    num_samples: int = 1
    epochs: int = 150
    batch_size: int = 64
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    jit: bool = False
    seed: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field, getattr(self, field.name)))
        for name, names in (
            ("binarize", data_module.BINARIZATIONS),
            ("likelihood", (None, *LIKELIHOODS)),
            ("posterior", tuple(POSTERIORS)),
            ("prior", tuple(PRIORS)),
            ("network", NETWORKS),
            ("objective", OBJECTIVES),
            ("schedule", SCHEDULES),
        ):
            data_module.check_name(name, getattr(self, name), names)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for name in ("learning_rate", "scale"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        for name in ("hidden_sizes", "filters"):
            if any(size < 1 for size in getattr(self, name)):
                raise ValueError(f"{name} must hold sizes of at least 1, got {getattr(self, name)}")
        try:
            tfk.activations.get(self.activation)
        except ValueError:
            raise ValueError(f"activation must be one of Keras' activations, got {self.activation!r}") from None
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be in [0, 2^31), got {self.seed}")
        if self.objective == "score_function_elbo" and self.num_samples < 2:
            raise ValueError(f"num_samples must be at least 2 for score_function_elbo, got {self.num_samples}")
        if self.objective != "beta_elbo":
            for name, default in (("beta", 1.0), ("warmup_steps", 0), ("free_bits", 0.0)):
                value = getattr(self, name)
                if value != default:
                    raise ValueError(f"{name} must be {default} unless objective is beta_elbo, got {value}")

    def complete(self, data):
        """This recipe with what only the data know: event shape, likelihood, total count.

        Args:
            data: an `ImageData` or a `Stream`.

        Raises:
            ValueError: a likelihood, scale or batch size that does not fit.
        """
        likelihood = self.likelihood or _likelihood_for(data)
        if likelihood == "bernoulli" and data.num_levels != 1:
            raise ValueError(
                f"likelihood must fit the data's grey levels, got bernoulli for {data.name}, which is not binarized: "
                "choose binarize static or stochastic, or another likelihood"
            )
        if likelihood in _COUNTED and data.num_levels is None:
            raise ValueError(f"likelihood must fit continuous grey levels, got {likelihood} for {data.name}")
        if self.scale is not None and likelihood not in _SCALED:
            raise ValueError(f"scale must be None unless likelihood is {' or '.join(_SCALED)}, got {self.scale}")
        if data.num_images is not None and self.batch_size > data.num_images:
            raise ValueError(
                f"batch_size must be at most the number of training images, {data.num_images}, got {self.batch_size}"
            )
        total_count = data.num_levels if likelihood in _COUNTED else None
        return dataclasses.replace(self, event_shape=data.event_shape, likelihood=likelihood, total_count=total_count)

    def load_data(self):
        """The `ImageData` that the recipe names.

        Raises:
            ValueError: it is not one that lies in memory, as runs measure on arrays.
        """
        data_module.check_name("data", self.data, data_module.NAMES)
        return data_module.load(self.data, self.binarize, self.seed, validation_size=self.validation_size)

    def to_dict(self):
        """Plain values that JSON can hold."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`.

        Raises:
            ValueError: an unknown field (with the nearest known), or a bad value.
        """
        if not isinstance(values, dict):
            raise ValueError(f"recipe must be a mapping of fields to values, got {type(values).__name__}")
        for name in values:
            data_module.check_name("recipe field", name, [field.name for field in dataclasses.fields(cls)])
        return cls(**values)


def build(recipe):
    """The untrained `VAE` of a complete recipe; equal recipes give equal weights.

    Raises:
        ValueError: the recipe lacks what `Recipe.complete` fills in.
    """
    if recipe.event_shape is None or recipe.likelihood is None:
        raise ValueError("recipe must know event_shape and likelihood, got None: call recipe.complete(data) first")
    seeds = [(1000 * recipe.seed + 100 * i) % 2**31 for i in range(5)]
    encoder_body, decoder_body = _BODIES[recipe.network](recipe, seeds)
    likelihood = {"scale": recipe.scale} if recipe.likelihood in _SCALED else {}
    if recipe.likelihood in _COUNTED:
        likelihood["total_count"] = recipe.total_count
    if recipe.likelihood == "logistic_mixture":
        likelihood["num_components"] = recipe.likelihood_components
    prior = {"num_components": recipe.num_components, "seed": seeds[4]} if recipe.prior == "normal_mixture" else {}
    vae = VAE(
        encoder=POSTERIORS[recipe.posterior](encoder_body, recipe.latent_size, seed=seeds[2]),
        decoder=LIKELIHOODS[recipe.likelihood](decoder_body, recipe.event_shape, seed=seeds[3], **likelihood),
        prior=PRIORS[recipe.prior](recipe.latent_size, **prior),
        seed=recipe.seed,
    )
    vae.recipe = recipe
    return vae


def compile(vae, recipe, num_images):
    """Compiles `vae` with the recipe's optimizer, schedule and objective.

    Args:
        num_images: in the training set; the schedule's length is in updates.
    """
    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        num_updates = recipe.epochs * math.ceil(num_images / recipe.batch_size)
        rate = tfk.optimizers.schedules.CosineDecay(rate, num_updates, alpha=0.01)
    vae.compile(tfk.optimizers.Adam(rate), objective_of(recipe), jit_compile=recipe.jit or None)


def objective_of(recipe):
    """The recipe's objective."""
    if recipe.objective in _SAMPLED:
        return _SAMPLED[recipe.objective](recipe.num_samples)
    if recipe.objective == "elbo":
        return objectives.weighted_elbo(num_samples=recipe.num_samples)
    return objectives.beta_elbo(
        recipe.beta,
        warmup_steps=recipe.warmup_steps,
        free_bits=recipe.free_bits,
        num_samples=recipe.num_samples,
    )


def _mlp_bodies(recipe, seeds):
    return (
        networks.mlp(recipe.event_shape, recipe.hidden_sizes, recipe.activation, seed=seeds[0], name="encoder_mlp"),
        networks.mlp(
            (recipe.latent_size,), recipe.hidden_sizes[::-1], recipe.activation, seed=seeds[1], name="decoder_mlp"
        ),
    )


def _conv_bodies(recipe, seeds):
    return (
        networks.conv(recipe.event_shape, recipe.filters, activation=recipe.activation, seed=seeds[0]),
        networks.transposed_conv(
            (recipe.latent_size,), recipe.event_shape, recipe.filters[::-1], activation=recipe.activation, seed=seeds[1]
        ),
    )


_BODIES = {"mlp": _mlp_bodies, "conv": _conv_bodies}


def _likelihood_for(data):
    return {None: "normal", 1: "bernoulli"}.get(data.num_levels, "binomial")


def _typed(field, value):
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
