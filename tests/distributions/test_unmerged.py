import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tfvae import likelihoods, networks
from tfvae.distributions import decoded


def test_draws_of_a_decoder_with_one_batch_axis_differ():
    layers = [tfk.layers.InputLayer((2,)), tfk.layers.Dense(6), tfp.layers.IndependentNormal(3)]
    draws = decoded(tfk.Sequential(layers), tf.zeros([5, 4, 2])).sample(2, seed=[0, 1])
    assert draws.shape == [2, 5, 4, 3] and np.all(draws[0] != draws[1])


@pytest.mark.parametrize("z", [0.0, np.zeros(0), np.zeros([2, 8, 8, 1])])
def test_latents_of_another_size_are_refused(z):
    decoder = likelihoods.bernoulli(networks.mlp((2,), [4]), (3,))
    with pytest.raises(ValueError, match=r"z must have shape \[..., 2\], got"):
        decoded(decoder, z)
    with pytest.raises(ValueError, match=r"z must have shape \[..., \?\], got \[\]"):
        decoded(tfp.distributions.Normal, 0.0)
