"""What a decoder of one batch axis says of latents with several, and a flat batch of distributions seen so."""

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

tfd = tfp.distributions


def decoded(decoder, z):
    """What a decoder gives for [..., D]: batch shape [...]. A Keras model that takes [B, D] alone gets them merged."""
    if z.shape.rank <= 2 or getattr(decoder, "any_leading_axes", not isinstance(decoder, tfk.Model)):
        return unwrapped(decoder(z))
    merged = decoder(tf.reshape(z, [-1, z.shape[-1]]))
    return Unmerged(unwrapped(merged), tf.shape(z)[:-1])


def unwrapped(distribution):
    """What a TFP distribution layer made, without the wrapper that lets Keras take it for a tensor."""
    return getattr(distribution, "tensor_distribution", distribution)


class Unmerged(tfd.Distribution):
    """A batch of S * B distributions seen as [S, B]; log_prob takes x [B, ...], as broadcasting distributions do.

    `tfd.BatchReshape` would do, if it broadcast and took shapes that are unknown until run time.
    """

    def __init__(self, merged, leading):
        self._merged, self._leading = merged, leading
        super().__init__(
            dtype=merged.dtype,
            reparameterization_type=merged.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"merged": merged, "leading": leading},
            name=f"Unmerged{merged.name}",
        )

    def _batch_shape(self):
        return tf.TensorShape(tf.get_static_value(self._leading, partial=True))

    def _batch_shape_tensor(self):
        return self._leading

    def _event_shape(self):
        return self._merged.event_shape

    def _event_shape_tensor(self):
        return self._merged.event_shape_tensor()

    def _unmerge(self, values, sample_shape=()):
        return tf.reshape(
            values, tf.concat([sample_shape, self._leading, tf.shape(values)[1 + len(sample_shape) :]], 0)
        )

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
