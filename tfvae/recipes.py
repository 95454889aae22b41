"""A recipe names the pieces of a model and how it is trained; `build` is the only assembler."""

import dataclasses
import functools
import math

import numpy as np
import tf_keras as tfk

from tfvae import data as data_module
from tfvae import fields, latents, networks, objectives
from tfvae.conditional import ConditionalVAE
from tfvae.vae import VAE


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that makes a training run, as plain values: the same recipe gives the same weights.

    Attributes:
        data, binarize, validation_size, image_size, factor_sizes: see `data.load`.
        event_shape: of one image; filled in from the data by `complete`.
        conditional: whether encoder and decoder read the images' labels: a `ConditionalVAE`.
        num_classes: of a conditional model; filled in from the data.
        likelihood: a name of `fields.LIKELIHOODS`; None for the one that fits the data (`complete`).
        total_count: of `binomial` and the logistics; filled in from the data.
        scale: of `normal` and `laplace`; None to learn it.
        likelihood_components: of `logistic_mixture`.
        posterior, prior, num_components, latent_size, network, activation: the model.
        num_pseudo_inputs: of the `vamp` prior.
        flow_steps, flow_hidden_sizes: of `iaf`, `coupling` and the `flow` prior.
        latent_sizes: of `bottom_up` and `top_down`, from the data upwards; latent_size is then their sum.
        layer_hidden_sizes: of the networks between layers of latents.
        hidden_sizes: of the mlp. filters, kernel_size, dense_sizes: of the conv; all as the encoder has them.
        objective, num_samples: what is maximised.
        beta: of `beta_elbo` (weight of the KL) and `tc_elbo` (of the total correlation).
        gamma: of `capacity_elbo` (weight of the KL's distance from the capacity) and `factor_elbo` (of the total
            correlation).
        capacity: of `capacity_elbo`, in nats.
        warmup_steps: updates over which the beta of `beta_elbo`, the capacity of `capacity_elbo` or the number of
            samples of `iwae` and `dreg_iwae` grows.
        free_bits: of `beta_elbo`.
        discriminator_sizes: hidden sizes of `factor_elbo`'s discriminator.
        dip_variant (1 or 2), dip_off_diagonal, dip_diagonal: of `dip_elbo`.
        epochs, batch_size, optimizer, learning_rate, schedule ("cosine" falls to a hundredth of the rate), jit: the
            training; `muon.Muon` for large batches, jit None compiles with XLA where `loop.xla_pays`.
        averaged_epochs: the last so many, whose weights are averaged in the end: see `averaging`.
        mean_bias: start the decoder's last bias at the training images' mean: see `start_at_mean`.
        seed: of weights, shuffling, binarization and noise.

    Raises:
        ValueError: names the field, the rule and the value.
    """

    data: str = "digits"
    binarize: str | None = None
    validation_size: int | None = None
    image_size: int | None = None
    factor_sizes: tuple[int, ...] | None = None
    event_shape: tuple[int, ...] | None = None
    conditional: bool = False
    num_classes: int | None = None
    likelihood: str | None = None
    total_count: int | None = None
    scale: float | None = None
    likelihood_components: int = 5
    posterior: str = "diagonal_normal"
    prior: str = "standard_normal"
    num_components: int = 10
    num_pseudo_inputs: int = 500
    flow_steps: int = 4
    flow_hidden_sizes: tuple[int, ...] = (128,)
    latent_sizes: tuple[int, ...] | None = None
    layer_hidden_sizes: tuple[int, ...] = (100, 100)
    latent_size: int = 8
    network: str = "mlp"
    hidden_sizes: tuple[int, ...] = (256, 256)
    filters: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    dense_sizes: tuple[int, ...] = ()
    activation: str = "tanh"
    objective: str = "elbo"
    beta: float = 1.0
    gamma: float = 10.0
    capacity: float = 25.0
    warmup_steps: int = 0
    free_bits: float = 0.0
    discriminator_sizes: tuple[int, ...] = (1000,) * 6
    dip_variant: int = 2
    dip_off_diagonal: float = 10.0
    dip_diagonal: float = 10.0
    num_samples: int = 1
    epochs: int = 150
    batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    jit: bool | None = None
    averaged_epochs: int = 0
    mean_bias: bool = False
    seed: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, fields.typed(field, getattr(self, field.name)))
        fields.check(self)
        if self.latent_sizes is not None:
            object.__setattr__(self, "latent_size", sum(self.latent_sizes))

    def complete(self, data):
        """This recipe with what only the data know: event shape, likelihood, total count, number of classes.

        Args:
            data: an `ImageData`, a `FactorData` or a `Stream`.

        Raises:
            ValueError: a likelihood, scale or batch size that does not fit; a conditional model without labels.
        """
        likelihood = self.likelihood or _likelihood_for(data)
        fields.check_fits(self, likelihood, data)
        return dataclasses.replace(
            self,
            event_shape=data.event_shape,
            likelihood=likelihood,
            total_count=data.num_levels if likelihood in fields.COUNTED else None,
            num_classes=data.num_classes if self.conditional else None,
        )

    def load_data(self):
        """The `ImageData` or `FactorData` that the recipe names.

        Raises:
            ValueError: it is not one that lies in memory, as runs measure on arrays.
        """
        data_module.check_name("data", self.data, data_module.NAMES)
        return data_module.load(
            self.data,
            self.binarize,
            self.seed,
            validation_size=self.validation_size,
            image_size=self.image_size,
            factor_sizes=self.factor_sizes,
        )

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
    filled_in = ("event_shape", "likelihood", "num_classes") if recipe.conditional else ("event_shape", "likelihood")
    missing = " and ".join(name for name in filled_in if getattr(recipe, name) is None)
    if missing:
        raise ValueError(f"recipe must know {missing}, got None: call recipe.complete(data) first")
    seeds = [(1000 * recipe.seed + 100 * i) % 2**31 for i in range(5)]
    encoder_body, decoder_body = _BODIES[recipe.network](recipe, seeds)
    likelihood = {"scale": recipe.scale} if recipe.likelihood in fields.SCALED else {}
    if recipe.likelihood in fields.COUNTED:
        likelihood["total_count"] = recipe.total_count
    if recipe.likelihood == "logistic_mixture":
        likelihood["num_components"] = recipe.likelihood_components
    if recipe.latent_sizes is not None:
        decoder_body = networks.first(decoder_body, of=_num_classes(recipe) + recipe.latent_size)
    encoder, prior = latents.build(recipe, encoder_body, seeds[2], seeds[4])
    model = functools.partial(ConditionalVAE, num_classes=recipe.num_classes) if recipe.conditional else VAE
    vae = model(
        encoder=encoder,
        decoder=fields.LIKELIHOODS[recipe.likelihood](decoder_body, recipe.event_shape, seed=seeds[3], **likelihood),
        prior=prior,
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
    vae.compile(fields.OPTIMIZERS[recipe.optimizer](rate), objective_of(recipe, num_images), jit_compile=recipe.jit)


def start_at_mean(vae, data):
    """Sets the bias of the decoder's last layer to that of the best model that ignores z: the training images' mean.

    For probabilities the logit of the mean, which is kept in [0.001, 0.999], as Burda et al. do
    (2015, arXiv 1509.00519, in their code). A convolution has a bias a channel, and gets the channel's mean.

    Args:
        vae: made by `build`, of a likelihood that has such a bias.
        data: an `ImageData` or a `FactorData`.
    """
    bias = vae.decoder.params.bias
    mean = data.mean_image().reshape(-1, bias.shape[0]).mean(axis=0)
    bias.assign(fields.BIASES[vae.recipe.likelihood](np.clip(mean, 0.001, 0.999)))


def objective_of(recipe, num_images=None):
    """The recipe's objective.

    Args:
        num_images: in the training set; `tc_elbo` alone needs it.
    """
    return _MAKERS[recipe.objective](recipe, num_images)


_MAKERS = {
    "elbo": lambda r, n: objectives.weighted_elbo(num_samples=r.num_samples),
    "beta_elbo": lambda r, n: objectives.beta_elbo(
        r.beta, warmup_steps=r.warmup_steps, free_bits=r.free_bits, num_samples=r.num_samples
    ),
    "capacity_elbo": lambda r, n: objectives.capacity_elbo(
        r.gamma, r.capacity, annealing_steps=r.warmup_steps, num_samples=r.num_samples
    ),
    "tc_elbo": lambda r, n: objectives.tc_elbo(n, r.beta, num_samples=r.num_samples),
    "factor_elbo": lambda r, n: objectives.factor_elbo(
        r.gamma, r.latent_size, hidden_sizes=r.discriminator_sizes, seed=r.seed, num_samples=r.num_samples
    ),
    "dip_elbo": lambda r, n: objectives.dip_elbo(
        r.dip_off_diagonal, r.dip_diagonal, variant=r.dip_variant, num_samples=r.num_samples
    ),
    "iwae": lambda r, n: objectives.iwae(r.num_samples, warmup_steps=r.warmup_steps),
    "dreg_iwae": lambda r, n: objectives.dreg_iwae(r.num_samples, warmup_steps=r.warmup_steps),
    "stl_elbo": lambda r, n: objectives.stl_elbo(r.num_samples),
    "score_function_elbo": lambda r, n: objectives.score_function_elbo(r.num_samples),
    "wake_phase": lambda r, n: objectives.wake_phase(r.num_samples),
}


def _num_classes(recipe):
    """Numbers that encoder and decoder read of the label."""
    return recipe.num_classes or 0


def _decoded_size(recipe):
    """Latents that the decoder reads, and the label before them."""
    return _num_classes(recipe) + (recipe.latent_size if recipe.latent_sizes is None else recipe.latent_sizes[0])


def _mlp_bodies(recipe, seeds):
    shape = (recipe.num_classes + math.prod(recipe.event_shape),) if recipe.conditional else recipe.event_shape
    return (
        networks.mlp(shape, recipe.hidden_sizes, recipe.activation, seed=seeds[0], name="encoder_mlp"),
        networks.mlp(
            (_decoded_size(recipe),), recipe.hidden_sizes[::-1], recipe.activation, seed=seeds[1], name="decoder_mlp"
        ),
    )


def _conv_bodies(recipe, seeds):
    *size, channels = recipe.event_shape
    layers = {"kernel_size": recipe.kernel_size, "activation": recipe.activation}
    shape = (*size, _num_classes(recipe) + channels)
    encoder = networks.conv(shape, recipe.filters, dense_sizes=recipe.dense_sizes, seed=seeds[0], **layers)
    return (
        networks.labelled(encoder, recipe.event_shape) if recipe.conditional else encoder,
        networks.transposed_conv(
            (_decoded_size(recipe),),
            recipe.event_shape,
            recipe.filters[::-1],
            dense_sizes=recipe.dense_sizes[::-1],
            seed=seeds[1],
            **layers,
        ),
    )


_BODIES = {"mlp": _mlp_bodies, "conv": _conv_bodies}


def _likelihood_for(data):
    return {None: "normal", 1: "bernoulli"}.get(data.num_levels, "binomial")
