import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import small_vae

import tfvae
from tfvae import linear, objectives, priors

tfb = tfp.bijectors
tfd = tfp.distributions

# An estimate of the gradient an example: equal examples, each with parameters of its own.
N = 20_000
LOC, SCALE = [0.4, -0.3], [0.6, 0.9]
PATHS = {"stl_elbo": objectives.stl_elbo, "stl_iwae": objectives.stl_iwae, "dreg_iwae": objectives.dreg_iwae}
ALL = PATHS | {"wake_phase": objectives.wake_phase, "score_function_elbo": objectives.score_function_elbo}


def plain_elbo(num_samples):
    return lambda *args, **kwargs: objectives.elbo(*args, **kwargs, num_samples=num_samples, exact_kl=False)


VALUES = dict.fromkeys(("stl_elbo", "score_function_elbo"), plain_elbo)
VALUES |= dict.fromkeys(("stl_iwae", "dreg_iwae", "wake_phase"), objectives.iwae)


def normal(loc, scale):
    return tfd.MultivariateNormalDiag(loc, scale)


def flow(loc, scale):
    """A normal through an inverse autoregressive flow."""

    def shift_and_log_scale(z):
        return tf.stack([tf.zeros_like(z[..., 0]), 0.7 * z[..., 0]], -1), tf.stack(
            [tf.zeros_like(z[..., 0]), 0.3 * tf.tanh(z[..., 0])], -1
        )

    return tfd.TransformedDistribution(
        normal(loc, scale), tfb.Invert(tfb.MaskedAutoregressiveFlow(shift_and_log_scale))
    )


def gradients(model, objective, x, make_qz_x=normal, loc=LOC, scale=SCALE, n=N, seed=0):
    """The objective's gradient with respect to q(z|x)'s parameters, n estimates from n samples of q: [n, 2 D]."""
    parameters = [tf.Variable(tf.tile(tf.constant([p], tf.float64), [n, 1])) for p in (loc, scale)]
    vae = tfvae.VAE(lambda _: make_qz_x(*parameters), model.likelihood, model.prior)

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(objective(vae, tf.tile(x[:1], [n, 1]), seed=seed, step=None).objective)
        return tf.concat(tape.gradient(total, parameters), axis=-1)

    return run().numpy()


def errors_apart(a, b):
    """The largest distance of two means over the first axis, in standard errors."""
    error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    return np.max(np.abs(a.mean(axis=0) - b.mean(axis=0)) / error)


