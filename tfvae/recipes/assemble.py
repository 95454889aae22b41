"""From a recipe to a model: `build` is the only assembler."""

import contextlib
import functools
import math
import time
from typing import Annotated

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from tfvae import networks
from tfvae.conditional import ConditionalVAE
from tfvae.objectives import Objective
from tfvae.recipes.recipe import Recipe
from tfvae.support import checks, pieces
from tfvae.support.rules import Count, TestSet, checked
from tfvae.train import VAE


@checked
def build(recipe: Recipe) -> VAE:
    """The untrained `VAE` of a complete recipe (ValueError for one that is not); equal recipes give equal weights.

    >>> vae = tfvae.build(tfvae.Recipe(latent_size=2, event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> vae.generate(3).shape
    TensorShape([3, 8, 8, 1])
    """
    filled_in = ("event_shape", "likelihood", *["num_classes"] * recipe.conditional)
    if missing := " and ".join(name for name in filled_in if getattr(recipe, name) is None):
        raise ValueError(f"recipe must know {missing}, got None: call recipe.complete(data) first")
    seeds = [(1000 * recipe.seed + 100 * i) % 2**31 for i in range(5)]
    num_classes = recipe.num_classes or 0  # numbers that encoder and decoder read of the label
    num_latents = recipe.latent_size if recipe.latent_sizes is None else recipe.latent_sizes[0]
    shapes = {"event_shape": recipe.event_shape, "num_latents": num_latents, "num_classes": num_classes}
    encoder_network, decoder_network = _piece("network", recipe).build(recipe, **shapes, seeds=seeds)
    if recipe.latent_sizes is not None:
        decoder_network = networks.first(decoder_network, of=num_classes + recipe.latent_size)
    encoder, prior = _latents(recipe, encoder_network, seeds[2], seeds[4])
    given = {"network": decoder_network, "total_count": recipe.total_count, "seed": seeds[3]}
    decoder = _piece("likelihood", recipe).build(recipe, **given)
    model = functools.partial(ConditionalVAE, num_classes=recipe.num_classes) if recipe.conditional else VAE
    vae = model(encoder=encoder, decoder=decoder, prior=prior, seed=recipe.seed)
    vae.recipe = recipe
    return vae


def _latents(recipe, network, seed, prior_seed):
    """q(z|x) and p(z): a posterior can be made of the prior (`top_down`), or a prior of the posterior (`vamp`)."""
    posterior, prior = _piece("posterior", recipe), _piece("prior", recipe)
    if "prior" in posterior.parameters:
        pz = prior.build(recipe, seed=prior_seed)
        return posterior.build(recipe, network=network, prior=pz, seed=seed), pz
    encoder = posterior.build(recipe, network=network, seed=seed)
    return encoder, prior.build(recipe, encoder=encoder, seed=prior_seed)


@checked
def least_memory(recipe: Recipe, num_weights: Annotated[int, functools.partial(checks.count, least=0, most=2**62)]):
    """Bytes that a training takes at least.

    Weights count four times, with their gradients and an optimizer's two moments; outputs, those of a step's samples
    before and after the likelihood, twice.

    >>> tfvae.recipes.least_memory(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli", batch_size=100), 1000)
    67200
    """
    outputs = recipe.batch_size * recipe.num_samples * math.prod(recipe.event_shape)
    return 4 * (4 * num_weights + 2 * outputs)


@checked
def least_seconds(vae, num_examples: Count) -> float:
    """Seconds that training on so many examples takes at least: the matrix products of its layers at full pace.

    Three products a layer (forwards, and for two gradients), two for the encoder's first, at the pace of a large
    product, which is timed. Small layers and batches take many times as long ("share of peak" in benchmarks/README.md).

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.recipes.least_seconds(vae, 2000) > tfvae.recipes.least_seconds(vae, 10) > 0
    True

    ValueError for a model that is not one of `build`.
    """
    if vae.recipe is None:
        raise ValueError("vae must be one of recipes.build, got one without a recipe")
    size = 8192 if tf.config.list_logical_devices("GPU") else 1024
    square, taken = tf.ones([size, size]), []
    for _ in range(4):  # the first starts threads
        started = time.perf_counter()
        float(tf.matmul(square, square)[0, 0])
        taken.append(time.perf_counter() - started)
    return num_examples * _products_of(vae) * min(taken) / (2 * size**3)


