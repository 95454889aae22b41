import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import small_vae

import tfvae
from tfvae import diagnostics
from tfvae.diagnostics import gaps as inference_gap

tfd = tfp.distributions


def wrong_diagonal(exact):
    return tfd.MultivariateNormalDiag(exact.mean() + 0.2, 1.5 * exact.stddev())


def wrong_full(exact):
    return tfd.MultivariateNormalTriL(exact.mean() - 0.2, 1.3 * tf.linalg.cholesky(exact.covariance()))


def best_of_its_kind(exact, q):
    """Of diagonal normals the mean of the exact posterior and the inverse of its precision's diagonal; or itself."""
    if isinstance(q, tfd.MultivariateNormalTriL):
        return exact
    precision = np.linalg.inv(exact.covariance())
    return tfd.MultivariateNormalDiag(exact.mean(), 1 / np.sqrt(np.diagonal(precision, axis1=-2, axis2=-1)))


@pytest.mark.parametrize("wrong", [wrong_diagonal, wrong_full])
def test_both_parts_are_the_exact_ones(wrong, linear_model, linear_x):
    vae = tfvae.VAE(lambda x: wrong(linear_model.posterior(x)), linear_model.likelihood, linear_model.prior)
    log_evidence = linear_model.evidence.log_prob(linear_x).numpy()
    gap = diagnostics.inference_gap(vae, linear_x, evidence=diagnostics.Evidence(log_evidence, np.zeros(7)))
    exact, q = linear_model.posterior(linear_x), vae.encode(linear_x)
    approximation = tfd.kl_divergence(best_of_its_kind(exact, q), exact).numpy()
    amortization = tfd.kl_divergence(q, exact).numpy() - approximation
    # What the search leaves is of second order.
    for value, error, expected in (
        (gap.approximation, gap.approximation_standard_error, approximation),
        (gap.amortization, gap.amortization_standard_error, amortization),
    ):
        assert np.all(np.abs(value - expected) < 5 * error + 3e-3)
    np.testing.assert_allclose(gap.approximation + gap.amortization, gap.log_evidence - gap.elbo, atol=1e-9)
    assert amortization.min() > 0.1 and gap.amortization_standard_error.max() < 0.15
    sampled = diagnostics.inference_gap(vae, linear_x)
    np.testing.assert_array_equal(sampled.best_elbo, gap.best_elbo)
    np.testing.assert_allclose(sampled.log_evidence, log_evidence, atol=0.2)


def test_a_family_that_holds_the_posterior_has_no_approximation_gap(linear_model, linear_x):
    vae = tfvae.VAE(lambda x: wrong_full(linear_model.posterior(x)), linear_model.likelihood, linear_model.prior)
    gap = diagnostics.inference_gap(vae, linear_x, 100, num_steps=1000)
    np.testing.assert_allclose(gap.approximation, np.zeros(7), atol=1e-5)


def test_stated_errors_are_the_spread_over_seeds(linear_model, linear_x):
    vae = tfvae.VAE(lambda x: wrong_diagonal(linear_model.posterior(x)), linear_model.likelihood, linear_model.prior)
    x = tf.repeat(linear_x[:2], 100, axis=0)
    gap = diagnostics.inference_gap(vae, x, 200)
    for name in ("best_elbo", "amortization"):
        spread = getattr(gap, name).reshape(2, 100).std(axis=1, ddof=1)
        stated = getattr(gap, f"{name}_standard_error").reshape(2, 100).mean(axis=1)
        np.testing.assert_allclose(stated, spread, rtol=0.3)


