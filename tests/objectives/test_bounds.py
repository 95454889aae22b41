import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import small_vae

import tfvae
from tfvae import objectives, priors

tfd = tfp.distributions


@pytest.fixture
def crude_vae(linear_model):
    """The linear model with a q(z|x) that is not its posterior."""

    def encoder(x):
        exact = linear_model.posterior(x)
        return tfd.MultivariateNormalDiag(exact.mean() + 0.2, 1.5 * exact.stddev())

    return tfvae.VAE(encoder, linear_model.likelihood, linear_model.prior)


def exact_elbo(linear_model, qz_x, x):
    """E_q[log p(x|z)] - KL(q || p), both in closed form for a normal q."""
    residual = x - linear_model.likelihood(qz_x.mean()).mean()
    spread = linear_model.weights @ qz_x.covariance().numpy() @ linear_model.weights.T
    squares = np.sum(np.square(residual), axis=-1) + np.trace(spread, axis1=-2, axis2=-1)
    log_likelihood = -0.5 * (squares / linear_model.variance + x.shape[-1] * np.log(2 * np.pi * linear_model.variance))
    return log_likelihood - tfd.kl_divergence(qz_x, linear_model.prior).numpy()


def within_five_errors(samples, expected):
    """Means over the first axis agree with what is expected, within five of their standard errors."""
    samples = np.asarray(samples)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return np.all(np.abs(samples.mean(axis=0) - expected) < 5 * error)


def repeated(objective, vae, x, times=400):
    """The objective [times, B] under as many seeds."""
    run = tf.function(lambda seed: objective(vae, x, seed=seed, step=None).objective)
    return np.stack([run(tf.constant(seed, tf.int64)) for seed in range(times)])


