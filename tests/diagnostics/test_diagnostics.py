import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import small_vae

import tfvae
from tfvae import data, diagnostics, objectives

tfd = tfp.distributions


def test_with_the_exact_posterior_the_log_evidence_is_exact(linear_vae, linear_model, linear_x):
    evidence = diagnostics.log_evidence(linear_vae, linear_x, num_samples=10)
    np.testing.assert_allclose(evidence.value, linear_model.evidence.log_prob(linear_x), rtol=0, atol=1e-9)
    np.testing.assert_allclose(evidence.standard_error, np.zeros(7), atol=1e-6)


def wide_vae(linear_model):
    def encoder(x):
        exact = linear_model.posterior(x)
        return tfd.MultivariateNormalDiag(exact.mean() + 0.1, 1.5 * exact.stddev())

    return tfvae.VAE(encoder, linear_model.likelihood, linear_model.prior)


def test_log_evidence_is_within_its_own_errors_of_the_exact_value(linear_model, linear_x):
    evidence = diagnostics.log_evidence(wide_vae(linear_model), linear_x, num_samples=20_000, seed=3)
    expected = linear_model.evidence.log_prob(linear_x)
    assert np.all(np.abs(evidence.value - expected) < 5 * evidence.standard_error)
    assert np.all(evidence.standard_error < 0.05)


def test_stated_errors_are_the_spread_over_seeds(linear_model, linear_x):
    vae = wide_vae(linear_model)
    runs = [diagnostics.measure(vae, linear_x, num_samples=200, seed=seed) for seed in range(60)]
    for value, error in (("log_evidence", "log_evidence_standard_error"), ("elbo", "elbo_standard_error")):
        spread = np.std([getattr(run, value) for run in runs], axis=0, ddof=1)
        stated = np.mean([getattr(run, error) for run in runs], axis=0)
        # The spread of 60 values has a relative error of 9 %.
        np.testing.assert_allclose(stated, spread, rtol=0.5)


def test_chunks_do_not_change_what_is_measured(linear_model, linear_x, monkeypatch):
    vae = wide_vae(linear_model)
    whole = diagnostics.measure(vae, linear_x, num_samples=3000)
    monkeypatch.setattr("tfvae.diagnostics.blocks.CHUNK", 5 * 700)  # one image of five numbers, 700 samples at a time
    parts = diagnostics.measure(vae, linear_x, num_samples=3000)
    for name, value in whole._asdict().items():
        if name.endswith("standard_error"):
            np.testing.assert_allclose(getattr(parts, name), value, rtol=0.2)
    error = np.hypot(whole.log_evidence_standard_error, parts.log_evidence_standard_error)
    assert np.all(np.abs(whole.log_evidence - parts.log_evidence) < 5 * error)
    np.testing.assert_allclose(whole.elbo, whole.log_likelihood - whole.kl, rtol=1e-9)


def test_measure_agrees_with_the_objective(trained_vae, digits):
    x = digits.x_test[:40]
    measured = diagnostics.measure(trained_vae, x, num_samples=400)
    terms = objectives.elbo(trained_vae, x, seed=9, num_samples=400)
    assert np.all(np.abs(measured.elbo - terms.objective) < 6 * np.sqrt(2) * measured.elbo_standard_error)
    np.testing.assert_allclose(measured.kl, terms.kl, rtol=1e-4)
    assert np.all(measured.log_evidence > measured.elbo)


def test_a_replaced_piece_is_measured_anew(linear_model, linear_x):
    vae = wide_vae(linear_model)
    before = diagnostics.measure(vae, linear_x, num_samples=50)
    np.testing.assert_array_equal(diagnostics.measure(vae, linear_x, num_samples=50).elbo, before.elbo)
    vae.encoder = linear_model.posterior
    after = diagnostics.measure(vae, linear_x, num_samples=50)
    np.testing.assert_allclose(after.log_evidence, linear_model.evidence.log_prob(linear_x), atol=1e-9)
    assert np.all(after.elbo > before.elbo)


@pytest.mark.parametrize("prior", ["standard_normal", "normal_mixture", "vamp", "flow"])
def test_measure_takes_every_prior(digits, prior):
    """Whether its KL has a closed form or is sampled."""
    vae, x = small_vae(digits, prior=prior), digits.x_test[:5]
    qz_x = vae.encode(x)
    z = qz_x.sample(20_000, seed=[0, 1])
    log_ratio = (qz_x.log_prob(z) - vae.prior.log_prob(z)).numpy()
    log_w = vae.decode(z).log_prob(x).numpy() - log_ratio
    measured = diagnostics.measure(vae, x, num_samples=200)
    errors = measured.elbo_standard_error
    assert np.all(errors > 0)
    assert np.all(np.abs(measured.elbo - log_w.mean(axis=0)) < 5 * errors)
    assert np.all(np.abs(measured.kl - log_ratio.mean(axis=0)) < 5 * log_ratio.std(axis=0) / np.sqrt(200))
    runs = [diagnostics.measure(vae, x, num_samples=200, seed=seed).elbo for seed in range(40)]
    np.testing.assert_allclose(errors, np.std(runs, axis=0, ddof=1), rtol=0.6)


