"""Muon's step is its formula, and Adam's where there is no matrix."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from tfvae import data, recipes
from tfvae.train.muon import Muon, orthogonal

SHAPES = [(7, 4), (4, 7), (5, 5), (1, 3)]


def by_singular_values(matrix, num_iterations):
    """The same iteration on the singular values alone, and both sets of singular vectors as they were."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.linalg.norm(matrix)
    for _ in range(num_iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ np.diag(s) @ vt


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_iterations", [1, 4, 5])
def test_only_singular_values_change(shape, num_iterations):
    matrix = np.random.default_rng(0).normal(size=shape)
    expected = by_singular_values(matrix, num_iterations)
    np.testing.assert_allclose(orthogonal(tf.constant(matrix), num_iterations), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_iterations", [4, 5])
def test_large_and_small_directions_come_to_the_same_size(num_iterations):
    u, _, vt = np.linalg.svd(np.random.default_rng(1).normal(size=(60, 30)), full_matrices=False)
    s = np.geomspace(1, 0.03, 30)
    result = orthogonal(tf.constant((u * s) @ vt, tf.float32), num_iterations)
    found = np.linalg.svd(result, compute_uv=False)
    assert found.min() > 0.6 and found.max() < 1.3  # thirty to one before
    assert np.trace(u.T @ result.numpy() @ vt.T) > 0.9 * 30 * found.mean()  # in the same directions


def test_zeros_stay_zeros():
    np.testing.assert_array_equal(orthogonal(tf.zeros([3, 2])), np.zeros([3, 2]))


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_the_formula(shape):
    rng = np.random.default_rng(2)
    start, gradients = rng.normal(size=shape), rng.normal(size=(3, *shape))
    variable = tf.Variable(start)
    optimizer = Muon(0.1, momentum=0.9, num_iterations=3)
    m, w = np.zeros(shape), start
    for g in gradients:
        optimizer.apply_gradients([(tf.constant(g), variable)])
        m = 0.9 * m + 0.1 * g
        w = w - 0.1 * 0.2 * np.sqrt(max(shape)) * by_singular_values(0.9 * m + 0.1 * g, 3)
    np.testing.assert_allclose(variable, w, rtol=1e-6)


@pytest.mark.parametrize("constrained", [False, True])
def test_what_is_no_free_matrix_walks_as_adam_does(constrained):
    def after_steps(optimizer):
        shape, constraint = ([2, 2], lambda w: w * [[1.0, 0.0], [1.0, 1.0]]) if constrained else ([4], None)
        variable = tf.Variable(tf.reshape([1.0, -2.0, 0.5, 3.0], shape), constraint=constraint)
        for i in range(20):
            optimizer.apply_gradients([(tf.reshape([0.1, -1.0, 1e-4, 0.0], shape) * np.cos(i), variable)])
        return variable.numpy()

    rate = tfk.optimizers.schedules.CosineDecay(0.1, 20)
    np.testing.assert_allclose(after_steps(Muon(rate)), after_steps(tfk.optimizers.Adam(rate)), rtol=1e-5)


def test_its_config_makes_it_again():
    muon = Muon(tfk.optimizers.schedules.CosineDecay(0.1, 20), 0.8, 3, 0.7, 0.98, 1e-5)
    again = Muon.from_config(muon.get_config())
    assert again.get_config() == muon.get_config()
    found = again.momentum, again.num_iterations, again.beta_1, again.beta_2, again.epsilon
    assert found == (0.8, 3, 0.7, 0.98, 1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\), got -0.1"),
        ({"num_iterations": 0}, "num_iterations must be an integer of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Muon(**arguments)


def trained(jit, **fields):
    digits = data.load("digits", seed=0)
    recipe = recipes.Recipe(
        data="digits", optimizer="muon", hidden_sizes=(32,), batch_size=256, epochs=4, jit=jit, **fields
    )
    recipe = recipe.complete(digits)
    vae = recipes.build(recipe)
    recipes.compile(vae, recipe, digits.train_size)
    history = vae.fit(digits.train(recipe.batch_size), epochs=recipe.epochs, verbose=0).history
    return vae, history["elbo"]


def test_a_recipe_trains_with_it_and_xla_changes_nothing_but_noise():
    vae, elbo = trained(False, learning_rate=8e-3)
    assert isinstance(vae.optimizer, Muon)
    _, with_xla = trained(True, learning_rate=8e-3)
    assert elbo[-1] > elbo[0] + 5
    np.testing.assert_allclose(with_xla, elbo, rtol=0.02)


def test_masked_networks_stay_masked():
    vae, _ = trained(False, posterior="iaf", learning_rate=4e-3)
    kernels = [v for v in vae.trainable_variables if v.constraint is not None]
    assert kernels
    for kernel in kernels:
        np.testing.assert_array_equal(kernel, kernel.constraint(kernel))


@pytest.mark.parametrize("matrix", [3.0, np.zeros(3), np.zeros([2, 3, 3]), np.eye(2, dtype=int)])
def test_what_is_no_matrix_is_refused(matrix):
    with pytest.raises(TypeError, match="matrix must be a matrix of floats, got"):
        orthogonal(matrix)
