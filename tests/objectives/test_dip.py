import numpy as np
import pytest
from conftest import small_vae

from tfvae import objectives
from tfvae.objectives.disentangling import latent_covariance


@pytest.mark.parametrize("posterior", ["diagonal_normal", "full_normal"])
def test_the_covariance_is_numpys(digits, posterior):
    vae = small_vae(digits, latent_size=3, posterior=posterior)
    qz_x = vae.encode(digits.x_test[:20])
    of_means = np.cov(qz_x.mean().numpy().T, bias=True)
    np.testing.assert_allclose(latent_covariance(qz_x, of_means=True), of_means, rtol=1e-4, atol=1e-6)
    within = qz_x.covariance().numpy().mean(axis=0)
    np.testing.assert_allclose(latent_covariance(qz_x), of_means + within, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", [1, 2])
def test_the_penalty_is_its_formula(digits, variant):
    vae, x = small_vae(digits, latent_size=3), digits.x_test[:20]
    terms = objectives.dip_elbo(3.0, 5.0, variant=variant)(vae, x, seed=0)
    found = np.array(latent_covariance(vae.encode(x), of_means=variant == 1))
    off_diagonal = sum(found[i, j] ** 2 for i in range(3) for j in range(3) if i != j)
    penalty = 3 * off_diagonal + 5 * np.sum((np.diag(found) - 1) ** 2)
    np.testing.assert_allclose(terms.log_likelihood - terms.kl - terms.objective, np.full(20, penalty), rtol=1e-4)


def test_without_weights_it_is_the_elbo(digits):
    vae, x = small_vae(digits), digits.x_test[:9]
    for a, b in zip(objectives.dip_elbo(0, 0)(vae, x, seed=3), objectives.elbo(vae, x, seed=3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_decorrelates_the_latents(digits):
    correlations = []
    for weight in (0.0, 300.0):
        vae = small_vae(
            digits, objective="dip_elbo", dip_off_diagonal=weight, dip_diagonal=weight, latent_size=4, epochs=8
        )
        vae.fit(digits.train(64), epochs=8, verbose=0)
        found = np.corrcoef(vae.encode(digits.x_test).mean().numpy().T)
        correlations.append(np.abs(found - np.eye(4)).max())
    assert correlations[1] < 0.5 * correlations[0]


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="variant must be 1 or 2, got 3"):
        objectives.dip_elbo(1.0, 1.0, variant=3)
    with pytest.raises(ValueError, match="off_diagonal must be a finite number of at least 0, got -1"):
        objectives.dip_elbo(-1, 1.0)
    with pytest.raises(ValueError, match="diagonal must be a finite number of at least 0, got -1"):
        objectives.dip_elbo(1.0, -1)
