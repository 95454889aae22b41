import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf

from tfvae import likelihoods, networks

Z = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
SHAPE = (2, 3, 2)
LEVELS = ("binomial", "discretized_logistic", "logistic_mixture")
DENSITIES = ("normal", "laplace", "normal_per_image", "normal_per_pixel", "normal_optimal", "continuous_bernoulli")
FAMILIES = ("bernoulli", *LEVELS, *DENSITIES)


def decoder(family, *args, shape=SHAPE, **kwargs):
    return family(networks.mlp((2,), [8], seed=0), shape, *args, seed=1, **kwargs)


def scipy_log_prob(family, px_z, x):
    """The same log p(x|z) from the distribution's mean or parameters, by scipy."""
    mean, elements = px_z.mean().numpy().astype(np.float64), px_z.distribution
    elementwise = {
        "bernoulli": lambda: scipy.stats.bernoulli.logpmf(x, mean),
        "binomial": lambda: scipy.stats.binom.logpmf(np.round(16 * x), 16, mean),
        "normal": lambda: scipy.stats.norm.logpdf(x, mean, 0.5),
        "laplace": lambda: scipy.stats.laplace.logpdf(x, mean, 0.5),
        "normal_per_image": lambda: scipy.stats.norm.logpdf(x, mean, elements.scale),
        "normal_per_pixel": lambda: scipy.stats.norm.logpdf(x, mean, elements.scale),
        "normal_optimal": lambda: scipy.stats.norm.logpdf(x, mean, 1.0),
        "continuous_bernoulli": lambda: truncated_exponential(x, elements.logits.numpy().astype(np.float64)),
        "discretized_logistic": lambda: np.log(logistic_masses(x, elements.loc.numpy(), elements.scale.numpy())),
        "logistic_mixture": lambda: np.log(mixed_masses(x[..., np.newaxis, :], elements)),
    }[family]()
    return elementwise.reshape(3, -1).sum(axis=1)


def truncated_exponential(x, logits):
    return logits * x - np.log(np.expm1(logits) / logits)


def logistic_masses(x, loc, scale):
    lower = np.where(x == 0, -np.inf, (x - 1 / 32 - loc) / scale)
    upper = np.where(x == 1, np.inf, (x + 1 / 32 - loc) / scale)
    return scipy.stats.logistic.cdf(upper) - scipy.stats.logistic.cdf(lower)


def mixed_masses(x, mixture):
    """Of each pixel: the channels are multiplied within a component."""
    logistic = mixture.components_distribution.distribution
    of_components = logistic_masses(x, logistic.loc.numpy(), logistic.scale.numpy()).prod(axis=-1)
    return (scipy.special.softmax(mixture.mixture_distribution.logits, axis=-1) * of_components).sum(axis=-1)


def make(family, shape=SHAPE):
    options = {"total_count": 16} if family in LEVELS else {"scale": 0.5} if family in ("normal", "laplace") else {}
    return decoder(getattr(likelihoods, family), shape=shape, **options)


def some_x(family, shape=(3, *SHAPE)):
    rng = np.random.default_rng(1)
    if family == "bernoulli":
        return rng.integers(0, 2, shape).astype(np.float32)
    if family in LEVELS:
        return (rng.integers(0, 17, shape) / 16).astype(np.float32)
    return rng.random(shape).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_prob_is_scipys_summed_over_the_event(family):
    px_z, x = make(family)(Z), some_x(family)
    assert px_z.batch_shape == (3,) and px_z.event_shape == SHAPE
    np.testing.assert_allclose(px_z.log_prob(x), scipy_log_prob(family, px_z, x), rtol=2e-5)


@pytest.mark.parametrize(("family", "levels"), [("bernoulli", 2), *((f, 17) for f in LEVELS)])
def test_a_mass_sums_to_one_over_its_support(family, levels):
    px_z = make(family, shape=(1,))(Z)
    x = np.linspace(0, 1, levels, dtype=np.float32).reshape(levels, 1, 1)
    np.testing.assert_allclose(np.exp(px_z.log_prob(x)).sum(axis=0), np.ones(3), rtol=1e-5)


