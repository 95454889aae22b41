"""All pieces compose: each combination trains a step, has a gradient everywhere, is saved and loaded.

Their exports are in test_loaders.py.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_vae

import tfvae

POSTERIORS = ("diagonal_normal", "full_normal")
PRIORS = ("standard_normal", "normal_mixture")
NETWORKS = ("mlp", "conv")
LIKELIHOODS = (
    *(("bernoulli", None), ("binomial", None), ("normal", 0.5), ("normal", None), ("laplace", None)),
    *(("normal_per_image", None), ("normal_per_pixel", None), ("normal_optimal", None)),
    *(("continuous_bernoulli", None), ("discretized_logistic", None), ("logistic_mixture", None)),
)
FACTORS = (LIKELIHOODS, POSTERIORS, PRIORS, NETWORKS)

# Two opposite rows for each likelihood; the offsets differ, so that the other factors meet in every pair too.
PAIRWISE = [
    (likelihood, POSTERIORS[i], PRIORS[(i + n) % 2], NETWORKS[(i + n // 2) % 2])
    for n, likelihood in enumerate(LIKELIHOODS)
    for i in (0, 1)
]


def test_the_covering_set_covers_every_pair():
    for a, b in itertools.combinations(range(len(FACTORS)), 2):
        assert {(row[a], row[b]) for row in PAIRWISE} == set(itertools.product(FACTORS[a], FACTORS[b]))


def walk(images, tmp_path, likelihood, posterior, prior, network):
    name, scale = likelihood
    vae = small_vae(images, likelihood=name, scale=scale, posterior=posterior, prior=prior, network=network)
    x = images.x_train[:32]
    before = [v.numpy() for v in vae.trainable_variables]
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(vae.objective(vae, x, seed=0, step=0).objective)
    for variable, gradient in zip(vae.trainable_variables, tape.gradient(loss, vae.trainable_variables), strict=True):
        assert gradient is not None and np.all(np.isfinite(gradient)) and np.any(gradient != 0), variable.name
    vae.fit(x, batch_size=32, verbose=0)
    for old, variable in zip(before, vae.trainable_variables, strict=True):
        assert not np.array_equal(old, variable), variable.name
    tfvae.save(vae, tmp_path / "model")
    loaded = tfvae.load(tmp_path / "model")
    np.testing.assert_array_equal(vae.reconstruct(x), loaded.reconstruct(x))
    np.testing.assert_array_equal(vae.generate(3), loaded.generate(3))


def images_for(likelihood, digits, binary_digits):
    return binary_digits if likelihood[0] == "bernoulli" else digits


@pytest.mark.parametrize("row", PAIRWISE, ids=str)
def test_pairs_of_pieces_compose(row, digits, binary_digits, tmp_path):
    walk(images_for(row[0], digits, binary_digits), tmp_path, *row)


@pytest.mark.product
@pytest.mark.parametrize("row", list(itertools.product(*FACTORS)), ids=str)
def test_all_pieces_compose(row, digits, binary_digits, tmp_path):
    walk(images_for(row[0], digits, binary_digits), tmp_path, *row)
