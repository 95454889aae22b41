import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.likelihoods import DiscretizedLogistic

tfd = tfp.distributions

# loc far out, at an edge and inside; scale of a thousandth of a level up to beyond the range.
LOC, SCALE = (
    np.array(a) for a in zip(*itertools.product((-3.0, 0.0, 0.3, 1.0, 7.0), (1e-3, 0.02, 0.4, 9.0)), strict=True)
)
COUNTS = (1, 16, 255)


def grey_levels(total_count):
    return np.linspace(0, 1, total_count + 1)[:, np.newaxis]


def masses(total_count):
    """P(x) of every level, [levels, parameters]."""
    return np.exp(DiscretizedLogistic(total_count, LOC, SCALE).log_prob(grey_levels(total_count)))


@pytest.mark.parametrize("total_count", COUNTS)
def test_a_discretized_logistic_sums_to_one(total_count):
    np.testing.assert_allclose(masses(total_count).sum(axis=0), np.ones(len(LOC)), rtol=1e-12)


@pytest.mark.parametrize("total_count", COUNTS)
def test_its_log_prob_is_the_difference_of_scipys_tails(total_count):
    x, half = grey_levels(total_count), 0.5 / total_count
    lower = np.where(x == 0, -np.inf, (x - half - LOC) / SCALE)
    upper = np.where(x == 1, np.inf, (x + half - LOC) / SCALE)
    # Of the two tails, the one that is small here: its differences are exact.
    flip = lower > 0
    lower, upper = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    with np.errstate(divide="ignore"):
        expected = np.log(scipy.stats.logistic.cdf(upper) - scipy.stats.logistic.cdf(lower))
    ours = DiscretizedLogistic(total_count, LOC, SCALE).log_prob(x).numpy()
    seen = expected > -600  # beyond, scipy's are 0
    assert seen.mean() > 0.5 and np.all(np.isfinite(ours))
    np.testing.assert_allclose(ours[seen], expected[seen], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("total_count", COUNTS)
def test_its_moments_are_the_sums_over_its_levels(total_count):
    px, x, p = DiscretizedLogistic(total_count, LOC, SCALE), grey_levels(total_count), masses(total_count)
    mean = (x * p).sum(axis=0)
    np.testing.assert_allclose(px.mean(), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(px.variance(), (x**2 * p).sum(axis=0) - mean**2, rtol=1e-6, atol=1e-12)
    compiled = tf.function(lambda: px.mean(), jit_compile=True)()
    np.testing.assert_allclose(compiled, mean, rtol=1e-9, atol=1e-12)


def test_its_samples_have_its_masses():
    px, n = DiscretizedLogistic(4, 0.6, 0.2), 40_000
    counts = np.bincount(np.round(4 * px.sample(n, seed=[0, 1])).astype(int), minlength=5)
    p = np.exp(px.log_prob(np.linspace(0, 1, 5, dtype=np.float32)))
    assert np.all(np.abs(counts / n - p) < 5 * np.sqrt(p * (1 - p) / n))


def test_its_gradients_are_finite_far_out_in_float32():
    loc, scale, x = (
        tf.constant(a, tf.float32)
        for a in zip(*itertools.product((-50.0, 0.5, 50.0), (1e-4, 1.0, 1e3), (0.0, 128 / 255, 1.0)), strict=True)
    )
    with tf.GradientTape() as tape:
        tape.watch([loc, scale])
        log_px = DiscretizedLogistic(255, loc, scale).log_prob(x)
    for values in (log_px, *tape.gradient(log_px, [loc, scale])):
        assert np.all(np.isfinite(values))


LOGITS = np.array([0, 1e-30, 1e-8, 1e-4, 1e-2, 0.1, 0.5, 1, 3, 10, 30, 90], np.float32)
LOGITS = np.concatenate([-LOGITS[::-1], LOGITS])


def exact_continuous_bernoulli(logits):
    """log of the integral of exp(logits x) over [0, 1], and the mean, in float64."""
    logits = logits.astype(np.float64)
    near, safe = np.abs(logits) < 1e-3, np.where(np.abs(logits) < 1e-3, 1.0, logits)
    log_integral = np.where(near, logits / 2 + logits**2 / 24, np.log(np.expm1(safe) / safe))
    return log_integral, np.where(near, 0.5 + logits / 12, -1 / np.expm1(-safe) - 1 / safe)


@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
def test_tfps_continuous_bernoulli_and_its_gradient_are_right_around_zero_and_far_out(x):
    log_integral, mean = exact_continuous_bernoulli(LOGITS)
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        px = tfd.ContinuousBernoulli(logits=logits)
        log_px = px.log_prob(x)
    np.testing.assert_allclose(log_px, x * LOGITS.astype(np.float64) - log_integral, rtol=1e-6, atol=3e-6)
    np.testing.assert_allclose(px.mean(), mean, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(log_px, logits), x - mean, rtol=1e-5, atol=5e-6)


def test_tfps_continuous_bernoulli_integrates_to_one():
    px = tfd.ContinuousBernoulli(logits=tf.constant(LOGITS, tf.float64), dtype=tf.float64)
    x, weights = np.polynomial.legendre.leggauss(100)
    density = np.exp(px.log_prob((x[:, np.newaxis] + 1) / 2))
    np.testing.assert_allclose(weights @ density / 2, np.ones(len(LOGITS)), rtol=1e-10)
