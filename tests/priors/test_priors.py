import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfvae import priors

Z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def test_standard_normal_is_that_of_scipy():
    expected = scipy.stats.norm.logpdf(Z).sum(axis=1)
    np.testing.assert_allclose(priors.standard_normal(3).log_prob(Z), expected, rtol=1e-6)


def test_normal_mixture_is_the_weighted_sum_of_its_components():
    pz = priors.normal_mixture(3, 4, seed=0)
    pz.mixture_distribution.logits.assign([0.0, 1.0, -1.0, 0.5])
    weights = tf.nn.softmax(pz.mixture_distribution.logits).numpy()
    locs = pz.components_distribution.mean().numpy()
    scales = pz.components_distribution.stddev().numpy()
    densities = scipy.stats.norm.pdf(Z[:, np.newaxis], locs, scales).prod(axis=2)
    np.testing.assert_allclose(pz.log_prob(Z), np.log(densities @ weights), rtol=1e-5)


def test_every_part_of_the_mixture_can_be_trained():
    pz = priors.normal_mixture(3, 4, seed=0)
    assert len(pz.trainable_variables) == 3
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(pz.log_prob(Z))
    for gradient in tape.gradient(loss, pz.trainable_variables):
        assert np.any(np.abs(gradient) > 0)


def test_a_seed_fixes_the_mixture():
    first, second = (priors.normal_mixture(3, 4, seed=5).components_distribution.mean() for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.standard_normal(2.0), "latent_size must be an integer of at least 1, got 2.0"),
        (lambda: priors.flow(2, hidden_sizes=64), "hidden_sizes must be a tuple of integers of at least 1, .* got 64"),
        (lambda: priors.standard_normal(0), "latent_size must be an integer of at least 1, got 0"),
        (lambda: priors.normal_mixture(2, 0), "num_components must be an integer of at least 1, got 0"),
    ],
)
def test_bad_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_scales_of_the_mixture_have_a_floor():
    pz = priors.normal_mixture(3, 4, seed=0)
    for variable in pz.trainable_variables:
        if "scale" in variable.name:
            variable.assign(tf.fill(variable.shape, -50.0))
    assert np.min(pz.components_distribution.stddev()) >= 1e-3
