import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import small_vae

import tfvae
from tfvae import diagnostics
from tfvae.diagnostics import annealing

tfd = tfp.distributions


@pytest.fixture
def crude_vae(linear_model):
    """The linear model with a q(z|x) that is not its posterior."""

    def encoder(x):
        exact = linear_model.posterior(x)
        return tfd.MultivariateNormalDiag(exact.mean() + 0.2, 1.5 * exact.stddev())

    return tfvae.VAE(encoder, linear_model.likelihood, linear_model.prior)


@pytest.mark.parametrize("from_posterior", [False, True])
def test_annealing_agrees_with_the_exact_evidence(crude_vae, linear_model, linear_x, from_posterior):
    evidence = diagnostics.annealed_log_evidence(crude_vae, linear_x, 64, 100, from_posterior=from_posterior, seed=1)
    exact = linear_model.evidence.log_prob(linear_x)
    assert np.all(np.abs(evidence.value - exact) < 3 * evidence.standard_error)
    assert np.median(evidence.standard_error) < 0.1 and np.max(evidence.standard_error) < 0.15


def test_from_the_exact_posterior_every_weight_is_the_evidence(linear_vae, linear_model, linear_x):
    evidence = diagnostics.annealed_log_evidence(linear_vae, linear_x, 4, 5, from_posterior=True)
    np.testing.assert_allclose(evidence.value, linear_model.evidence.log_prob(linear_x), rtol=0, atol=1e-9)
    np.testing.assert_allclose(evidence.standard_error, np.zeros(7), atol=1e-9)


def test_weights_are_unbiased_however_few_the_steps(crude_vae, linear_model, linear_x):
    """A transition that leaves its density unchanged makes E[w] = p(x) with one temperature as with many."""
    x = tf.repeat(linear_x[:2], 400, axis=0)
    evidence = diagnostics.annealed_log_evidence(crude_vae, x, 20, 3, num_leapfrogs=3, from_posterior=True)
    weights = np.exp(evidence.value.reshape(2, 400))
    error = weights.std(axis=1, ddof=1) / 20
    assert np.all(np.abs(weights.mean(axis=1) - np.exp(linear_model.evidence.log_prob(linear_x[:2]))) < 5 * error)


def test_few_chains_that_fall_short_say_so(linear_model):
    """Two steps from the prior: the exact value lies within three of the stated errors of nine in ten examples."""
    x = linear_model.evidence.sample(100, seed=[0, 5])
    vae = tfvae.VAE(linear_model.posterior, linear_model.likelihood, linear_model.prior)
    found = diagnostics.annealed_log_evidence(vae, x, 16, 2, from_posterior=False)
    off = np.abs(found.value - linear_model.evidence.log_prob(x))
    assert np.mean(off) > 0.3
    assert np.mean(off < 3 * found.standard_error) > 0.9


def test_from_the_posterior_the_stated_error_is_the_spread(crude_vae, linear_x):
    x = tf.repeat(linear_x[:3], 100, axis=0)
    found = diagnostics.annealed_log_evidence(crude_vae, x, 16, 5)
    spread = found.value.reshape(3, 100).std(axis=1, ddof=1)
    np.testing.assert_allclose(found.standard_error.reshape(3, 100).mean(axis=1), spread, rtol=0.3)


def test_transitions_leave_their_density_unchanged():
    """Draws of a correlated normal stay draws of it; long steps are refused often enough for that to matter."""
    covariance = np.array([[1.0, 0.8], [0.8, 2.0]])
    target = tfd.MultivariateNormalTriL(tf.zeros(2, tf.float64), np.linalg.cholesky(covariance))
    z = tf.identity(target.sample([20_000, 1], seed=[0, 0]))
    step = tf.fill(z.shape, tf.constant(0.9, z.dtype))
    moved, acceptance = annealing.transition(target.log_prob, z, step, 3, tf.constant([0, 1]))
    assert 0.3 < np.mean(acceptance) < 0.9 and np.mean(moved != z) > 0.3
    np.testing.assert_allclose(np.cov(moved[:, 0], rowvar=False), covariance, atol=0.1)
    np.testing.assert_allclose(np.mean(moved, axis=(0, 1)), np.zeros(2), atol=0.05)


def test_more_steps_tighten_the_bound(crude_vae, linear_model, linear_x):
    exact = linear_model.evidence.log_prob(linear_x)
    few, many = (np.mean(diagnostics.annealed_log_evidence(crude_vae, linear_x, 2, t).value - exact) for t in (2, 100))
    assert few < many - 0.1 < 0.1


def test_annealing_agrees_with_importance_sampling(trained_vae, digits):
    """With the best normal of each image as proposal: the encoder's own misses nats of this model's log p(x)."""
    x = digits.x_test[:12]
    sampled = diagnostics.inference_gap(trained_vae, x)
    annealed = diagnostics.annealed_log_evidence(trained_vae, x, 16, 100, from_posterior=False)
    assert abs(np.mean(annealed.value - sampled.log_evidence)) < 0.5
    assert np.mean(annealed.value) > np.mean(diagnostics.log_evidence(trained_vae, x).value)


def test_blocks_and_seeds(crude_vae, linear_x, monkeypatch):
    first, again, other = (diagnostics.annealed_log_evidence(crude_vae, linear_x, 8, 9, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.value, again.value)
    assert np.all(first.value != other.value)
    monkeypatch.setattr("tfvae.diagnostics.blocks.CHUNK", 3 * 8 * 5)  # three images at a time
    parts = diagnostics.annealed_log_evidence(crude_vae, linear_x, 8, 9)
    assert parts.value.shape == (7,)
    assert abs(np.mean(parts.value - first.value)) < 0.5


@pytest.mark.parametrize("prior", ["normal_mixture", "vamp", "flow"])
def test_chains_start_from_every_prior(prior, digits):
    vae, x = small_vae(digits, prior=prior), digits.x_test[:4]
    annealed = diagnostics.annealed_log_evidence(vae, x, 16, 60, from_posterior=False)
    sampled = diagnostics.log_evidence(vae, x, 20_000)
    assert np.all(np.abs(annealed.value - sampled.value) < 5 * np.hypot(annealed.standard_error, 0.1))


def test_a_prior_without_a_scale_is_refused(linear_model, linear_x):
    pz = tfd.TransformedDistribution(linear_model.prior, tfp.bijectors.Sinh())
    vae = tfvae.VAE(linear_model.posterior, linear_model.likelihood, pz)
    with pytest.raises(ValueError, match=r"prior must have a standard deviation, .* unless from_posterior is True"):
        diagnostics.annealed_log_evidence(vae, linear_x, 2, 2, from_posterior=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 1}, "num_samples must be an integer of at least 2, got 1"),
        ({"num_steps": 0}, "num_steps must be an integer of at least 1, got 0"),
        ({"num_leapfrogs": 0}, "num_leapfrogs must be an integer of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(options, message, linear_vae, linear_x):
    with pytest.raises(ValueError, match=message):
        diagnostics.annealed_log_evidence(linear_vae, linear_x, **options)
