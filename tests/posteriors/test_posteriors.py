import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfvae import networks, posteriors

X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def posterior(family, latent_size=2):
    return family(networks.mlp((5,), [8], seed=0), latent_size, seed=1)(X)


@pytest.mark.parametrize("family", [posteriors.diagonal_normal, posteriors.full_normal])
def test_log_prob_is_that_of_scipy(family):
    qz_x = posterior(family)
    z = np.random.default_rng(1).normal(size=(3, 2))
    expected = [scipy.stats.multivariate_normal.logpdf(z[i], qz_x.mean()[i], qz_x.covariance()[i]) for i in range(3)]
    np.testing.assert_allclose(qz_x.log_prob(z.astype(np.float32)), expected, rtol=1e-5)


@pytest.mark.parametrize("family", [posteriors.diagonal_normal, posteriors.full_normal])
def test_samples_have_the_mean_and_covariance_that_it_states(family):
    qz_x, n = posterior(family), 100_000
    z = qz_x.sample(n, seed=[0, 1]).numpy().astype(np.float64)
    covariance = qz_x.covariance().numpy()
    variances = np.stack([np.diag(c) for c in covariance])
    assert np.all(np.abs(z.mean(0) - qz_x.mean()) < 5 * np.sqrt(variances / n))
    for i in range(3):
        error = np.sqrt((covariance[i] ** 2 + np.outer(variances[i], variances[i])) / n)
        assert np.all(np.abs(np.cov(z[:, i].T) - covariance[i]) < 5 * error)


def test_only_the_full_normal_correlates_latents():
    diagonal, full = (posterior(f).covariance().numpy() for f in (posteriors.diagonal_normal, posteriors.full_normal))
    assert np.all(diagonal[:, 0, 1] == 0)
    assert np.all(np.abs(full[:, 0, 1]) > 1e-3)


def test_the_scale_stays_positive_where_softplus_underflows():
    model = posteriors.diagonal_normal(networks.mlp((5,), []), 2)
    model.build((None, 5))
    model.params.bias.assign([0.0, 0.0, -200.0, -200.0])
    model.params.kernel.assign(tf.zeros([5, 4]))
    np.testing.assert_allclose(model(X).stddev(), np.full((3, 2), posteriors.MIN_SCALE), rtol=1e-6)


@pytest.mark.parametrize("family", [posteriors.diagonal_normal, posteriors.full_normal])
def test_a_latent_size_below_one_is_refused(family):
    with pytest.raises(ValueError, match="latent_size must be an integer of at least 1, got 0"):
        family(networks.mlp((5,), []), 0)
