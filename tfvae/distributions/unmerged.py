"""Decoders with one batch axis applied to latents with several: axes are merged for the network and restored after."""

import tensorflow as tf
import tf_keras as tfk
from tensorflow_probability import distributions as tfd

from tfvae.support import checks, rules, tensors


@rules.checked
def decoded(decoder, z: tf.Tensor) -> tfd.Distribution:
    """p(x|z) for z [..., D], batch shape [...]; merges the leading axes for a Keras model that takes only [B, D].

    >>> network = tfvae.posteriors.diagonal_normal(tfvae.networks.mlp((2,), [16]), 4)
    >>> tfvae.distributions.decoded(network, tf.ones([5, 3, 2]))
    <tfp.distributions.Unmerged... batch_shape=[5, 3] event_shape=[4] dtype=float32>
    """
    z = tensors.ending("z", z, getattr(getattr(decoder, "network", decoder), "input_shape", (None,))[-1])
    if z.shape.rank <= 2 or getattr(decoder, "any_leading_axes", not isinstance(decoder, tfk.Model)):
        return unwrapped(decoder(z), "decoder")
    return Unmerged(unwrapped(decoder(tf.reshape(z, [-1, z.shape[-1]])), "decoder"), tf.shape(z)[:-1])


def unwrapped(distribution, piece: str = "distribution") -> tfd.Distribution:
    """A TFP layer's distribution without the wrapper that lets Keras treat it as a tensor; TypeError for another thing.

    >>> qz_x = tfvae.posteriors.diagonal_normal(tfvae.networks.mlp((8, 8, 1), []), 2)(np.zeros([3, 8, 8, 1]))
    >>> type(tfvae.distributions.unwrapped(qz_x)).__name__
    'MultivariateNormalDiag'
    """
    found = getattr(distribution, "tensor_distribution", distribution)
    if not isinstance(found, tfd.Distribution):
        raise checks.InputTypeError(f"{piece} must give a tfd.Distribution, got {checks.shown(found)}")
    return found


class Unmerged(tfd.BatchReshape):
    """A batch of S * B distributions as [S, B]; unlike TFP's, its log_prob broadcasts x [B, ...]."""

    def _batch_shape_tensor(self):
        return self.parameters["batch_shape"]  # TFP's fails in a graph where the sizes are unknown

    def log_prob(self, x, **kwargs):
        shape = tf.concat([self.batch_shape_tensor(), self.event_shape_tensor()], axis=0)
        return super().log_prob(tf.broadcast_to(x, shape), **kwargs)
