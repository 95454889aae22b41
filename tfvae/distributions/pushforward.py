"""The pushforward of a normal through a map: the distribution behind flows and hierarchies of latents."""

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfvae.support.rules import checked

_NUM_PAIRS = 64  # antithetic pairs of noise, for moments that have no closed form


@checked
class Pushforward(tfd.Distribution):
    """p(z) = N(eps; 0, I) / |det dz/deps|, z = f(eps): batch shape [B] (none without context), event shape [D].

    Rezende and Mohamed (2015, arXiv 1505.05770, eq. 5). With a context, the last sample and its density are cached, so
    that `log_prob` of that same tensor takes no second pass. Samples are reparameterized. Mean, standard deviation and
    covariance are estimates from 64 antithetic pairs of noise, the same for every x; the mean is exact if f is affine.

    Args:
        transform: f, called anew each time, so that it may hold variables: `push(eps, context)` gives z and
            log|det dz/deps|; `pull(z, context)`, its inverse, gives eps and the same log|det dz/deps|.
        context: what f depends on, [B, C], or None; `dtype` is that of z without one.

    >>> flow = tfvae.distributions.Flow([], latent_size=2)  # no steps: N(0, I)
    >>> print(tfvae.distributions.Pushforward(flow, 2).log_prob([[0.0, 0.0]]).numpy().round(3))  # -log(2 pi)
    [-1.838]
    """

    def __init__(self, transform, latent_size: int, context=None, dtype=tf.float32, name: str = "Pushforward"):
        parameters = dict(locals())
        self.transform, self.context, self._latent_size = transform, context, latent_size
        self._drawn: tuple[tf.Tensor, tf.Tensor] | None = None
        dtype = dtype if context is None else context.dtype
        super().__init__(dtype, tfd.FULLY_REPARAMETERIZED, False, True, parameters=parameters, name=name)

    def _batch_shape(self):
        return tf.TensorShape([]) if self.context is None else self.context.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.constant([], tf.int32) if self.context is None else tf.shape(self.context)[:-1]

    def _event_shape(self):
        return tf.TensorShape([self._latent_size])

    @property
    def base(self) -> tfd.MultivariateNormalDiag:
        """The normal before the steps of a flow: N(loc(context), diag(scale(context)^2))."""
        return self.transform.base(self.context)

    def _noise(self, batch_shape):
        shape = tf.concat([batch_shape, [self._latent_size]], axis=0)
        return tfd.MultivariateNormalDiag(loc=tf.zeros(shape, self.dtype))

    def _log_density(self, eps, log_det):
        return self._noise(tf.constant([], tf.int32)).log_prob(eps) - log_det

    # Not `_sample_n`, whose result TFP reshapes: the caller would not hold the cached tensor.
    def _call_sample_n(self, sample_shape, seed, **kwargs):
        eps = self._noise(self._batch_shape_tensor()).sample(sample_shape, seed=seed)
        z, log_det = self._mapped(self.transform.push, eps)
        if self.context is not None:
            self._drawn = (z, self._log_density(eps, log_det))
        return z

    def _log_prob(self, z):
        if self._drawn is not None and self._drawn[0] is z:
            return self._drawn[1]
        batch_shape = tf.broadcast_dynamic_shape(tf.shape(z)[:-1], self._batch_shape_tensor())
        z = tf.broadcast_to(z, tf.concat([batch_shape, [self._latent_size]], axis=0))
        return self._log_density(*self._mapped(self.transform.pull, z))

    def _mapped(self, direction, value):
        if value.shape.rank > 1:
            return direction(value, self.context)
        # Keras layers need a batch axis.
        mapped, log_det = direction(value[tf.newaxis], self.context)
        return mapped[0], log_det[0]

    def _typical(self):
        """The samples behind the moments: [128, B, D]. Every x has the same noise, whatever the rest of the batch."""
        ones = tf.ones_like(self._batch_shape_tensor())
        half = self._noise(ones).sample(_NUM_PAIRS, seed=[0, 0])  # [64, 1, D]
        return self.transform.push(tf.concat([half, -half], axis=0), self.context)[0]

    def _mean(self):
        return tf.reduce_mean(self._typical(), axis=0)

    def _variance(self):
        return tf.math.reduce_variance(self._typical(), axis=0)

    def _covariance(self):
        return tfp.stats.covariance(self._typical(), sample_axis=0, event_axis=-1)
