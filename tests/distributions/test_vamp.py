import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

import tfvae
from tfvae import likelihoods, networks, objectives, posteriors, priors

tfd = tfp.distributions

FAMILIES = [posteriors.diagonal_normal, posteriors.full_normal, posteriors.iaf]
Z = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)


def encoder(family=posteriors.diagonal_normal):
    return family(networks.mlp((5,), [8], seed=0), 2, seed=1)


def mixture(model, pz):
    """The same prior by TFP's own mixture, of what the encoder is now."""
    qz_u = model(tf.convert_to_tensor(pz.pseudo_inputs))
    qz_u = getattr(qz_u, "base", qz_u)
    return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(pz.pseudo_inputs.shape[0])), qz_u)


@pytest.mark.parametrize("family", [posteriors.diagonal_normal, posteriors.full_normal])
def test_with_one_pseudo_input_it_is_the_posterior_at_it(family):
    model, u = encoder(family), np.random.default_rng(1).normal(size=(1, 5)).astype(np.float32)
    pz = priors.vamp(model, 1, initial=u)
    np.testing.assert_allclose(pz.log_prob(Z), model(u).log_prob(Z), rtol=1e-5)
    np.testing.assert_allclose(pz.mean(), model(u).mean()[0], rtol=1e-6)


def test_at_its_only_pseudo_input_the_kl_is_zero_sample_by_sample():
    model, u = encoder(), np.random.default_rng(1).normal(size=(1, 5)).astype(np.float32)
    vae = tfvae.VAE(model, likelihoods.normal(networks.mlp((2,), [8]), (5,)), priors.vamp(model, 1, initial=u))
    terms = objectives.elbo(vae, u, seed=0, num_samples=9)
    np.testing.assert_allclose(terms.kl, 0, atol=1e-5)
    x = u + np.ones((1, 5), np.float32)
    exact = tfd.kl_divergence(model(x), model(u)).numpy()
    qz_x = vae.encode(x)
    z = qz_x.sample(100_000, seed=[0, 1])
    log_ratio = (qz_x.log_prob(z) - vae.prior.log_prob(z)).numpy()
    assert abs(log_ratio.mean() - exact[0]) < 5 * log_ratio.std() / np.sqrt(len(z))


@pytest.mark.parametrize("family", FAMILIES)
def test_its_density_is_that_of_the_mixture_also_after_the_encoder_has_moved(family):
    model = encoder(family)
    pz = priors.vamp(model, 6, seed=0)
    before = pz.log_prob(Z)
    np.testing.assert_allclose(before, mixture(model, pz).log_prob(Z), rtol=1e-5)
    for v in model.trainable_variables:
        v.assign(1.5 * v + 0.1)
    np.testing.assert_allclose(pz.log_prob(Z), mixture(model, pz).log_prob(Z), rtol=1e-5)
    assert np.all(np.abs(before - pz.log_prob(Z)) > 1e-3)


