import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import small_vae

import tfvae
from tfvae import data, diagnostics

tfd = tfp.distributions


def within(found, exact, errors=2):
    """The share of examples whose value lies within so many of its stated errors of the exact one."""
    return np.mean(np.abs(found.value - exact) < errors * found.standard_error)


def test_a_normal_posterior_is_fitted_however_bad_the_encoder(linear_model):
    """The exact answer is known; the draws of q(z|x), ten standard deviations off, say nothing of it."""

    def astray(x):
        exact = linear_model.posterior(x)
        return tfd.MultivariateNormalDiag(exact.mean() + 10 * exact.stddev(), 0.3 * exact.stddev())

    x = linear_model.evidence.sample(200, seed=[0, 3])
    exact = linear_model.evidence.log_prob(x).numpy()
    vae = tfvae.VAE(astray, linear_model.likelihood, linear_model.prior)
    found = diagnostics.laplace_log_evidence(vae, x, 400)
    assert 0.9 <= within(found, exact) <= 0.99
    assert np.all(np.abs(found.value - exact) < 0.2)
    assert np.all(found.pareto_k < diagnostics.reliable_k(400)) and np.min(found.effective_samples) > 0.4 * 400
    bound = diagnostics.log_evidence(vae, x, 400)
    assert np.all(bound.value < exact - 5) and np.all(bound.pareto_k > diagnostics.reliable_k(400))


def test_an_encoder_narrower_than_rounding_has_an_evidence(linear_model, linear_x):
    def point(x):
        loc = linear_model.posterior(x).mean()
        return tfd.MultivariateNormalDiag(loc, 1e-20 * tf.ones_like(loc))

    vae = tfvae.VAE(point, linear_model.likelihood, linear_model.prior)
    found = diagnostics.laplace_log_evidence(vae, linear_x, 200)
    assert within(found, linear_model.evidence.log_prob(linear_x), 4) == 1


def curved_vae():
    """Two latents, a decoder that folds them: p(z|x) is curved, or has two modes, which q(z|x) does not know."""

    def decode(z):
        a, b = tf.unstack(z, axis=-1)
        loc = tf.stack([a**2, a * b, tf.sin(2 * b), b**2], axis=-1)
        return tfd.MultivariateNormalDiag(loc, tf.fill([4], tf.constant(0.4, z.dtype)))

    def encode(x):
        return tfd.MultivariateNormalDiag(x[:, :2] / 2, tf.ones_like(x[:, :2]) / 2)

    return tfvae.VAE(encode, decode, tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64)))


def test_curved_posteriors_with_two_modes_agree_with_quadrature():
    vae = curved_vae()
    x = vae.decode(vae.prior.sample(100, seed=[0, 1])).sample(seed=[0, 2])
    axis = np.linspace(-6, 6, 601)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    log_pz = vae.prior.log_prob(z).numpy()
    mean = vae.decode(tf.constant(z)).mean().numpy()
    exact = []
    for row in x.numpy():
        log_px_z = -0.5 * np.sum(((row - mean) / 0.4) ** 2, axis=-1) - 4 * np.log(0.4 * np.sqrt(2 * np.pi))
        exact.append(np.logaddexp.reduce((log_px_z + log_pz).ravel()) + 2 * np.log(axis[1] - axis[0]))
    found = diagnostics.laplace_log_evidence(vae, x, 1000)
    assert within(found, exact) >= 0.9 and within(found, exact, 4) >= 0.97
    assert np.mean(found.standard_error) < 0.05
    runs = [diagnostics.laplace_log_evidence(vae, x[:30], 400, seed=seed) for seed in range(30)]
    spread = np.std([run.value for run in runs], axis=0, ddof=1)
    stated = np.mean([run.standard_error for run in runs], axis=0)
    # The median: where an ascent misses a mode in one run of 30, no error knows of it.
    np.testing.assert_allclose(np.median(spread / stated), 1, atol=0.2)


def test_a_trained_model_is_within_its_errors_of_annealing(trained_vae, digits):
    x = digits.x_test[:30]
    found = diagnostics.laplace_log_evidence(trained_vae, x, 1000)
    annealed = diagnostics.annealed_log_evidence(trained_vae, x, 32, 100)
    z = (found.value - annealed.value) / np.hypot(found.standard_error, annealed.standard_error)
    assert np.mean(np.abs(z) < 2) >= 0.9
    assert np.mean(found.value) > np.mean(diagnostics.log_evidence(trained_vae, x).value)


@pytest.mark.parametrize(
    "fields", [{"prior": "vamp"}, {"prior": "flow"}, {"posterior": "iaf"}, {"posterior": "full_normal"}]
)
def test_every_piece_is_measured(fields, digits):
    """An untrained model's posterior is wide, so that its prior's draws give log p(x) too."""
    vae, x = small_vae(digits, **fields), digits.x_test[:4]
    found = diagnostics.laplace_log_evidence(vae, x, 1000)
    z = vae.prior.sample([20_000, 1], seed=[0, 1])
    plain = diagnostics.evidence_of(vae.decode(z).log_prob(x).numpy())
    assert np.all(np.abs(found.value - plain.value) < 5 * np.hypot(found.standard_error, plain.standard_error))


def test_labels_condition_it(digits):
    vae = small_vae(data.load("digits"), conditional=True)
    given = vae.given(digits.y_test[:6])
    found = diagnostics.laplace_log_evidence(given, digits.x_test[:6], 500)
    z = vae.prior.sample([20_000, 6], seed=[0, 1])
    plain = diagnostics.evidence_of(given.decode(z).log_prob(digits.x_test[:6]).numpy())
    assert np.all(np.abs(found.value - plain.value) < 5 * np.hypot(found.standard_error, plain.standard_error))


def test_blocks_and_seeds(linear_vae, linear_x, monkeypatch):
    first, again, other = (diagnostics.laplace_log_evidence(linear_vae, linear_x, 60, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.value, again.value)
    assert np.all(first.value != other.value)
    monkeypatch.setattr("tfvae.diagnostics.blocks.CHUNK", 20 * 16)  # four images at a time, 20 draws of one
    parts = diagnostics.laplace_log_evidence(linear_vae, linear_x, 60)
    assert parts.value.shape == (7,)
    np.testing.assert_allclose(parts.value, first.value, atol=5 * np.max(first.standard_error))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 1}, "num_samples must be an integer of at least 2, got 1"),
        ({"num_starts": 1}, "num_starts must be an integer of at least 2, got 1"),
        ({"num_steps": 0}, "num_steps must be an integer of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(options, message, linear_vae, linear_x):
    with pytest.raises(ValueError, match=message):
        diagnostics.laplace_log_evidence(linear_vae, linear_x, **options)
