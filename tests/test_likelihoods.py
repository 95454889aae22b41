import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf

from tfvae import likelihoods, networks

Z = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
SHAPE = (2, 3, 1)


def decoder(family, *args, shape=SHAPE, **kwargs):
    return family(networks.mlp((2,), [8], seed=0), shape, *args, seed=1, **kwargs)


def scipy_log_prob(family, px_z, x):
    """The same log p(x|z) from the distribution's mean, by scipy."""
    mean = px_z.mean().numpy().astype(np.float64)
    elementwise = {
        "bernoulli": lambda: scipy.stats.bernoulli.logpmf(x, mean),
        "binomial": lambda: scipy.stats.binom.logpmf(np.round(16 * x), 16, mean),
        "normal": lambda: scipy.stats.norm.logpdf(x, mean, 0.5),
        "laplace": lambda: scipy.stats.laplace.logpdf(x, mean, 0.5),
    }[family]()
    return elementwise.sum(axis=(1, 2, 3))


def make(family, shape=SHAPE):
    options = {"binomial": {"total_count": 16}, "normal": {"scale": 0.5}, "laplace": {"scale": 0.5}}
    return decoder(getattr(likelihoods, family), shape=shape, **options.get(family, {}))


def some_x(family, shape=(3, *SHAPE)):
    rng = np.random.default_rng(1)
    if family == "bernoulli":
        return rng.integers(0, 2, shape).astype(np.float32)
    if family == "binomial":
        return (rng.integers(0, 17, shape) / 16).astype(np.float32)
    return rng.random(shape).astype(np.float32)


FAMILIES = ("bernoulli", "binomial", "normal", "laplace")


@pytest.mark.parametrize("family", FAMILIES)
def test_log_prob_is_scipys_summed_over_the_event(family):
    px_z, x = make(family)(Z), some_x(family)
    assert px_z.batch_shape == (3,) and px_z.event_shape == SHAPE
    np.testing.assert_allclose(px_z.log_prob(x), scipy_log_prob(family, px_z, x), rtol=2e-5)


@pytest.mark.parametrize(("family", "levels"), [("bernoulli", 2), ("binomial", 17)])
def test_a_mass_sums_to_one_over_its_support(family, levels):
    px_z = make(family, shape=(1,))(Z)
    x = np.linspace(0, 1, levels, dtype=np.float32).reshape(levels, 1, 1)
    np.testing.assert_allclose(np.exp(px_z.log_prob(x)).sum(axis=0), np.ones(3), rtol=1e-5)


@pytest.mark.parametrize("family", ["normal", "laplace"])
def test_a_density_integrates_to_one(family):
    px_z = make(family, shape=(1,))(Z)
    loc = px_z.mean().numpy()[:, 0]
    x = loc + np.linspace(-12, 12, 20001, dtype=np.float32)[:, np.newaxis]
    total = scipy.integrate.simpson(np.exp(px_z.log_prob(x[..., np.newaxis])), x=x, axis=0)
    np.testing.assert_allclose(total, np.ones(3), rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_lie_in_the_support_and_have_the_mean_that_it_states(family):
    likelihood, n = make(family), 20_000
    px_z = likelihood(Z)
    x = px_z.sample(n, seed=[0, 1]).numpy().astype(np.float64)
    assert np.all(likelihood.in_support(tf.constant(x, tf.float32)))
    error = np.sqrt(px_z.variance().numpy() / n)
    assert np.all(np.abs(x.mean(0) - px_z.mean()) < 5 * error)


@pytest.mark.parametrize("body", ["mlp", "conv"])
@pytest.mark.parametrize("family", FAMILIES)
def test_leading_axes_pass_through(family, body):
    network = networks.mlp((2,), [8]) if body == "mlp" else networks.transposed_conv((2,), SHAPE, (4,))
    options = {"total_count": 16} if family == "binomial" else {}
    likelihood = getattr(likelihoods, family)(network, SHAPE, **options)
    z = np.random.default_rng(2).normal(size=(4, 3, 2)).astype(np.float32)
    x = some_x(family)
    together = likelihood(z).log_prob(x)
    one_by_one = tf.stack([likelihood(z[s]).log_prob(x) for s in range(4)])
    assert together.shape == (4, 3)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-4)


@pytest.mark.parametrize("family", [likelihoods.normal, likelihoods.laplace])
def test_a_learned_scale_has_a_gradient_and_a_floor(family):
    likelihood = decoder(family, scale=None, min_scale=1e-2)
    x = some_x("normal")
    with tf.GradientTape() as tape:
        log_px_z = tf.reduce_sum(likelihood(Z).log_prob(x))
    (raw,) = likelihood.scale.trainable_variables
    assert any(v is raw for v in likelihood.trainable_variables)
    assert np.abs(tape.gradient(log_px_z, raw)) > 0
    raw.assign(-100.0)
    np.testing.assert_allclose(likelihood.scale, 1e-2, rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "good", "bad"),
    [
        ("bernoulli", (0.0, 1.0), (0.3, -1.0, 2.0, np.nan)),
        ("binomial", (0.0, 3 / 16, 1.0), (0.3, 17 / 16, -1 / 16, np.nan)),
        ("normal", (-3.0, 0.3), (np.inf, np.nan)),
        ("laplace", (-3.0, 0.3), (np.inf, np.nan)),
    ],
)
def test_support(family, good, bad):
    in_support = make(family).in_support
    assert np.all(in_support(tf.constant(good)))
    assert not np.any(in_support(tf.constant(bad)))


def test_bytes_are_in_the_support_of_255_trials():
    likelihood = decoder(likelihoods.binomial, total_count=255)
    assert np.all(likelihood.in_support(tf.constant(np.arange(256), tf.float32) / 255))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: decoder(likelihoods.binomial, 0), "total_count must be at least 1, got 0"),
        (lambda: decoder(likelihoods.normal, 0.0), "scale must be above 0, or None to learn it, got 0.0"),
        (lambda: decoder(likelihoods.laplace, -1.0), "scale must be above 0, or None to learn it, got -1.0"),
        (lambda: decoder(likelihoods.normal, None, min_scale=0.0), "min_scale must be above 0, got 0.0"),
        (lambda: decoder(likelihoods.bernoulli, shape=(0, 2)), r"event_shape must have sizes .* got \(0, 2\)"),
    ],
)
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