@pytest.mark.parametrize("name", ALL)
def test_the_value_is_the_bound_and_only_the_encoders_gradient_is_another(digits, name):
    vae, x = small_vae(digits, prior="normal_mixture"), digits.x_test[:8]
    others = [*vae.decoder.trainable_variables, *vae.prior.trainable_variables]
    results = []
    for make in (ALL[name], VALUES[name]):
        with tf.GradientTape() as tape:
            terms = make(3)(vae, x, seed=5, step=0)
            loss = -tf.reduce_mean(terms.objective)
        results.append((terms, tape.gradient(loss, [*others, *vae.encoder.trainable_variables])))
    (terms, ours), (expected, plain) = results
    for a, b in zip(terms, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(ours[: len(others)], plain[: len(others)], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    for a, b in zip(ours[len(others) :], plain[len(others) :], strict=True):
        assert np.any(a != 0) and not np.allclose(a, b, rtol=1e-2)


def test_with_one_sample_the_path_gradients_are_one(linear_model, linear_x):
    stl, stl_iwae, dreg = (gradients(linear_model, make(1), linear_x, n=50) for make in PATHS.values())
    np.testing.assert_allclose(stl_iwae, stl, rtol=1e-9)
    np.testing.assert_allclose(dreg, stl, rtol=1e-9)


@pytest.mark.parametrize("make_qz_x", [normal, flow])
@pytest.mark.parametrize(("name", "num_samples"), [("stl_elbo", 1), ("dreg_iwae", 5)])
def test_path_gradients_are_unbiased(linear_model, linear_x, name, num_samples, make_qz_x):
    """Through a flow too, whose log q(z|x) of its own samples is otherwise had from their noise."""
    ours, plain = (
        gradients(linear_model, make(num_samples), linear_x, make_qz_x, seed=seed)
        for seed, make in enumerate((PATHS[name], VALUES[name]))
    )
    assert errors_apart(ours, plain) < 5


def test_the_stl_gradient_is_that_of_the_elbo_in_closed_form(linear_model, linear_x):
    precision = linear_model.weights.T @ linear_model.weights / linear_model.variance + np.eye(2)
    posterior_loc = linear_model.posterior(linear_x[:1]).mean().numpy()[0]
    exact = np.concatenate([precision @ (posterior_loc - LOC), 1 / np.array(SCALE) - np.diag(precision) * SCALE])
    ours = gradients(linear_model, objectives.stl_elbo(1), linear_x)
    assert np.all(np.abs(ours.mean(axis=0) - exact) < 5 * ours.std(axis=0, ddof=1) / np.sqrt(N))


def test_sticking_the_landing_is_biased_for_several_weighted_samples(linear_model, linear_x):
    plain = gradients(linear_model, objectives.iwae(5), linear_x, seed=1)
    assert errors_apart(gradients(linear_model, objectives.stl_iwae(5), linear_x), plain) > 10


def test_dreg_has_less_variance_than_iwaes_own_gradient(linear_model, linear_x):
    ours, plain = (gradients(linear_model, make(5), linear_x) for make in (objectives.dreg_iwae, objectives.iwae))
    assert np.all(ours.var(axis=0) < 0.8 * plain.var(axis=0))


@pytest.mark.parametrize("num_samples", [1, 5])
@pytest.mark.parametrize("make", PATHS.values(), ids=PATHS)
def test_at_the_exact_posterior_path_gradients_vanish_for_every_sample(linear_model, linear_x, make, num_samples):
    exact = linear_model.posterior(linear_x[:1])
    loc, scale_tril = exact.mean().numpy()[0], np.linalg.cholesky(exact.covariance().numpy()[0])

    def correlated(loc, scale):
        return tfd.MultivariateNormalTriL(loc, scale[..., tf.newaxis] * scale_tril)

    options = {"make_qz_x": correlated, "loc": loc, "scale": [1.0, 1.0], "n": 50}
    ours = gradients(linear_model, make(num_samples), linear_x, **options)
    plain = gradients(linear_model, plain_elbo(1), linear_x, **options)
    np.testing.assert_allclose(ours, np.zeros_like(ours), atol=1e-9)
    assert np.all(plain.std(axis=0) > 0.1)


def test_the_wake_phase_brings_q_to_the_posterior(linear_model, linear_x):
    """With many samples the gradient is that of -KL(p(z|x) || q(z|x)), in closed form."""
    exact = linear_model.posterior(linear_x[:1])
    offset = exact.mean().numpy()[0] - LOC
    squares = offset**2 + np.diag(exact.covariance().numpy()[0])
    expected = np.concatenate([offset / np.square(SCALE), squares / np.power(SCALE, 3) - 1 / np.array(SCALE)])
    ours = gradients(linear_model, objectives.wake_phase(4000), linear_x, n=50)
    assert np.all(np.abs(ours.mean(axis=0) - expected) < 5 * ours.std(axis=0, ddof=1) / np.sqrt(50))


WEIGHTS = np.random.default_rng(3).normal(size=(3, 4))


def discrete_vae(encoder):
    """Three binary latents, four normal observations."""
    prior = tfd.Independent(tfd.Bernoulli(probs=tf.constant([0.2, 0.5, 0.7], tf.float64), dtype=tf.float64), 1)
    return tfvae.VAE(encoder, lambda z: tfd.MultivariateNormalDiag(z @ WEIGHTS, tf.ones(4, tf.float64)), prior)


def test_the_score_function_gradient_is_that_of_the_enumerated_elbo():
    x = tf.constant([[0.3, -1.0, 0.8, 0.1]], tf.float64)
    all_z = tf.constant(list(itertools.product([0.0, 1.0], repeat=3)), tf.float64)
    logits = tf.Variable(tf.tile(tf.constant([[0.5, -0.4, 0.1]], tf.float64), [N, 1]))
    vae = discrete_vae(lambda _: tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float64), 1))
    with tf.GradientTape() as tape:
        terms = objectives.score_function_elbo(4)(vae, tf.tile(x, [N, 1]), seed=0)
        total = tf.reduce_sum(terms.objective)
    ours = tape.gradient(total, logits).numpy()
    one = tf.Variable(logits[0])
    with tf.GradientTape() as tape:
        qz_x = tfd.Independent(tfd.Bernoulli(logits=one, dtype=tf.float64), 1)
        log_w = vae.decode(all_z).log_prob(x) + vae.prior.log_prob(all_z) - qz_x.log_prob(all_z)
        elbo = tf.reduce_sum(qz_x.prob(all_z) * log_w)
    exact = tape.gradient(elbo, one).numpy()
    assert np.all(np.abs(ours.mean(axis=0) - exact) < 5 * ours.std(axis=0, ddof=1) / np.sqrt(N))
    values = terms.objective.numpy()
    assert abs(values.mean() - elbo) < 5 * values.std(ddof=1) / np.sqrt(N)