def test_pseudo_inputs_are_drawn_by_the_seed():
    first, again, other = (priors.vamp(encoder(), 6, seed=seed).pseudo_inputs.numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_components_come_without_their_layers_wrapper():
    """Of normals, the density is two products of matrices."""
    pz = priors.vamp(encoder(), 6, seed=0)
    assert isinstance(pz.components(), tfd.MultivariateNormalDiag)


def test_narrow_components_cost_no_precision():
    def narrow(u):
        return tfd.MultivariateNormalDiag(u, tf.fill([2], 1e-4))

    locs = np.array([[3.0, -2.0], [0.5, 0.1]], np.float32)
    pz = priors.vamp(narrow, 2, initial=locs)
    z = locs[0] + np.array([1e-4, -2e-4], np.float32)
    expected = tfd.MultivariateNormalDiag(np.float64(locs[0]), np.full(2, 1e-4)).log_prob(np.float64(z)) - np.log(2)
    np.testing.assert_allclose(pz.log_prob(z), expected, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_its_samples_have_its_density(family):
    """The mean of 1 / p(z) over samples in a box is the box's size."""
    pz, n = priors.vamp(encoder(family), 6, seed=0), 200_000
    z = pz.sample(n, seed=[0, 1])
    inside = np.all(np.abs(z - pz.mean()) < 0.5, axis=1)
    values = np.where(inside, np.exp(-pz.log_prob(z).numpy().astype(np.float64)), 0)
    assert inside.mean() > 0.05
    assert abs(values.mean() - 1) < 5 * values.std() / np.sqrt(n)


@pytest.mark.parametrize("family", FAMILIES)
def test_its_moments_are_those_of_its_samples(family):
    pz, n = priors.vamp(encoder(family), 6, seed=0), 200_000
    z = pz.sample(n, seed=[0, 1]).numpy()
    np.testing.assert_allclose(pz.mean(), z.mean(axis=0), atol=5 * z.std() / np.sqrt(n))
    np.testing.assert_allclose(pz.stddev(), z.std(axis=0), rtol=0.02)


def test_the_encoder_is_counted_once_and_gradients_reach_all(digits):
    model = posteriors.diagonal_normal(networks.mlp(digits.event_shape, [8], seed=0), 2, seed=1)
    pz = priors.vamp(model, 6, seed=2)
    decoder = likelihoods.binomial(networks.mlp((2,), [8], seed=3), digits.event_shape, 16, seed=4)
    vae = tfvae.VAE(model, decoder, pz)
    (u,) = pz.trainable_variables
    assert u.shape == (6, *digits.event_shape)
    assert len(vae.trainable_variables) == len(model.trainable_variables) + len(decoder.trainable_variables) + 1
    vae.compile(tfk.optimizers.Adam(1e-2), objectives.elbo)
    with tf.GradientTape(persistent=True) as tape:
        log_pz = tf.reduce_mean(pz.log_prob(Z))
        loss = -tf.reduce_mean(vae.objective(vae, digits.x_train[:16], seed=0, step=0).objective)
    for variables, value in (([*model.trainable_variables, u], log_pz), (vae.trainable_variables, loss)):
        for gradient in tape.gradient(value, variables):
            assert np.any(gradient != 0)
    losses = vae.fit(digits.train(64), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 1


def test_pseudo_images_stay_in_range(digits):
    model = posteriors.diagonal_normal(networks.mlp(digits.event_shape, [8]), 2)
    pz = priors.vamp(model, 3, initial=digits.x_train[:3])
    np.testing.assert_allclose(pz.pseudo_inputs, np.clip(digits.x_train[:3], 0.01, 0.99), atol=1e-6)
    pz.trainable_variables[0].assign_add(tf.random.stateless_normal([3, *digits.event_shape], [0, 1], stddev=50.0))
    assert np.all((pz.pseudo_inputs >= 0) & (pz.pseudo_inputs <= 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_pseudo_inputs": 0}, "num_pseudo_inputs must be an integer of at least 1, got 0"),
        (
            {"num_pseudo_inputs": 2, "initial": np.zeros((3, 5))},
            r"initial must hold num_pseudo_inputs, 2, .* got \[3, 5\]",
        ),
        ({"initial": np.zeros((500, 4))}, r"initial must hold .* of the encoder's input, shape \[5\], got \[500, 4\]"),
        ({"initial": np.zeros((500, 5), np.uint8)}, "initial must hold floats, got uint8: divide bytes by 255"),
        ({"initial": np.full((500, 5), np.nan)}, "initial must be finite, got nan"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        priors.vamp(encoder(), **options)


def test_images_to_start_from_are_in_range(digits):
    model = posteriors.diagonal_normal(networks.mlp(digits.event_shape, [8]), 2)
    with pytest.raises(ValueError, match=r"initial must be in \[0, 1\], got"):
        priors.vamp(model, 3, initial=255 * digits.x_train[:3])


def test_an_encoder_that_tells_no_shape_needs_pseudo_inputs():
    with pytest.raises(ValueError, match="initial must be given where the encoder does not tell"):
        priors.vamp(lambda u: tfd.MultivariateNormalDiag(u, tf.ones(2)), 3)