def test_active_units_are_those_whose_posterior_mean_varies(digits):
    vae = small_vae(digits, latent_size=3)
    kernel, bias = vae.encoder.params.kernel, vae.encoder.params.bias
    silent = np.zeros(kernel.shape, np.float32)
    silent[:, 1] = kernel.numpy()[:, 1]
    kernel.assign(silent)
    bias.assign(tf.zeros_like(bias))
    assert diagnostics.active_units(vae, digits.x_test).tolist() == [False, True, False]


def test_the_aggregate_posterior_is_the_mean_of_the_posteriors(trained_vae, digits):
    x, z = digits.x_test[:20], np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    densities = np.exp(trained_vae.encode(x).log_prob(z[:, np.newaxis]).numpy().astype(np.float64))
    expected = np.log(densities.mean(axis=1))
    np.testing.assert_allclose(diagnostics.aggregate_posterior(trained_vae, x).log_prob(z), expected, rtol=1e-3)


def test_the_card_states_the_error_of_a_mean(trained_vae, digits):
    card = diagnostics.evaluation_card(trained_vae, digits, num_samples=50)
    measured = diagnostics.measure(trained_vae, digits.x_test, 50)
    fitted = diagnostics.laplace_log_evidence(trained_vae, digits.x_test, 50)
    expected = {
        "mc_standard_error": np.sqrt(np.sum(fitted.standard_error**2)) / 360,
        "elbo_mc_standard_error": np.sqrt(np.sum(measured.elbo_standard_error**2)) / 360,
        "data_standard_error": np.std(fitted.value, ddof=1) / np.sqrt(360),
        "log_evidence": np.mean(fitted.value),
        "importance_bound": np.mean(measured.log_evidence),
    }
    np.testing.assert_allclose([card[name] for name in expected], list(expected.values()), rtol=1e-6)
    assert card["effective_samples"]["fitted"] == [np.median(fitted.effective_samples), fitted.effective_samples.min()]
    assert card["unreliable_images"] == np.sum(fitted.pareto_k > diagnostics.reliable_k(50))


def test_of_many_images_a_part_is_fitted_and_its_error_says_so(trained_vae, digits, monkeypatch):
    whole = diagnostics.evaluation_card(trained_vae, digits, num_samples=200)
    monkeypatch.setattr("tfvae.diagnostics.card._MAX_FITTED", 90)
    part = diagnostics.evaluation_card(trained_vae, digits, num_samples=200)
    assert part["how"]["num_fitted_images"] == 90 and part["importance_bound"] == whole["importance_bound"]
    error = part["mc_standard_error"]
    assert whole["mc_standard_error"] < error < 0.5
    assert abs(part["log_evidence"] - whole["log_evidence"]) < 3 * error


def test_a_score_that_the_data_do_not_have_is_undefined_in_the_card():
    """And a training ends with its card: 200 values are too many for the card's draws and bins."""
    x = np.random.default_rng(0).random([400, 4, 4]).astype(np.float32)
    factors = data.from_factors(x, np.argwhere(np.ones([200, 2])))
    card = diagnostics.evaluation_card(small_vae(factors, likelihood="normal"), factors, num_samples=2)
    assert {name for name, score in card["disentanglement"].items() if score is None} == {"mig", "modularity"}
    json.dumps(card, allow_nan=False)
    assert "mig                              undefined" in diagnostics.format_card(card)


@pytest.fixture(scope="module")
def card(trained_vae, digits):
    return diagnostics.evaluation_card(trained_vae, digits, num_samples=2)


@pytest.fixture(scope="module")
def few_digits(digits):
    """With 40 test images."""
    first = {"images": digits.images["test"][:40], "labels": digits.labels["test"][:40]}
    return dataclasses.replace(digits, **{name: getattr(digits, name) | {"test": rows} for name, rows in first.items()})


def test_the_card_says_what_bits_of_a_density_are(few_digits, card):
    density = diagnostics.evaluation_card(small_vae(few_digits, likelihood="normal"), few_digits, num_samples=2)
    mass = card
    assert "of a density; as a mass on 17 levels about" in diagnostics.format_card(density)
    assert "density" not in diagnostics.format_card(mass)
    assert "density" not in mass["how"]["bits_per_dim"]


def test_a_card_of_an_earlier_version_is_a_bound(card):
    later = ("importance_bound", "effective_samples", "pareto_k", "unreliable_images")
    earlier = {name: value for name, value in card.items() if name not in later}
    assert len(earlier) == len(card) - len(later) and "or more, +-" in diagnostics.format_card(earlier)


