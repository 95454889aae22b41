"""Two layers of latents. The linear model z_2 -> z_1 -> x, one latent each, has exact posteriors of both kinds."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tf_keras as tfk

import tfvae
from tfvae import hierarchical, likelihoods, networks, objectives, posteriors

# z_2 ~ N(0, 1), z_1 ~ N(W z_2 + B, S^2), x ~ N(V z_1 + CENTRE, T^2 I).
W, B, S, T = 0.7, -0.4, 0.6, 0.5
V, CENTRE = np.array([1.0, -0.5, 2.0]), np.array([0.1, 0.2, 0.3])
X = np.random.default_rng(0).normal(size=(6, 3))


@pytest.fixture
def double_precision():
    """Keras' floatx, in which the conditionals compute."""
    tfk.backend.set_floatx("float64")
    yield
    tfk.backend.set_floatx("float32")


def raw(scale):
    """What softplus and the floor make the scale of."""
    return np.log(np.expm1(scale - posteriors.MIN_SCALE))


def set_linear(head, weight, bias, scale):
    head.layers[-1].kernel.assign([[weight, 0.0]])
    head.layers[-1].bias.assign([bias, raw(scale)])


def linear_prior():
    pz = hierarchical.prior([networks.mlp((1,), [])], (1, 1))
    set_linear(pz.transform.heads[0], W, B, S)
    return pz


def log_joint(z):
    """log p(x, z) - log p(x): what the exact posterior's log density is."""
    log_px_z = scipy.stats.norm.logpdf(X, V * z[..., :1] + CENTRE, T).sum(-1)
    covariance = np.outer(V, V) * (W**2 + S**2) + T**2 * np.eye(3)
    log_px = scipy.stats.multivariate_normal.logpdf(X, V * B + CENTRE, covariance)
    return log_px_z + linear_prior().log_prob(z).numpy() - log_px


def test_the_linear_prior_is_the_known_normal(double_precision):
    z = np.random.default_rng(1).normal(size=(5, 2))
    covariance = [[W**2 + S**2, W], [W, 1]]
    expected = scipy.stats.multivariate_normal.logpdf(z, [B, 0], covariance)
    np.testing.assert_allclose(linear_prior().log_prob(z), expected, rtol=1e-10)
    np.testing.assert_allclose(linear_prior().mean(), [B, 0], atol=1e-12)


def test_the_exact_posterior_is_a_bottom_up_one(double_precision):
    model = hierarchical.bottom_up([networks.mlp((3,), []), networks.mlp((1,), [])], (1, 1))
    variance_1 = W**2 + S**2
    set_linear(
        model.distribution.transform.heads[0], W / variance_1, -W / variance_1 * B, np.sqrt(1 - W**2 / variance_1)
    )
    precision = 1 / variance_1 + V @ V / T**2
    loc = (B / variance_1 + (X - CENTRE) @ V / T**2) / precision
    qz_x = model.distribution(tf.constant(np.stack([loc, np.full(6, raw(precision**-0.5))], axis=-1)))
    z = qz_x.sample(4, seed=[0, 1])
    np.testing.assert_allclose(qz_x.log_prob(z), log_joint(z.numpy()), rtol=1e-9)


def test_the_exact_posterior_is_a_top_down_one(double_precision):
    pz = linear_prior()
    model = hierarchical.top_down([networks.mlp((3,), []), networks.mlp((3,), [])], (1, 1), pz)
    noise = np.linalg.inv(S**2 * np.outer(V, V) + T**2 * np.eye(3))
    variance_2 = 1 / (1 + W**2 * V @ noise @ V)
    loc_2 = variance_2 * W * (X - V * B - CENTRE) @ noise @ V
    loc_1, scale_1 = (X - CENTRE) @ V / (V @ V), T / np.sqrt(V @ V)
    columns = [loc_1, np.full(6, raw(scale_1)), loc_2, np.full(6, raw(np.sqrt(variance_2)))]
    qz_x = model.distribution(tf.constant(np.stack(columns, axis=-1)))
    z = qz_x.sample(4, seed=[0, 1])
    np.testing.assert_allclose(qz_x.log_prob(z), log_joint(z.numpy()), rtol=1e-9)


def test_its_weights_are_there_before_it_is_used():
    pz = hierarchical.prior([networks.mlp((2,), [8], seed=1)], (3, 2))
    assert sorted(tuple(v.shape) for v in pz.trainable_variables) == [(2, 8), (6,), (8,), (8, 6)]


def three_layers(kind, digits):
    sizes = (4, 3, 2)
    pz = hierarchical.prior([networks.mlp((3,), [8], seed=1), networks.mlp((2,), [8], seed=2)], sizes, seed=3)
    body = networks.mlp(digits.event_shape, [16], seed=4)
    if kind == "bottom_up":
        upper = [networks.mlp((4,), [8], seed=5), networks.mlp((3,), [8], seed=6)]
        model = hierarchical.bottom_up([body, *upper], sizes, seed=7)
    else:
        upper = [networks.mlp((16,), [8], seed=5), networks.mlp((8,), [8], seed=6)]
        model = hierarchical.top_down([body, *upper], sizes, pz, seed=7)
    first = networks.first(networks.mlp((4,), [16], seed=8), of=9)
    return tfvae.VAE(model, likelihoods.binomial(first, digits.event_shape, 16, seed=9), pz)


@pytest.mark.parametrize("kind", ["bottom_up", "top_down"])
def test_three_layers_train(kind, digits):
    vae = three_layers(kind, digits)
    pieces = (vae.encoder, vae.decoder, vae.prior)
    assert len(vae.trainable_variables) == sum(len(piece.trainable_variables) for piece in pieces)
    assert len(vae.prior.trainable_variables) == 8
    vae.compile(tfk.optimizers.Adam(1e-2), objectives.iwae(3))
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(vae.objective(vae, digits.x_train[:16], seed=0, step=0).objective)
    for gradient, variable in zip(tape.gradient(loss, vae.trainable_variables), vae.trainable_variables, strict=True):
        assert np.any(gradient != 0), variable.name
    losses = vae.fit(digits.train(64), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 1


def test_the_decoder_reads_the_first_layer_alone(digits):
    vae = three_layers("bottom_up", digits)
    z = np.random.default_rng(0).normal(size=(2, 9)).astype(np.float32)
    other = z + np.r_[np.zeros(4), np.ones(5)].astype(np.float32)
    np.testing.assert_array_equal(vae.decode(z).mean(), vae.decode(other).mean())
    assert np.any(vae.decode(z).mean() != vae.decode(z + 1).mean())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hierarchical.prior([], (3,)), r"latent_sizes must hold at least two sizes of at least 1, got \(3,\)"),
        (
            lambda: hierarchical.prior([], (3, 0)),
            r"latent_sizes must hold at least two sizes of at least 1, got \(3, 0\)",
        ),
        (lambda: hierarchical.prior([], (3, 2)), "networks must be 1 for 2 latent_sizes, got 0"),
        (lambda: hierarchical.bottom_up([], (3, 2)), "networks must be 2 for 2 latent_sizes, got 0"),
        (lambda: networks.first(networks.mlp((3,), []), 2), "of must be at least the network's 3 inputs, got 2"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