@pytest.mark.parametrize("family", DENSITIES)
def test_a_density_integrates_to_one(family):
    px_z = make(family, shape=(1,))(Z)
    loc = px_z.mean().numpy()[:, 0]
    x = loc + np.linspace(-12, 12, 20001, dtype=np.float32)[:, np.newaxis]
    if family == "continuous_bernoulli":
        x = np.linspace(0, 1, 20001, dtype=np.float32)[:, np.newaxis]
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
    network = networks.mlp((2,), [8], seed=0) if body == "mlp" else networks.transposed_conv((2,), SHAPE, (4,), seed=0)
    options = {"total_count": 16} if family in LEVELS else {}
    likelihood = getattr(likelihoods, family)(network, SHAPE, seed=1, **options)
    z = np.random.default_rng(2).normal(size=(4, 3, 2)).astype(np.float32)
    x = some_x(family)
    together = likelihood(z).log_prob(x)
    one_by_one = tf.stack([likelihood(z[s]).log_prob(x) for s in range(4)])
    assert together.shape == (4, 3)
    # A density's logarithm may be near zero, where its terms cancel: what remains then is the terms' rounding error.
    np.testing.assert_allclose(together, one_by_one, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("family", [likelihoods.normal, likelihoods.laplace])
def test_a_learned_scale_has_a_gradient_and_a_floor(family):
    likelihood = decoder(family, min_scale=1e-2)
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
        ("normal_per_pixel", (-3.0, 0.3), (np.inf, np.nan)),
        ("continuous_bernoulli", (0.0, 0.3, 1.0), (-0.1, 1.1, np.nan)),
        ("logistic_mixture", (0.0, 3 / 16, 1.0), (0.3, 17 / 16, -1 / 16, np.nan)),
    ],
)
def test_support(family, good, bad):
    in_support = make(family).in_support
    assert np.all(in_support(tf.constant(good)))
    assert not np.any(in_support(tf.constant(bad)))


def test_the_channels_of_a_pixel_share_the_mixtures_component():
    """Two components far apart in both channels: a pixel's channels are both dark or both light."""
    px_z = decoder(likelihoods.logistic_mixture, 16, 2, shape=(1, 1, 2))
    px_z(Z)
    px_z.params.kernel.assign(tf.zeros_like(px_z.params.kernel))
    # Two logits; then for each component both locs, then both raw scales.
    px_z.params.bias.assign([0, 0, 0.1, 0.1, -4, -4, 0.9, 0.9, -4, -4])
    x = px_z(Z[:1]).sample(500, seed=[0, 1]).numpy().reshape(500, 2)
    assert np.all((x[:, 0] > 0.5) == (x[:, 1] > 0.5)) and 0.4 < np.mean(x > 0.5) < 0.6
    np.testing.assert_allclose(px_z(Z[:1]).mean(), np.full((1, 1, 1, 2), 0.5), atol=1e-3)


def test_bytes_are_in_the_support_of_255_trials():
    likelihood = decoder(likelihoods.binomial, total_count=255)
    assert np.all(likelihood.in_support(tf.constant(np.arange(256), tf.float32) / 255))
    assert not np.any(likelihood.in_support(tf.constant(np.arange(1, 256), tf.float32) / 256))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: decoder(likelihoods.binomial, 0), "total_count must be an integer of at least 1, got 0"),
        (lambda: decoder(likelihoods.discretized_logistic, 0), "total_count must be an integer of at least 1, got 0"),
        (
            lambda: decoder(likelihoods.logistic_mixture, 16, 0),
            "num_components must be an integer of at least 1, got 0",
        ),
        (lambda: decoder(likelihoods.binomial, 2.5), "total_count must be an integer of at least 1, got 2.5"),
        (lambda: decoder(likelihoods.normal, float("nan")), "scale must be a finite number above 0, or .* got nan"),
        (lambda: decoder(likelihoods.normal, float("inf")), "scale must be a finite number above 0, or .* got inf"),
        (lambda: decoder(likelihoods.normal, 1e-30), "scale must be at least 1e-15, got 1e-30"),
        (
            lambda: decoder(likelihoods.normal, 0.0),
            "scale must be a finite number above 0, or None to learn it, got 0.0",
        ),
        (
            lambda: decoder(likelihoods.laplace, -1.0),
            "scale must be a finite number above 0, or None to learn it, got -1.0",
        ),
        (
            lambda: decoder(likelihoods.normal, None, min_scale=0.0),
            "min_scale must be a finite number above 0, got 0.0",
        ),
        (
            lambda: decoder(likelihoods.logistic_mixture, shape=()),
            r"event_shape must be integers of at least 1, got \(\)",
        ),
        (
            lambda: decoder(likelihoods.bernoulli, shape=(0, 2)),
            r"event_shape must be integers of at least 1, got \(0, 2\)",
        ),
    ],
)
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
