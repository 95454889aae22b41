"""The VampPrior: a mixture of posteriors q(z|u_k) over learned pseudo-inputs u_k."""

import math
from collections.abc import Callable

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfvae.distributions.unmerged import unwrapped
from tfvae.support.rules import Array, checked


@checked
class Vamp(tfd.Distribution):
    """p(z) = 1/K sum_k q(z|u_k): no batch shape, event shape [D]. See `priors.vamp`.

    The encoder is held in a function, so that its variables are not tracked here; each call reads their current values.

    `encoder` maps pseudo-inputs [K, *event_shape], a variable or a `tfp.util.TransformedVariable`, to q(z|u).
    """

    def __init__(self, encoder: Callable, pseudo_inputs: Array):
        def posterior(u):
            qz_u = unwrapped(encoder(u))
            return getattr(qz_u, "base", qz_u)  # of a flow: its own density of an arbitrary z would take D passes

        self._posterior = posterior
        self.pseudo_inputs = pseudo_inputs
        qz_u = self.components()
        self._static_event_shape, parameters = qz_u.event_shape, {"pseudo_inputs": pseudo_inputs}
        super().__init__(qz_u.dtype, tfd.NOT_REPARAMETERIZED, False, True, parameters=parameters, name="vamp")

    def components(self) -> tfd.Distribution:
        """q(z|u_k) under the encoder's current weights: batch shape [K]."""
        return self._posterior(tf.convert_to_tensor(self.pseudo_inputs))

    def _batch_shape(self):
        return tf.TensorShape([])

    def _event_shape(self):
        return self._static_event_shape

    def _log_prob(self, z):
        log_q = _log_prob_of_each(self.components(), z)  # [..., K]
        return tf.reduce_logsumexp(log_q, axis=-1) - math.log(self.pseudo_inputs.shape[0])

    def _sample_n(self, n, seed=None):
        which_seed, seed = tfp.random.split_seed(seed, 2)
        which = tfd.Categorical(logits=tf.zeros(self.pseudo_inputs.shape[0])).sample(n, seed=which_seed)
        return self._posterior(tf.gather(tf.convert_to_tensor(self.pseudo_inputs), which)).sample(seed=seed)

    def _mean(self):
        return tf.reduce_mean(self.components().mean(), axis=0)

    def _variance(self):
        qz_u = self.components()
        return tf.reduce_mean(qz_u.variance(), axis=0) + tf.math.reduce_variance(qz_u.mean(), axis=0)


def _log_prob_of_each(components, z):
    """log q(z|u_k): [..., K]."""
    if not isinstance(components, tfd.MultivariateNormalDiag):
        return components.log_prob(z[..., tf.newaxis, :])
    # (z - loc)^2 / scale^2 expanded into a matrix product, because broadcasting would need [..., K, D]. In float64,
    # because the terms cancel where scales are small.
    loc, scale = (tf.cast(a, tf.float64) for a in (components.mean(), components.stddev()))
    precision = scale**-2
    rows = tf.cast(tf.reshape(z, [-1, z.shape[-1]]), tf.float64)
    constant = tf.reduce_sum(loc**2 * precision + 2 * tf.math.log(scale) + math.log(2 * math.pi), axis=-1)
    powers, factors = tf.concat([rows**2, rows], axis=-1), tf.concat([-precision / 2, loc * precision], axis=-1)
    log_q = tf.cast(tf.matmul(powers, factors, transpose_b=True) - constant / 2, z.dtype)  # [rows, K]
    return tf.reshape(log_q, tf.concat([tf.shape(z)[:-1], [loc.shape[0]]], axis=0))
