"""Every likelihood in float32 against float64, over parameters of any size: masses, densities and gradients."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tfvae import likelihoods, networks

LOGITS = np.array([-100, -30, -16, -6, -1.3, -0.01, 0, 0.4, 2, 5, 16, 20, 30, 100])


def fed(make, parameters):
    """log p(x|z) as a function of the parameters [..., P] of one pixel, through the likelihood's own layers."""
    likelihood = make(networks.mlp((1,), [1]), (1, 1, 1))
    return lambda params: likelihood.distribution(tf.reshape(tf.convert_to_tensor(params), [-1, 1, 1, parameters]))


def log_binomial(n, x, logits):
    k = np.round(n * x)
    coefficient = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return coefficient - k * np.logaddexp(0, -logits) - (n - k) * np.logaddexp(0, logits)


@pytest.mark.parametrize(("n", "error"), [(1, 1e-6), (16, 1e-6), (255, 5e-6)])
def test_a_binomial_sums_to_one_and_has_its_gradient(n, error):
    levels = np.linspace(0, 1, n + 1)
    px = fed(lambda *args: likelihoods.binomial(*args, n), 1)
    logits = tf.constant(np.repeat(LOGITS, n + 1), tf.float32)
    x = np.tile(levels, len(LOGITS)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = px(logits).log_prob(x.reshape(-1, 1, 1, 1))
    expected = log_binomial(n, x.astype(np.float64), logits.numpy().astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=3e-5 if n == 255 else 3e-6)
    masses = np.exp(found.numpy().astype(np.float64)).reshape(len(LOGITS), -1)
    np.testing.assert_allclose(masses.sum(axis=1), 1, atol=error)
    k, wide = np.round(n * x), np.float64(logits)
    exact = k * special.expit(-wide) - (n - k) * special.expit(wide)
    gradient = tape.gradient(found, logits).numpy()
    np.testing.assert_allclose(gradient, exact, rtol=1e-5, atol=2e-7 * n)
    assert np.all((gradient != 0) | (np.abs(exact) < 1e-36))


def test_a_white_pixel_at_a_large_logit_is_neither_sure_nor_stuck():
    logits = tf.constant([16.0, 20.0, 30.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = likelihoods.BinomialProportion(255, logits).log_prob(tf.ones([3]))
    exact = -255 * np.logaddexp(0, -np.array([16.0, 20.0, 30.0]))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(found, logits), -exact, rtol=1e-5)


def test_a_bernoulli_sums_to_one():
    px = fed(likelihoods.bernoulli, 1)(LOGITS.astype(np.float32))
    zero, one = (px.log_prob(np.full([1, 1, 1], x, np.float32)).numpy().astype(np.float64) for x in (0, 1))
    np.testing.assert_allclose(np.exp(zero) + np.exp(one), 1, atol=1e-6)
    np.testing.assert_allclose(one, -np.logaddexp(0, -LOGITS), rtol=1e-5, atol=1e-40)


@pytest.mark.parametrize("n", [1, 16, 255])
def test_discretized_logistics_sum_to_one(n):
    """Locations inside, at an edge and far out; raw scales from the floor to flat."""
    grid = np.stack(np.meshgrid([-3, 0, 0.31, 1, 7], [-50, -5, 0, 3, 20]), axis=-1).reshape(-1, 2).astype(np.float32)
    levels = np.linspace(0, 1, n + 1, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    single = fed(lambda *args: likelihoods.discretized_logistic(*args, n), 2)(grid)
    pair = np.concatenate(
        [np.tile([0.3, -0.7], [len(grid), 1]), grid[:, :1], grid[::-1, :1], grid[:, 1:], grid[::-1, 1:]], 1
    )
    mixed = fed(lambda *args: likelihoods.logistic_mixture(*args, n, 2), 6)(pair.astype(np.float32))
    for px in (single, mixed):
        masses = np.exp(px.log_prob(levels).numpy().astype(np.float64)).sum(axis=0)
        np.testing.assert_allclose(masses, 1, atol=5e-6 if n == 255 else 1e-6)


def test_a_continuous_bernoulli_integrates_to_one():
    px = fed(likelihoods.continuous_bernoulli, 1)(LOGITS[3:-3].astype(np.float32))
    x, weights = np.polynomial.legendre.leggauss(60)
    x = ((x + 1) / 2).reshape(-1, 1, 1, 1, 1).astype(np.float32)
    mass = np.tensordot(weights / 2, np.exp(px.log_prob(x).numpy().astype(np.float64)), 1)
    np.testing.assert_allclose(mass, 1, atol=5e-6)


@pytest.mark.parametrize(
    ("make", "parameters", "scale"),
    [
        (lambda *args: likelihoods.normal(*args, 0.3), 1, lambda raw: 0.3),
        (lambda *args: likelihoods.normal_per_image(*args, min_scale=0.01), 2, lambda raw: np.logaddexp(0, raw) + 0.01),
        (lambda *args: likelihoods.normal_per_pixel(*args, min_scale=0.01), 2, lambda raw: np.logaddexp(0, raw) + 0.01),
    ],
)
def test_normals_are_the_formula(make, parameters, scale):
    grid = np.stack(np.meshgrid([-2.0, 0.0, 0.9, 30.0], [-50.0, -3.0, 0.0, 40.0]), axis=-1).reshape(-1, 2)
    found = fed(make, parameters)(grid[:, :parameters].astype(np.float32)).log_prob(np.full([1, 1, 1], 0.5, np.float32))
    s = scale(grid[:, 1])
    exact = -0.5 * ((0.5 - grid[:, 0]) / s) ** 2 - np.log(s) - np.log(2 * np.pi) / 2
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)