def test_the_baseline_takes_off_all_that_samples_share(linear_model, linear_x):
    """An element of x that z does not explain adds one number to each log w: no estimate changes."""
    wide = linear.LinearGaussian(np.pad(linear_model.weights, [(0, 1), (0, 0)]), [*linear_model.mean, 0.0], 0.3)
    ours, expected = (
        gradients(model, objectives.score_function_elbo(4), x, n=50)
        for model, x in ((wide, tf.pad(linear_x, [[0, 0], [0, 1]], constant_values=10.0)), (linear_model, linear_x))
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("make", PATHS.values(), ids=PATHS)
def test_latents_without_a_path_are_refused(make):
    vae = discrete_vae(lambda x: tfd.Independent(tfd.Bernoulli(logits=x[:, :3], dtype=tf.float64), 1))
    with pytest.raises(ValueError, match=r"q\(z\|x\) must be reparameterized for a gradient along z, got Independent"):
        make(2)(vae, tf.zeros([1, 4], tf.float64), seed=0)


@pytest.mark.parametrize("name", [name for name in ALL if name != "stl_iwae"])
def test_they_train_compiled(digits, name):
    vae = small_vae(digits, objective=name, num_samples=4, jit=name == "dreg_iwae")
    history = vae.fit(digits.train(64), epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0] - 10


@pytest.mark.parametrize(
    ("name", "least"), [("stl_elbo", 1), ("dreg_iwae", 1), ("score_function_elbo", 2), ("wake_phase", 2)]
)
def test_too_few_samples_are_refused(name, least):
    with pytest.raises(ValueError, match=f"num_samples must be an integer of at least {least}, got {least - 1}"):
        ALL[name](least - 1)


def test_the_encoder_has_a_gradient_from_a_prior_that_reads_it():
    """As a VampPrior does: its part is that of p(z), at fixed z."""
    shared = tf.Variable([0.3, -0.2])
    pz = priors.standard_normal(2)
    vae = tfvae.VAE(lambda x: tfd.MultivariateNormalDiag(x + shared, [1.0, 1.0]), lambda z: normal(z, [1.0, 1.0]), pz)
    vae.prior = tfd.MultivariateNormalDiag(shared, [1.0, 1.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_mean(objectives.stl_elbo(1)(vae, tf.zeros([50, 2]), seed=0).objective)
    # KL(N(shared, 1) || N(shared, 1)) is 0 whatever it is, and E_q[log p(x|z)] falls with its square.
    np.testing.assert_allclose(tape.gradient(total, shared), -shared, rtol=1e-4)
