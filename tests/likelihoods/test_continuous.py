import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import small_vae

import tfvae
from tfvae import likelihoods, networks

tfd = tfp.distributions

Z = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
X = np.random.default_rng(1).random((3, 4, 4, 2)).astype(np.float32)
BODIES = {
    "mlp": lambda: networks.mlp((2,), [8]),
    "conv": lambda: networks.transposed_conv((2,), (4, 4, 2), (4,), activation="tanh"),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("family", "own_scales"), [(likelihoods.normal_per_image, 1), (likelihoods.normal_per_pixel, 4 * 4 * 2)]
)
def test_the_scale_is_of_the_image_or_of_the_pixel(family, own_scales, body):
    px_z = family(BODIES[body](), (4, 4, 2), min_scale=0.3)(Z)
    scale = np.broadcast_to(px_z.stddev(), X.shape)
    assert [len(np.unique(image)) for image in scale] == [own_scales] * 3
    assert len(np.unique(scale)) == 3 * own_scales and scale.min() > 0.3
    expected = scipy.stats.norm.logpdf(X, px_z.mean(), scale).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(px_z.log_prob(X), expected, rtol=1e-5)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_a_step_moves_the_variance_towards_the_mean_square_of_its_residuals(rate):
    likelihood = likelihoods.normal_optimal(networks.mlp((2,), [8]), (4, 4, 2), rate=rate)
    likelihood.scale.assign(0.8)
    px_z = likelihood(Z)
    mean_square = np.mean(np.square(X - px_z.mean()))
    likelihood.after_step(tf.reduce_mean(px_z.log_prob(X)), tf.constant(True))
    expected = (1 - rate) * 0.8**2 + rate * mean_square
    np.testing.assert_allclose(likelihood.scale**2, expected, rtol=1e-5)
    likelihood.after_step(tf.reduce_mean(likelihood(Z).log_prob(X + 1)), tf.constant(False))
    np.testing.assert_allclose(likelihood.scale**2, expected, rtol=1e-5)


def test_the_optimal_scale_has_a_floor():
    likelihood = likelihoods.normal_optimal(networks.mlp((2,), [8]), (4, 4, 2), rate=1.0, min_scale=0.01)
    likelihood.after_step(tf.reduce_mean(likelihood(Z).log_prob(likelihood(Z).mean())), tf.constant(True))
    np.testing.assert_allclose(likelihood.scale, 0.01, rtol=1e-5)


def test_at_the_optimal_scale_the_gradient_is_that_of_the_log_of_the_mean_square():
    """max_scale log N(x; loc, scale^2) = -E/2 log(mean square) + constant; its gradient is that at the optimum."""
    loc, x = tf.Variable(np.zeros(8)), np.random.default_rng(2).normal(size=8)
    with tf.GradientTape(persistent=True) as tape:
        mean_square = tf.reduce_mean((x - loc) ** 2)
        profile = -0.5 * len(x) * tf.math.log(mean_square)
        log_px = tf.reduce_sum(tfd.Normal(loc, tf.stop_gradient(tf.sqrt(mean_square))).log_prob(x))
    np.testing.assert_allclose(tape.gradient(log_px, loc), tape.gradient(profile, loc), rtol=1e-12)


@pytest.fixture(scope="module")
def optimal_vae(digits):
    vae = small_vae(digits, likelihood="normal_optimal", epochs=8)
    vae.fit(digits.train(64), validation_data=digits.validation(64), epochs=8, verbose=0)
    return vae


def test_training_leaves_the_scale_that_the_residuals_have(optimal_vae, digits):
    x = digits.x_train
    z = optimal_vae.encode(x).sample(seed=[0, 1])
    mean_square = np.mean(np.square(x - optimal_vae.decode(z).mean()))
    np.testing.assert_allclose(optimal_vae.decoder.scale**2, mean_square, rtol=0.1)
    assert not any(v is optimal_vae.decoder.scale for v in optimal_vae.trainable_variables)


def test_evaluation_and_reload_keep_the_scale(optimal_vae, digits, tmp_path):
    before = optimal_vae.decoder.scale.numpy()
    first = optimal_vae.evaluate(digits.test(100), verbose=0)
    assert optimal_vae.decoder.scale.numpy() == before
    tfvae.save(optimal_vae, tmp_path / "model")
    loaded = tfvae.load(tmp_path / "model")
    assert loaded.decoder.scale.numpy() == before
    loaded.compile()
    assert loaded.evaluate(digits.test(100), verbose=0) == first


def test_a_step_that_is_not_finite_leaves_the_scale(digits):
    vae = small_vae(digits, likelihood="normal_optimal")

    def objective(*args, **kwargs):
        terms = tfvae.objectives.elbo(*args, **kwargs)
        return terms._replace(objective=np.nan * terms.objective)

    vae.compile("adam", objective)
    with pytest.raises(FloatingPointError):
        vae.fit(digits.x_train[:64], batch_size=64, verbose=0)
    assert vae.decoder.scale.numpy() == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda *a: likelihoods.normal_per_image(*a, min_scale=0.0),
            "min_scale must be a finite number above 0, got 0.0",
        ),
        (
            lambda *a: likelihoods.normal_per_pixel(*a, min_scale=-1.0),
            "min_scale must be a finite number above 0, got -1.0",
        ),
        (
            lambda *a: likelihoods.normal(*a, scale=None, min_scale=3),
            "min_scale must be below the initial scale, 1, got 3",
        ),
        (
            lambda *a: likelihoods.normal_optimal(*a, min_scale=0.0),
            "min_scale must be a finite number above 0, got 0.0",
        ),
        (lambda *a: likelihoods.normal_optimal(*a, rate=0.0), r"rate must be in \(0, 1\], got 0.0"),
        (lambda *a: likelihoods.normal_optimal(*a, rate=1.5), r"rate must be in \(0, 1\], got 1.5"),
    ],
)
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build(networks.mlp((2,), [8]), (4, 4, 2))


@pytest.mark.parametrize(
    ("family", "channels", "raw_scale"),
    [
        (likelihoods.normal_per_pixel, 4, lambda raw: raw[..., 2:]),
        (likelihoods.normal_per_image, 3, lambda raw: tf.reduce_mean(raw[..., 2:], axis=[1, 2, 3], keepdims=True)),
    ],
)
def test_the_scale_is_softplus_of_its_head(family, channels, raw_scale):
    px = family(networks.mlp((2,), [8]), (4, 4, 2), min_scale=0.3)
    z = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    raw = tf.reshape(px.params(px.network(z)), [3, 4, 4, channels])
    np.testing.assert_allclose(px(z).distribution.scale, tf.nn.softplus(raw_scale(raw)) + 0.3, rtol=1e-5)