def test_with_the_exact_posterior_every_log_weight_is_the_log_evidence(linear_vae, linear_model, linear_x):
    qz_x = linear_vae.encode(linear_x)
    z = qz_x.sample(50, seed=[0, 3])
    log_w = linear_vae.decode(z).log_prob(linear_x) + linear_vae.prior.log_prob(z) - qz_x.log_prob(z)
    expected = linear_model.evidence.log_prob(linear_x)
    np.testing.assert_allclose(log_w, np.broadcast_to(expected, (50, 7)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_samples", [1, 5])
def test_with_the_exact_posterior_elbo_and_iwae_are_the_log_evidence(linear_vae, linear_model, linear_x, num_samples):
    expected = linear_model.evidence.log_prob(linear_x)
    sampled = objectives.elbo(linear_vae, linear_x, seed=0, num_samples=num_samples, exact_kl=False)
    weighted = objectives.iwae(num_samples)(linear_vae, linear_x, seed=0)
    np.testing.assert_allclose(sampled.objective, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(weighted.objective, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("exact_kl", [True, False])
def test_the_elbo_estimates_its_closed_form(crude_vae, linear_model, linear_x, exact_kl):
    expected = exact_elbo(linear_model, crude_vae.encode(linear_x), linear_x)
    estimates = repeated(
        lambda *args, **kwargs: objectives.elbo(*args, **kwargs, num_samples=20, exact_kl=exact_kl), crude_vae, linear_x
    )
    assert within_five_errors(estimates, expected)


def test_the_gap_to_the_evidence_is_the_kl_to_the_posterior(crude_vae, linear_model, linear_x):
    qz_x = crude_vae.encode(linear_x)
    gap = linear_model.evidence.log_prob(linear_x) - exact_elbo(linear_model, qz_x, linear_x)
    posterior = linear_model.posterior(linear_x)
    np.testing.assert_allclose(gap, tfd.kl_divergence(qz_x, posterior), rtol=0, atol=1e-9)


def test_iwae_with_one_sample_is_the_elbo(crude_vae, linear_x):
    one = objectives.iwae(1)(crude_vae, linear_x, seed=4)
    plain = objectives.elbo(crude_vae, linear_x, seed=4, exact_kl=False)
    for a, b in zip(one, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_iwae_grows_with_the_samples_towards_the_evidence(crude_vae, linear_model, linear_x):
    means = np.array([repeated(objectives.iwae(k), crude_vae, linear_x).mean(axis=0) for k in (1, 5, 50)])
    assert np.all(np.diff(means, axis=0) > 0)
    # Unbiased for p(x) itself, whatever the number of samples.
    weights = np.exp(repeated(objectives.iwae(5), crude_vae, linear_x))
    assert within_five_errors(weights, np.exp(linear_model.evidence.log_prob(linear_x)))


@pytest.mark.parametrize("make", [objectives.iwae, objectives.dreg_iwae])
def test_the_samples_grow_geometrically(digits, make):
    vae, x = small_vae(digits), digits.x_test[:4]
    growing = tf.function(make(8, warmup_steps=300))
    for step, count in ((0, 1), (100, 2), (150, 3), (200, 4), (300, 8), (1000, 8), (None, 8)):
        step = None if step is None else tf.constant(step, tf.int64)
        for a, b in zip(growing(vae, x, seed=0, step=step), make(count)(vae, x, seed=0), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_several_samples_take_one_pass_of_the_decoder(linear_model, linear_x):
    passes = []

    def decoder(z):
        passes.append(z.shape)
        return linear_model.likelihood(z)

    vae = tfvae.VAE(linear_model.posterior, decoder, linear_model.prior)
    passes.clear()
    for objective in (objectives.iwae(6), objectives.beta_elbo(2.0, num_samples=6)):
        objective(vae, linear_x, seed=0)
    assert passes == [(6, 7, 2), (6, 7, 2)]


def test_every_term_is_per_example(digits):
    vae, x = small_vae(digits), digits.x_test[:9]
    for objective in (
        objectives.elbo,
        objectives.beta_elbo(4.0, free_bits=0.5),
        objectives.capacity_elbo(5.0, 2.0, num_samples=3),
        objectives.tc_elbo(1293, 4.0, num_samples=3),
        objectives.factor_elbo(4.0, 2, hidden_sizes=(3,), num_samples=3),
        objectives.dip_elbo(5.0, 5.0, num_samples=3),
        objectives.iwae(3),
    ):
        assert {term.shape for term in objective(vae, x, seed=0, step=0)} == {(9,)}


def test_examples_are_summed_over_their_pixels(digits):
    """Each image's log-likelihood is the sum of its pixels' log masses: not their mean."""
    vae, x = small_vae(digits), digits.x_test[:4]
    terms = objectives.elbo(vae, x, seed=5)
    z = vae.encode(x).sample(1, seed=tfvae.seeds.stateless_seed(5))
    pixelwise = vae.decode(z).distribution.log_prob(x).numpy().reshape(4, 64)
    np.testing.assert_allclose(terms.log_likelihood, pixelwise.sum(axis=1), rtol=1e-5)


def test_the_kl_is_the_sum_over_latents_once(digits):
    vae, x = small_vae(digits), digits.x_test[:4]
    terms, qz_x = objectives.elbo(vae, x, seed=0), vae.encode(x)
    loc, scale = qz_x.mean().numpy(), qz_x.stddev().numpy()
    by_hand = 0.5 * np.sum(loc**2 + scale**2 - 1 - 2 * np.log(scale), axis=1)
    np.testing.assert_allclose(terms.kl, by_hand, rtol=1e-5)
    np.testing.assert_allclose(terms.objective, terms.log_likelihood - by_hand, rtol=1e-5)


def test_without_a_closed_form_the_kl_is_sampled(digits):
    vae, x = small_vae(digits, prior="normal_mixture"), digits.x_test[:4]
    auto = objectives.elbo(vae, x, seed=0, num_samples=8)
    z = vae.encode(x).sample(8, seed=tfvae.seeds.stateless_seed(0))
    expected = tf.reduce_mean(vae.encode(x).log_prob(z) - vae.prior.log_prob(z), axis=0)
    np.testing.assert_allclose(auto.kl, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="exact_kl must not be True for this posterior and prior"):
        objectives.elbo(vae, x, seed=0, exact_kl=True)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (2.0, 3.0)])
def test_weights_weigh(digits, weights):
    vae, x = small_vae(digits), digits.x_test[:4]
    terms = objectives.weighted_elbo(*weights)(vae, x, seed=0)
    expected = weights[0] * terms.log_likelihood - weights[1] * terms.kl
    np.testing.assert_allclose(terms.objective, expected, rtol=1e-6)


def test_beta_multiplies_the_kl_and_nothing_else(digits):
    vae, x = small_vae(digits), digits.x_test[:4]
    plain, weighted = (objectives.beta_elbo(beta)(vae, x, seed=0) for beta in (1.0, 4.0))
    np.testing.assert_allclose(plain.objective - weighted.objective, 3 * plain.kl, rtol=1e-4)
    np.testing.assert_array_equal(plain.kl, weighted.kl)
    np.testing.assert_allclose(plain.objective, objectives.elbo(vae, x, seed=0).objective, rtol=1e-6)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (25, 1.0), (50, 2.0), (100, 4.0), (1000, 4.0), (None, 4.0)])
def test_beta_warms_up_linearly(digits, step, weight):
    vae, x = small_vae(digits), digits.x_test[:4]
    terms = objectives.beta_elbo(4.0, warmup_steps=100)(vae, x, seed=0, step=step)
    np.testing.assert_allclose(terms.objective, terms.log_likelihood - weight * terms.kl, rtol=1e-6)


def test_free_bits_are_a_floor_on_each_latents_mean_kl(digits):
    vae, x = small_vae(digits, latent_size=3), digits.x_test[:6]
    qz_x = vae.encode(x)
    kl_j = tfd.kl_divergence(tfd.Normal(qz_x.mean(), qz_x.stddev()), tfd.Normal(0.0, 1.0)).numpy().mean(axis=0)
    floor = float(np.sort(kl_j)[1])  # one latent below, one at it, one above
    terms = objectives.beta_elbo(1.0, free_bits=floor)(vae, x, seed=0)
    penalty = np.mean(terms.log_likelihood - terms.objective)
    np.testing.assert_allclose(penalty, np.maximum(kl_j, floor).sum(), rtol=1e-5)
    assert penalty > np.mean(terms.kl)


def test_free_bits_of_a_correlated_posterior_are_one_budget(digits):
    vae, x = small_vae(digits, posterior="full_normal"), digits.x_test[:6]
    terms = objectives.beta_elbo(1.0, free_bits=100.0)(vae, x, seed=0)
    np.testing.assert_allclose(terms.log_likelihood - terms.objective, np.full(6, 2 * 100.0), rtol=1e-5)


@pytest.mark.parametrize(("step", "capacity"), [(0, 0.0), (25, 1.0), (100, 4.0), (1000, 4.0), (None, 4.0)])
def test_the_batch_pays_for_its_kls_distance_from_the_capacity_of_the_step(digits, step, capacity):
    vae, x = small_vae(digits), digits.x_test[:4]
    terms = objectives.capacity_elbo(7.0, 4.0, annealing_steps=100)(vae, x, seed=0, step=step)
    distance = abs(np.mean(terms.kl) - capacity)
    np.testing.assert_allclose(terms.log_likelihood - terms.objective, np.full(4, 7 * distance), rtol=1e-4)
    np.testing.assert_array_equal(terms.kl, objectives.elbo(vae, x, seed=0).kl)


def test_training_holds_the_kl_at_the_capacity(digits):
    vae = small_vae(digits, objective="capacity_elbo", gamma=100.0, capacity=3.0, epochs=10)
    vae.fit(digits.train(64), epochs=10, verbose=0)
    assert abs(vae.evaluate(digits.test(100), return_dict=True, verbose=0)["kl"] - 3) < 0.3


def test_under_the_kl_alone_the_decoder_gets_no_gradient(digits):
    vae, x = small_vae(digits), digits.x_test[:8]
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(objectives.weighted_elbo(0.0, 1.0)(vae, x, seed=0).objective)
    encoder, decoder = tape.gradient(loss, [vae.encoder.trainable_variables, vae.decoder.trainable_variables])
    assert all(np.all(gradient == 0) for gradient in decoder)
    assert all(np.any(gradient != 0) for gradient in encoder)


def test_seeds_are_all_the_randomness(digits):
    vae, x = small_vae(digits), digits.x_test[:4]
    first, again, other = (objectives.elbo(vae, x, seed=s).objective for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: objectives.iwae(0), "num_samples must be an integer of at least 1, got 0"),
        (lambda: objectives.iwae(5, warmup_steps=-1), "warmup_steps must be an integer of at least 0, got -1"),
        (
            lambda: objectives.dreg_iwae(5, warmup_steps=-1),
            "warmup_steps must be an integer of at least 0, got -1",
        ),
        (lambda: objectives.iwae(2.9), "num_samples must be an integer of at least 1, got 2.9"),
        (lambda: objectives.beta_elbo("4"), "beta must be a finite number of at least 0, got '4'"),
        (lambda: objectives.beta_elbo([1.0, 2.0]), "beta must be a finite number of at least 0"),
        (lambda: objectives.beta_elbo(-1.0), "beta must be a finite number of at least 0, got -1.0"),
        (lambda: objectives.beta_elbo(float("nan")), "beta must be a finite number of at least 0, got nan"),
        (lambda: objectives.beta_elbo(1.0, warmup_steps=-1), "warmup_steps must be an integer of at least 0"),
        (lambda: objectives.beta_elbo(1.0, free_bits=-1), "free_bits must be a finite number of at least 0"),
        (lambda: objectives.capacity_elbo(-1.0, 2.0), "gamma must be a finite number of at least 0, got -1.0"),
        (
            lambda: objectives.capacity_elbo(1.0, float("inf")),
            "capacity must be a finite number of at least 0, got inf",
        ),
        (lambda: objectives.weighted_elbo(-1.0), "log_likelihood must be a finite number of at least 0, got -1.0"),
        (lambda: objectives.weighted_elbo(1.0, float("inf")), "kl must be a finite number of at least 0, got inf"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_closed_form_kl_agrees_with_its_samples():
    qz_x = tfd.MultivariateNormalTriL([[0.5, -1.0]], [[[0.7, 0.0], [0.4, 1.2]]])
    pz = priors.standard_normal(2)
    z = qz_x.sample(100_000, seed=[0, 1])
    log_ratio = qz_x.log_prob(z) - pz.log_prob(z)
    assert within_five_errors(log_ratio, objectives.Draw(qz_x, pz, z, None).kl)
