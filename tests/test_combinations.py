"""All pieces compose: each combination trains a step, has a gradient everywhere, is saved and loaded.

Their exports are in test_loaders.py.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_vae

import tfvae
from tfvae.support import pieces

DECLARED = {kind: pieces.of_kind(kind) for kind in ("likelihood", "posterior", "prior", "network")}
# The pieces that meet every likelihood; all others that are declared meet each other below, through z alone.
POSTERIORS = ("diagonal_normal", "full_normal")
PRIORS = ("standard_normal", "normal_mixture")
NETWORKS = tuple(DECLARED["network"])
LIKELIHOODS = tuple(
    (name, scale)
    for name, piece in DECLARED["likelihood"].items()
    for scale in ((0.5, None) if "scale" in piece.fields() else (None,))
)
FACTORS = (LIKELIHOODS, POSTERIORS, PRIORS, NETWORKS)

# Two opposite rows for each likelihood; the offsets differ, so that the other factors meet in every pair too.
PAIRWISE = [
    (likelihood, POSTERIORS[i], PRIORS[(i + n) % 2], NETWORKS[(i + n // 2) % 2])
    for n, likelihood in enumerate(LIKELIHOODS)
    for i in (0, 1)
]
# Each likelihood once, with every pair of the others, for what takes long: compiling and exporting.
EVERY_PIECE = [row for i, row in enumerate(PAIRWISE) if i % 8 in (0, 3, 5, 6)]

# Every other posterior with every prior, and a hierarchy's two that come together. A likelihood meets them through z
# alone, as it meets those above.
LAYERED = {
    kind: [name for name, piece in DECLARED[kind].items() if "hierarchical" in piece.traits] for kind in DECLARED
}
FLAT = itertools.product(*([n for n in DECLARED[kind] if n not in LAYERED[kind]] for kind in ("posterior", "prior")))
LATENTS = [pair for pair in FLAT if not (pair[0] in POSTERIORS and pair[1] in PRIORS)]
LATENTS += itertools.product(LAYERED["posterior"], LAYERED["prior"])
# Each of those kinds once.
KINDS = [("iaf", "vamp"), ("coupling", "flow"), *LATENTS[-2:]]


def fields(likelihood, posterior, prior, network):
    """Of a small recipe."""
    name, scale = likelihood
    layers = {"latent_sizes": (2, 2), "layer_hidden_sizes": (8,)} if prior == "hierarchical" else {}
    pieces = {"likelihood": name, "scale": scale, "posterior": posterior, "prior": prior, "network": network}
    return pieces | layers


def test_the_covering_set_covers_every_pair():
    for a, b in itertools.combinations(range(len(FACTORS)), 2):
        assert {(row[a], row[b]) for row in PAIRWISE} == set(itertools.product(FACTORS[a], FACTORS[b]))
        assert a == 0 or {(row[a], row[b]) for row in EVERY_PIECE} == set(itertools.product(FACTORS[a], FACTORS[b]))
    assert [row[0] for row in EVERY_PIECE] == list(LIKELIHOODS)


def walk(images, tmp_path, likelihood, posterior, prior, network, eagerly=False):
    vae = small_vae(images, **fields(likelihood, posterior, prior, network))
    vae.run_eagerly = eagerly
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
    walk(images_for(row[0], digits, binary_digits), tmp_path, *row, eagerly=row not in EVERY_PIECE)


@pytest.mark.parametrize("row", enumerate(LATENTS), ids=str)
def test_latents_compose(row, digits, tmp_path):
    i, latents = row
    # Compiling takes longest, and is no other for another pair of the same pieces.
    walk(digits, tmp_path, ("binomial", None), *latents, NETWORKS[i % 2], eagerly=latents not in KINDS)


@pytest.mark.parametrize("latents", KINDS, ids=str)
def test_latents_compile_with_xla(latents, digits):
    vae, x = small_vae(digits, **fields(("binomial", None), *latents, "mlp")), digits.x_train[:8]

    def log_w(z, qz_x):
        return vae.decode(z).log_prob(x) + vae.prior.log_prob(z) - qz_x.log_prob(z)

    @tf.function(jit_compile=True)
    def compiled():
        with tf.GradientTape() as tape:
            qz_x = vae.encode(x)
            z = qz_x.sample(3, seed=[0, 1])
            values = log_w(z, qz_x)
        return z, values, tape.gradient(values, vae.trainable_variables)

    z, values, gradients = compiled()
    np.testing.assert_allclose(values, log_w(z, vae.encode(x)), rtol=1e-5)
    assert all(np.all(np.isfinite(gradient)) and np.any(gradient != 0) for gradient in gradients)


EVERY = [
    *itertools.product(*FACTORS),
    *((a, *latents, b) for a in LIKELIHOODS for latents in LATENTS for b in NETWORKS),
]


@pytest.mark.product
@pytest.mark.parametrize("row", EVERY, ids=str)
def test_all_pieces_compose(row, digits, binary_digits, tmp_path):
    walk(images_for(row[0], digits, binary_digits), tmp_path, *row)
