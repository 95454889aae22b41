import numpy as np
import pytest
import tensorflow as tf
from conftest import small_vae

from tfvae.train.averaging import AveragedWeights


def after_epochs(first_epoch, num_epochs):
    """A weight that ends epoch t (from 0) with t^2, at the end of the training."""
    weight = tf.Variable([0.0, 0.0])
    average = AveragedWeights([weight], first_epoch)
    for epoch in range(num_epochs):
        weight.assign([epoch**2, -(epoch**2)])
        average.on_epoch_end(epoch)
    average.on_train_end()
    return weight.numpy()


def test_the_weights_end_as_the_mean_over_the_last_epochs():
    np.testing.assert_allclose(after_epochs(3, 6), [50 / 3, -50 / 3], rtol=1e-6)  # 9, 16, 25


def test_the_mean_of_one_epoch_is_that_epoch():
    np.testing.assert_array_equal(after_epochs(5, 6), [25, -25])


def test_a_training_that_ended_before_keeps_its_weights():
    np.testing.assert_array_equal(after_epochs(6, 6), [25, -25])


def test_fit_ends_with_the_mean_of_what_each_epoch_ended_with(digits):
    class Kept(AveragedWeights):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            kept.append([v.numpy() for v in vae.trainable_variables])

    kept, vae = [], small_vae(digits)
    vae.fit(digits.train(64), epochs=4, verbose=0, callbacks=[Kept(vae.trainable_variables, 1)])
    assert len(kept) == 4
    for i, variable in enumerate(vae.trainable_variables):
        np.testing.assert_allclose(variable, np.mean([w[i] for w in kept[1:]], axis=0), rtol=1e-5, atol=1e-7)


def test_a_negative_epoch_is_refused():
    with pytest.raises(ValueError, match="first_epoch must be an integer of at least 0, got -1"):
        AveragedWeights([], -1)
