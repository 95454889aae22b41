"""Decoders with one batch axis applied to latents with several: axes are merged for the network and restored after."""

import tensorflow as tf
import tf_keras as tfk
from tensorflow_probability import distributions as tfd


def decoded(decoder, z: tf.Tensor) -> tfd.Distribution:
    """p(x|z) for z [..., D], batch shape [...]; merges the leading axes for a Keras model that takes only [B, D].

    >>> network = tfvae.posteriors.diagonal_normal(tfvae.networks.mlp((2,), [16]), 4)
    >>> tfvae.distributions.decoded(network, tf.ones([5, 3, 2]))
    <tfp.distributions.Unmerged... batch_shape=[5, 3] event_shape=[4] dtype=float32>
    """
    if z.shape.rank <= 2 or getattr(decoder, "any_leading_axes", not isinstance(decoder, tfk.Model)):
        return unwrapped(decoder(z))
    return Unmerged(unwrapped(decoder(tf.reshape(z, [-1, z.shape[-1]]))), tf.shape(z)[:-1])


def unwrapped(distribution) -> tfd.Distribution:
    """A TFP layer's distribution without the wrapper that lets Keras treat it as a tensor.

    >>> qz_x = tfvae.posteriors.diagonal_normal(tfvae.networks.mlp((8, 8, 1), []), 2)(np.zeros([3, 8, 8, 1]))
    >>> type(tfvae.distributions.unwrapped(qz_x)).__name__
    'MultivariateNormalDiag'
    """
    return getattr(distribution, "tensor_distribution", distribution)


class Unmerged(tfd.Distribution):
    """A batch of S * B distributions as [S, B]; log_prob broadcasts x [B, ...], which `tfd.BatchReshape` does not."""

    def __init__(self, merged: tfd.Distribution, leading: tf.Tensor):
        self._merged, self._leading = merged, leading
        kind, name = merged.reparameterization_type, f"Unmerged{merged.name}"
        super().__init__(merged.dtype, kind, False, True, parameters={"merged": merged, "leading": leading}, name=name)

    def _batch_shape(self):
        return tf.TensorShape(tf.get_static_value(self._leading, partial=True))

    def _batch_shape_tensor(self):
        return self._leading

    def _event_shape(self):
        return self._merged.event_shape

    def _event_shape_tensor(self):
        return self._merged.event_shape_tensor()

    def _unmerge(self, values, sample_shape=()):
        event = tf.shape(values)[1 + len(sample_shape) :]
        return tf.reshape(values, tf.concat([sample_shape, self._leading, event], axis=0))

    def _log_prob(self, x):
        event = self.event_shape_tensor()
        x = tf.broadcast_to(x, tf.concat([self._leading, event], axis=0))
        return self._unmerge(self._merged.log_prob(tf.reshape(x, tf.concat([[-1], event], axis=0))))

    def _mean(self):
        return self._unmerge(self._merged.mean())

    def _variance(self):
        return self._unmerge(self._merged.variance())

    def _sample_n(self, n, seed=None):
        return self._unmerge(self._merged.sample(n, seed=seed), [n])