def test_the_best_q_of_an_image_is_better_than_the_encoders(trained_vae, digits, monkeypatch):
    x = digits.x_test[:10]
    gap = diagnostics.inference_gap(trained_vae, x, 200)
    assert np.all(gap.amortization > -0.3) and gap.amortization.mean() > 0.3
    assert gap.approximation.mean() > 0.05
    measured = diagnostics.measure(trained_vae, x, 200)
    assert abs(np.mean(measured.elbo - gap.elbo)) < 0.5
    monkeypatch.setattr("tfvae.diagnostics.blocks.CHUNK", 4 * 16 * 64)  # four images at a time
    parts = diagnostics.inference_gap(trained_vae, x, 200)
    assert abs(np.mean(parts.best_elbo - gap.best_elbo)) < 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"evidence": diagnostics.Evidence(np.zeros(2), np.zeros(2))},
            r"evidence must be of 7 examples, got shape \(2,\)",
        ),
        ({"num_samples": 1}, "num_samples must be an integer of at least 2, got 1"),
        ({"num_steps": 0}, "num_steps must be an integer of at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0, got 0.0"),
    ],
)
def test_bad_arguments_are_refused(options, message, linear_vae, linear_x):
    with pytest.raises(ValueError, match=message):
        diagnostics.inference_gap(linear_vae, linear_x, **options)


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (np.zeros(7), "evidence must be of type Evidence, got an array"),
        (diagnostics.Evidence(np.zeros(7), np.zeros((7, 7))), r"evidence must be of 7 examples, got shape \(7, 7\)"),
    ],
)
def test_evidence_of_another_kind_is_refused(evidence, message, linear_vae, linear_x):
    with pytest.raises(ValueError, match=message):
        diagnostics.inference_gap(linear_vae, linear_x, evidence=evidence)


def test_narrow_correlated_normals_keep_their_scale(digits):
    """Their covariance has a factor in float32 that is wrong, or none."""
    vae = small_vae(digits, posterior="full_normal")
    tril = np.array([[0.9, 0.0], [0.9, 1.2e-4]], np.float32)
    qz_x = tfd.MultivariateNormalTriL(tf.zeros([3, 2]), np.tile(tril, (3, 1, 1)))
    _, log_diagonal, lower = inference_gap.parameters(qz_x)
    np.testing.assert_allclose(np.exp(log_diagonal), np.tile(np.diag(tril), (3, 1)), rtol=1e-5)
    np.testing.assert_allclose(lower, np.tile(tril, (3, 1, 1)), rtol=1e-6)
    vae.encoder = lambda x: qz_x
    gap = diagnostics.inference_gap(vae, digits.x_test[:3], 8, num_steps=2)
    assert all(np.all(np.isfinite(values)) for values in gap)


def test_other_families_are_refused(linear_model, linear_x):
    def encoder(x):
        exact = linear_model.posterior(x)
        return tfd.Independent(tfd.Laplace(exact.mean(), exact.stddev()), 1)

    vae = tfvae.VAE(encoder, linear_model.likelihood, linear_model.prior)
    with pytest.raises(ValueError, match="encoder must give diagonal or full normals, got Independent"):
        diagnostics.inference_gap(vae, linear_x)


def unsearched(linear_model, x, num_samples):
    """The gap of a wrong encoder whose search takes one step of no length: q* is q(z|x)."""
    vae = tfvae.VAE(lambda x: wrong_diagonal(linear_model.posterior(x)), linear_model.likelihood, linear_model.prior)
    return diagnostics.inference_gap(vae, x, num_samples, num_steps=1, learning_rate=1e-9)


def test_the_search_starts_from_the_encoder(linear_model, linear_x):
    np.testing.assert_allclose(unsearched(linear_model, linear_x, 200).amortization, 0, atol=1e-5)


def test_the_stated_error_of_the_approximation_is_its_spread(linear_model, linear_x):
    gap = unsearched(linear_model, tf.repeat(linear_x[:2], 100, axis=0), 400)
    spread = gap.approximation.reshape(2, 100).std(axis=1, ddof=1)
    np.testing.assert_allclose(gap.approximation_standard_error.reshape(2, 100).mean(axis=1), spread, rtol=0.5)
