import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from conftest import small_vae

import tfvae
from tfvae import objectives
from tfvae.objectives import disentangling as factor
from tfvae.seeds import fold_in

tfd = tfp.distributions


def small(**options):
    return objectives.factor_elbo(5.0, 2, **{"hidden_sizes": (16,), "learning_rate": 1e-3, **options})


def correlated_vae(correlation):
    """A model whose q(z) is a normal with this correlation, whatever x."""
    scale = np.linalg.cholesky([[1, correlation], [correlation, 1]]).astype(np.float32)

    def encoder(x):
        return tfd.MultivariateNormalTriL(tf.zeros([tf.shape(x)[0], 2]), scale)

    def decoder(z):
        return tfd.MultivariateNormalDiag(z, tf.ones(2))

    return tfvae.VAE(encoder, decoder, tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2)))


def test_the_discriminator_learns_the_total_correlation():
    """Of a normal it is -1/2 log(1 - r^2): known."""
    vae, x = correlated_vae(0.8), tf.zeros([500, 2])
    objective = small(hidden_sizes=(64, 64))
    step = tf.function(lambda i: objective.update(vae, x, seed=fold_in(0, i), good=tf.constant(True)))
    for i in tf.range(1000):
        step(i)
    z = vae.encode(tf.zeros([20_000, 2])).sample(seed=[0, 1])
    np.testing.assert_allclose(np.mean(objective.log_ratio(z)), -0.5 * np.log(1 - 0.8**2), rtol=0, atol=0.06)


def test_the_penalty_is_gamma_times_the_log_ratio(digits):
    vae, x = small_vae(digits), digits.x_test[:9]
    objective = small()
    terms = objective(vae, x, seed=3)
    z = vae.encode(x).sample(1, seed=[3, 0])
    penalty = 5 * objective.log_ratio(z)[0]
    np.testing.assert_allclose(terms.log_likelihood - terms.kl - terms.objective, penalty, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(terms.kl, objectives.elbo(vae, x, seed=3).kl)


def test_permuting_keeps_each_latent_and_breaks_their_tie():
    z = np.stack([np.arange(1000.0)] * 2, axis=1)
    mixed = factor.permuted(tf.constant(z), [0, 1]).numpy()
    np.testing.assert_array_equal(np.sort(mixed, axis=0), z)
    assert abs(np.corrcoef(mixed.T)[0, 1]) < 5 / np.sqrt(1000)


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}], ids=str)
def test_training_teaches_the_model_and_the_discriminator_each_its_own(digits, options):
    vae, objective = small_vae(digits), small()
    names = [variable.name for variable in vae.trainable_variables]
    before = [variable.numpy() for variable in objective.state]
    vae.compile(tfk.optimizers.Adam(1e-3), objective, **options)
    assert [variable.name for variable in vae.trainable_variables] == names
    losses = vae.fit(digits.train(256), epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    for old, variable in zip(before, objective.state, strict=True):
        assert variable.name.startswith("learning_rate") or not np.array_equal(old, variable), variable.name
    assert int(objective.optimizer.iterations) == int(vae.optimizer.iterations) == 12


def test_the_discriminators_optimizer_is_the_papers():
    """Kim and Mnih (2018), appendix A."""
    adam = objectives.factor_elbo(5.0, 2, hidden_sizes=(4,)).optimizer
    assert (adam.beta_1, adam.beta_2) == (0.5, 0.9)
    np.testing.assert_allclose(adam.learning_rate, 1e-4)


def test_each_layer_of_the_discriminator_starts_apart_and_by_the_seed():
    first, again, other = (small(hidden_sizes=(2, 2), seed=seed).discriminator.get_weights() for seed in (0, 0, 1))
    assert not np.allclose(first[0], first[2]) and not np.allclose(first[0], other[0])
    np.testing.assert_array_equal(first[0], again[0])


def test_evaluation_teaches_nothing(digits):
    vae, objective = small_vae(digits), small()
    vae.compile("adam", objective)
    before = [variable.numpy() for variable in objective.state]
    vae.evaluate(digits.test(100), verbose=0)
    for old, variable in zip(before, objective.state, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_a_step_that_is_not_finite_teaches_nothing(digits):
    vae, objective = small_vae(digits), small()
    before = [variable.numpy() for variable in objective.state]
    objective.update(vae, digits.x_test[:9], seed=0, good=tf.constant(False))
    for old, variable in zip(before, objective.state, strict=True):
        np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: objectives.factor_elbo(-1.0, 2), "gamma must be a finite number of at least 0, got -1.0"),
        (lambda: objectives.factor_elbo(1.0, 0), "latent_size must be an integer of at least 1, got 0"),
        (lambda: small(learning_rate=0), "learning_rate must be a finite number above 0, got 0"),
        (lambda: small(hidden_sizes=(4, 0)), "hidden_sizes must be an integer of at least 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