def test_a_kl_is_never_negative(few_digits):
    """Fifty collapsed latents, whose exact KL rounds below 0, for every image the same."""
    vae = small_vae(few_digits, latent_size=50)
    for layer in (vae.encoder.params.kernel, vae.encoder.params.bias):
        layer.assign(tf.zeros_like(layer))
    vae.encoder.params.bias.assign(tf.where(tf.range(100) < 50, 1e-8, tf.math.log(tf.exp(1.0) - 1)))
    card = diagnostics.evaluation_card(vae, few_digits, num_samples=2)
    assert 0 <= card["kl"] < 1e-3 and "-0.0" not in diagnostics.format_card(card)


def test_the_card_repeats_itself_and_other_noise_agrees(trained_vae, digits):
    first, again, other = (
        diagnostics.evaluation_card(trained_vae, digits, num_samples=200, seed=seed) for seed in (0, 0, 1)
    )
    assert json.dumps(first) == json.dumps(again) != json.dumps(other)
    for value, error in (("log_evidence", "mc_standard_error"), ("elbo", "elbo_mc_standard_error")):
        assert abs(first[value] - other[value]) < 5 * np.hypot(first[error], other[error])
    np.testing.assert_allclose(first["elbo"], first["log_likelihood"] - first["kl"])
    np.testing.assert_allclose(first["bits_per_dim"], -first["log_evidence"] / 64 / np.log(2))
    assert first["how"]["num_images"] == 360
    table = diagnostics.format_card(first)
    assert f"{first['elbo']:.2f}" in table and "no collapse" in table


class KnownDigits:
    """Digits whose factors are known: which image, in two numbers."""

    factor_sizes, factor_names = (10, 36), ("ten", "one")

    def __init__(self, digits):
        self._digits = digits

    def __getattr__(self, name):
        return getattr(self._digits, name)

    def sample_factors(self, n, seed):
        return np.random.default_rng(seed).integers(0, self.factor_sizes, (n, 2))

    def images(self, factors):
        return self._digits.x_test[factors @ [36, 1]]


def test_the_card_of_known_factors_scores_disentanglement(trained_vae, digits, card):
    first, again = (
        diagnostics.evaluation_card(trained_vae, KnownDigits(digits), num_samples=2, seed=0) for _ in range(2)
    )
    assert json.dumps(first) == json.dumps(again)
    assert {"mig", "sap", "dci_completeness", "factor_vae_score"} <= first["disentanglement"].keys()
    for mean, deviation in first["disentanglement"].values():
        assert 0 <= mean <= 1 and 0 <= deviation < 0.1
    assert "factor vae score" in diagnostics.format_card(first)
    assert "disentanglement" not in card


def test_rate_and_distortion_are_the_two_terms_of_the_elbo(trained_vae, digits):
    x = digits.x_test[:40]
    points = diagnostics.rate_distortion({"trained": trained_vae, "untrained": small_vae(digits, latent_size=4)}, x)
    measured = diagnostics.measure(trained_vae, x, num_samples=100)
    np.testing.assert_allclose(points["trained"].rate + points["trained"].distortion, -measured.elbo.mean())
    np.testing.assert_allclose(points["trained"].rate_standard_error, measured.kl.std(ddof=1) / np.sqrt(40))
    assert points["trained"].rate > points["untrained"].rate
    assert points["trained"].distortion < points["untrained"].distortion


def test_collapse_is_named(few_digits):
    vae = small_vae(few_digits, latent_size=3)
    vae.encoder.params.kernel.assign(tf.zeros_like(vae.encoder.params.kernel))
    card = diagnostics.evaluation_card(vae, few_digits, num_samples=2)
    assert (card["active_units"], card["inactive_latents"]) == (0, [0, 1, 2])
    assert card["posterior_collapse"].startswith("complete collapse")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae, x: diagnostics.measure(vae, x[:0]), r"x must hold at least one example, got shape \[0, 8, 8, 1\]"),
        (
            lambda vae, x: diagnostics.active_units(vae, x[:1]),
            "x must hold at least 2 examples for a variance .* got 1",
        ),
        (lambda vae, x: diagnostics.rate_distortion({"a": vae}, x[:1]), "x must hold at least 2 examples for an error"),
        (lambda vae, x: diagnostics.rate_distortion(vae, x), "vaes must be a dict, got <VAE"),
        (
            lambda vae, x: diagnostics.log_evidence(vae, x, num_samples=10.0),
            "num_samples must be an integer of .* 10.0",
        ),
        (
            lambda vae, x: diagnostics.log_evidence(vae, x, num_samples=1),
            "num_samples must be an integer of at least 2, got 1",
        ),
        (lambda vae, x: diagnostics.log_evidence(vae, x * 0.99), "x must be a multiple of 1/16"),
        (
            lambda vae, x: diagnostics.active_units(vae, x, threshold=0),
            "threshold must be a finite number above 0, got 0",
        ),
    ],
)
def test_bad_arguments_are_refused(trained_vae, digits, call, message):
    with pytest.raises(ValueError, match=message):
        call(trained_vae, digits.x_test[:3])
