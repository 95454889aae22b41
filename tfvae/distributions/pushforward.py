"""What a map makes of a normal: the distribution behind flows and hierarchies of latents."""

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

# Of noise and its mirror image, for moments that have no closed form.
_NUM_PAIRS = 64


class Pushforward(tfd.Distribution):
    """p(z) = N(eps; 0, I) / |det dz/deps|, z = f(eps): batch shape [B] (none without context), event shape [D].

    Rezende and Mohamed (2015, arXiv 1505.05770, eq. 5). A sample and its density take one pass of f: a distribution
    with a context, made anew for each batch, remembers the last sample that it drew, and `log_prob` of that very
    tensor answers from it. Its gradient is the one with respect to the parameters, through the noise.

    Mean, standard deviation and covariance have no closed form: they are those of 128 samples, of the same 64 draws of
    noise for every x and their mirror images. Where f is affine, the mean is exact.

    Args:
        transform: has `push(eps, context) -> z, log|det dz/deps|` and its inverse `pull(z, context) -> eps, log|det
            dz/deps|`, each over [..., D]; read at every call, so that it may hold variables.
        latent_size: D.
        context: what f depends on, [B, C]; None for a distribution that lives as long as its variables.
        dtype: of z, where there is no context.
    """

    def __init__(self, transform, latent_size, context=None, dtype=tf.float32, name="Pushforward"):
        parameters = dict(locals())
        self.transform = transform
        self.context = context
        self._latent_size = latent_size
        self._drawn = None
        super().__init__(
            dtype=dtype if context is None else context.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _batch_shape(self):
        return tf.TensorShape([]) if self.context is None else self.context.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.constant([], tf.int32) if self.context is None else tf.shape(self.context)[:-1]

    def _event_shape(self):
        return tf.TensorShape([self._latent_size])

    def _event_shape_tensor(self):
        return tf.constant([self._latent_size])

    @property
    def base(self):
        """What the steps of a flow start from: N(loc(context), diag(scale(context)^2))."""
        return self.transform.base(self.context)

    def _noise(self, batch_shape):
        shape = tf.concat([batch_shape, self._event_shape_tensor()], axis=0)
        return tfd.MultivariateNormalDiag(loc=tf.zeros(shape, self.dtype))

    def _log_density(self, eps, log_det):
        return self._noise(tf.constant([], tf.int32)).log_prob(eps) - log_det

    # In place of `_sample_n`, whose result TFP reshapes: then it would not be the tensor that is remembered.
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
        z = tf.broadcast_to(z, tf.concat([batch_shape, self._event_shape_tensor()], axis=0))
        return self._log_density(*self._mapped(self.transform.pull, z))

    def _mapped(self, direction, value):
        if value.shape.rank > 1:
            return direction(value, self.context)
        # Keras' layers take no vector alone.
        mapped, log_det = direction(value[tf.newaxis], self.context)
        return mapped[0], log_det[0]

    def _typical(self):
        """The 128 samples of which the moments are: [128, B, D]. A row's do not depend on the batch."""
        ones = tf.ones_like(self._batch_shape_tensor())
        half = self._noise(ones).sample(_NUM_PAIRS, seed=[0, 0])
        return self.transform.push(tf.concat([half, -half], axis=0), self.context)[0]

    def _mean(self):
        return tf.reduce_mean(self._typical(), axis=0)

    def _variance(self):
        return tf.math.reduce_variance(self._typical(), axis=0)

    def _covariance(self):
        return tfp.stats.covariance(self._typical(), sample_axis=0, event_axis=-1)