def _products_of(vae):
    """Operations of an example in the products of a step, at least."""

    def forwards(part):
        kernels = [(layer, layer.kernel) for layer in part.submodules if hasattr(layer, "kernel")]
        return [2 * math.prod(kernel.shape) * _places(layer) for layer, kernel in kernels]

    encoder, decoder = forwards(vae.encoder), forwards(vae.decoder) + forwards(vae.prior)
    num_samples = 1 if vae.recipe.warmup_steps else vae.recipe.num_samples  # which may grow from 1
    return 3 * sum(encoder) - max(encoder, default=0) + 3 * num_samples * sum(decoder)


def _places(layer):
    """At how many places a kernel is multiplied, at least: 1, or the pixels of a convolution's smaller side."""
    if len(layer.kernel.shape) < 4:
        return 1
    return min(math.prod(shape[1:-1]) for shape in (layer.input_shape, layer.output_shape))


@checked
@contextlib.contextmanager
def within_memory(recipe: Recipe):
    """Raises ValueError inside, before they are made, for weights or outputs that this machine's memory cannot hold.

    >>> recipe = tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli", hidden_sizes=(10**5, 10**6))
    >>> with tfvae.recipes.within_memory(recipe):
    ...     tfvae.build(recipe)
    Traceback (most recent call last):
    ValueError: recipe must fit into the memory of ... GB, got one that takes at least ... GB: --force to try
    """
    limit, num_weights = checks.memory(), 0

    def check():
        if (needed := least_memory(recipe, num_weights)) > limit:
            rule = f"recipe must fit into the memory of {limit / 1e9:.1f} GB"
            raise ValueError(f"{rule}, got one that takes at least {needed / 1e9:.1f} GB: --force to try")

    def create(next_creator, **kwargs):
        nonlocal num_weights
        if kwargs["shape"] is not None:
            num_weights += tf.TensorShape(kwargs["shape"]).num_elements()
            check()
        return next_creator(**kwargs)

    check()
    with tf.variable_creator_scope(create):
        yield


@checked
def compile(vae: VAE, recipe: Recipe, num_images: int) -> None:
    """Compiles `vae` with the recipe's optimizer, objective and schedule, as long as `epochs` of `num_images`.

    >>> recipe = tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli")
    >>> tfvae.recipes.compile(tfvae.build(recipe), recipe, num_images=1000)
    """
    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        num_updates = recipe.epochs * math.ceil(num_images / recipe.batch_size)
        rate = tfk.optimizers.schedules.CosineDecay(rate, num_updates, alpha=0.01)
    optimizer = _piece("optimizer", recipe).build(recipe, learning_rate=rate)
    vae.compile(optimizer, objective_of(recipe, num_images), jit_compile=recipe.jit)


@checked
def objective_of(recipe: Recipe, num_images: int | None = None) -> Objective:
    """The recipe's objective; only `tc_elbo` needs `num_images`, of the training set.

    >>> tfvae.recipes.objective_of(tfvae.Recipe(objective="iwae", num_samples=5)).num_samples
    5
    """
    given = {"num_data": num_images, "num_samples": recipe.num_samples, "seed": recipe.seed}
    return _piece("objective", recipe).build(recipe, **given)


@checked
def start_at_mean(vae: VAE, data: TestSet) -> None:
    """Sets the decoder's last bias to that of the best model that ignores z: the training images' mean.

    For probabilities it is the logit of the mean, clipped to [0.001, 0.999], as in the code of Burda et al.
    (2015, arXiv 1509.00519). A convolution has one bias per channel: the channel's mean. The vae is one of `build`, of
    a likelihood that has such a bias.

    >>> digits = tfvae.data.load("digits")
    >>> vae = tfvae.build(tfvae.Recipe().complete(digits))
    >>> tfvae.recipes.start_at_mean(vae, digits)
    """
    bias = vae.decoder.params.bias
    mean = np.clip(data.mean_image().reshape(-1, bias.shape[0]).mean(axis=0), 0.001, 0.999)
    bias.assign(np.log(mean / (1 - mean)) if "logit_bias" in _piece("likelihood", vae.recipe).traits else mean)


def _piece(kind, recipe):
    return pieces.of_kind(kind)[getattr(recipe, kind)]
