import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk
from sklearn.decomposition import PCA

import tfvae
from tfvae import likelihoods, linear, networks, objectives, posteriors, priors


def test_the_evidence_is_the_mean_of_the_likelihood_over_the_prior(linear_model, linear_x):
    z = linear_model.prior.sample(200_000, seed=[0, 2])
    likelihoods_of_x = np.exp(linear_model.likelihood(z[:, tf.newaxis]).log_prob(linear_x))
    error = likelihoods_of_x.std(axis=0) / np.sqrt(len(z))
    expected = np.exp(linear_model.evidence.log_prob(linear_x))
    assert np.all(np.abs(likelihoods_of_x.mean(axis=0) - expected) < 5 * error)


def test_bayes_theorem(linear_model, linear_x):
    z = np.random.default_rng(1).normal(size=(7, 2))
    joint = linear_model.likelihood(z).log_prob(linear_x) + linear_model.prior.log_prob(z)
    posterior = linear_model.posterior(linear_x).log_prob(z)
    np.testing.assert_allclose(joint - posterior, linear_model.evidence.log_prob(linear_x), rtol=1e-12)


@pytest.mark.parametrize("latent_size", [2, 10])
def test_the_optimum_is_that_of_scikit_learn(digits, latent_size):
    x = digits.x_train.reshape(len(digits.x_train), -1)
    model = linear.maximum_likelihood(x, latent_size)
    score = PCA(latent_size, svd_solver="full").fit(x.astype(np.float64)).score(x.astype(np.float64))
    np.testing.assert_allclose(np.mean(model.evidence.log_prob(x)), score, rtol=1e-4)


def test_no_neighbour_of_the_optimum_is_better(digits):
    x = digits.x_train.reshape(len(digits.x_train), -1).astype(np.float64)
    model = linear.maximum_likelihood(x, 2)
    best = np.mean(model.evidence.log_prob(x))
    rng = np.random.default_rng(0)
    for _ in range(5):
        step = 1e-2 * rng.normal(size=model.weights.shape)
        near = linear.LinearGaussian(model.weights + step, model.mean, model.variance * np.exp(0.02 * rng.normal()))
        assert np.mean(near.evidence.log_prob(x)) < best


@pytest.mark.parametrize(("latent_size", "epochs"), [(2, 80), (10, 240)])
def test_a_linear_vae_reaches_the_exact_optimum(digits, latent_size, epochs):
    """Lucas et al. (2019, arXiv 1911.02469): the ELBO adds no local maxima to pPCA's likelihood."""
    exact = linear.maximum_likelihood(digits.x_train, latent_size)
    log_evidence = np.mean(exact.evidence.log_prob(digits.x_train.reshape(len(digits.x_train), -1)))
    vae = tfvae.VAE(
        posteriors.diagonal_normal(networks.mlp(digits.event_shape, [], seed=0), latent_size, seed=1),
        likelihoods.normal(networks.mlp((latent_size,), [], seed=2), digits.event_shape, scale=None, seed=3),
        priors.standard_normal(latent_size),
    )
    rate = tfk.optimizers.schedules.CosineDecay(0.05, epochs * 21, alpha=1e-3)
    vae.compile(tfk.optimizers.Adam(rate, beta_2=0.99), objectives.weighted_elbo(num_samples=4))
    vae.fit(digits.train(64), epochs=epochs, verbose=0)
    measured = tfvae.diagnostics.measure(vae, digits.x_train, num_samples=100)
    assert abs(measured.elbo.mean() - log_evidence) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear.LinearGaussian(np.ones((3, 2)), np.ones(2), 1.0), r"weights must be \[E, D\] and mean \[E\]"),
        (
            lambda: linear.LinearGaussian(np.ones((3, 2)), np.ones(3), 0.0),
            "variance must be a finite number above 0, got 0.0",
        ),
        (lambda: linear.maximum_likelihood(np.ones((9, 3)), 3), r"latent_size must be in \[1, 2\], got 3"),
        (lambda: linear.maximum_likelihood(np.outer(np.arange(9), [1, 2, 3]), 1), "latent_size must leave noise"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
