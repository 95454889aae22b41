"""The fused update is Keras' update."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from tfvae.train.adam import apply_if, can_withhold, fused


def after_steps(optimizer, num_steps=20):
    variable = tf.Variable([1.0, -2.0, 0.5, 3.0])
    for i in range(num_steps):
        gradient = tf.constant([0.1, -1.0, 1e-4, 0.0]) * np.cos(i)
        optimizer.apply_gradients([(gradient, variable)])
    return variable.numpy()


@pytest.mark.parametrize("options", [{}, {"beta_1": 0.5, "epsilon": 1e-4}, {"weight_decay": 0.1}, {"amsgrad": True}])
def test_it_walks_as_keras_adam_does(options):
    rate = tfk.optimizers.schedules.CosineDecay(0.1, 20)
    expected = after_steps(tfk.optimizers.Adam(rate, **options))
    np.testing.assert_allclose(after_steps(fused(tfk.optimizers.Adam(rate, **options))), expected, rtol=1e-5)


def test_sparse_gradients_and_scaled_losses_are_taken():
    variable, expected = tf.Variable([1.0, 2.0]), tf.Variable([1.0, 2.0])
    sparse = tf.IndexedSlices(tf.constant([0.3]), tf.constant([1]), tf.constant([2]))
    fused(tfk.optimizers.Adam(0.1)).apply_gradients([(sparse, variable)])
    tfk.optimizers.Adam(0.1).apply_gradients([(sparse, expected)])
    np.testing.assert_allclose(variable, expected, rtol=1e-6)
    scaled = tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.Adam(0.1))
    assert fused(scaled) is scaled and hasattr(scaled.inner_optimizer.update_step, "func")


@pytest.mark.parametrize("jit", [False, True])
def test_an_update_that_is_withheld_leaves_everything_as_it_was(jit):
    variable = tf.Variable([1.0, -2.0])
    adam, expected = (fused(tfk.optimizers.Adam(0.1)) for _ in range(2))
    adam.build([variable])
    gradient = tf.constant([0.3, -4.0])

    @tf.function(jit_compile=jit)
    def step(gradient, good):
        apply_if(good, adam, [(gradient, variable)])

    step(gradient, tf.constant(True))
    before = [v.numpy() for v in [variable, *adam.variables]]
    step(gradient * np.nan, tf.constant(False))
    for value, kept in zip([variable, *adam.variables], before, strict=True):
        np.testing.assert_array_equal(value, kept)
    step(gradient, tf.constant(True))
    same = tf.Variable([1.0, -2.0])
    for _ in range(2):
        expected.apply_gradients([(gradient, same)])
    np.testing.assert_allclose(variable, same, rtol=1e-6)


def test_only_what_is_known_to_do_nothing_else_is_withheld():
    variable = tf.Variable([1.0, 2.0])
    dense = [(tf.constant([0.3, 1.0]), variable)]
    sparse = [(tf.IndexedSlices(tf.constant([0.3]), tf.constant([1]), tf.constant([2])), variable)]
    assert can_withhold(fused(tfk.optimizers.Adam()), dense)
    assert not can_withhold(fused(tfk.optimizers.Adam()), sparse)
    for optimizer in (
        *(tfk.optimizers.SGD(), tfk.optimizers.Adam(use_ema=True), tfk.optimizers.Adam(weight_decay=0.1)),
        tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.Adam()),
    ):
        assert not can_withhold(fused(optimizer), dense)


def test_other_optimizers_stay_as_they_are():
    for optimizer in (tfk.optimizers.SGD(0.1), tfk.optimizers.AdamW(0.1), tfk.optimizers.Adam(amsgrad=True)):
        before = dict(vars(optimizer))
        assert fused(optimizer) is optimizer
        assert vars(optimizer).keys() == before.keys()
