"""Distributions of grey levels, elementwise: what TFP lacks of those that likelihoods are made of."""

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


class _GreyLevels(tfd.Distribution):
    """A mass on {0, 1/n, ..., 1} for each element of its parameters, which broadcast together."""

    def __init__(self, total_count, name, **parameters):
        self.total_count = total_count
        parameters = {key: tf.convert_to_tensor(value) for key, value in parameters.items()}
        super().__init__(
            dtype=next(iter(parameters.values())).dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"total_count": total_count, **parameters, "name": name},
            name=name,
        )

    @property
    def _n(self):
        return tf.cast(self.total_count, self.dtype)

    def _event_shape(self):
        return tf.TensorShape([])

    def _event_shape_tensor(self):
        return tf.constant([], tf.int32)


class BinomialProportion(_GreyLevels):
    """P(x) = C(n, n x) p^(n x) (1 - p)^(n - n x) for x in {0, 1/n, ..., 1}, with p = sigmoid(logits).

    A probability mass function: a binomial count of n trials, divided by n so that it is a grey level in [0, 1].
    """

    def __init__(self, total_count, logits, name="BinomialProportion"):
        super().__init__(total_count, name, logits=logits)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"logits": tfp.util.ParameterProperties()}

    @property
    def logits(self):
        return self.parameters["logits"]

    def _log_prob(self, x):
        n = self._n
        k = tf.round(n * x)
        # On x alone, [B, ...]: the coefficient is computed once, not for each of the samples of z.
        log_coefficient = tf.math.lgamma(n + 1) - tf.math.lgamma(k + 1) - tf.math.lgamma(n - k + 1)
        return log_coefficient + k * self.logits - n * tf.nn.softplus(self.logits)

    def _sample_n(self, n, seed=None):
        return tfd.Binomial(self._n, logits=self.logits).sample(n, seed=seed) / self._n

    def _mean(self):
        return tf.sigmoid(self.logits)

    def _variance(self):
        p = tf.sigmoid(self.logits)
        return p * (1 - p) / self._n


class DiscretizedLogistic(_GreyLevels):
    """P(x) = F(x + 1/2n) - F(x - 1/2n) for x in {0, 1/n, ..., 1}, F(t) = sigmoid((t - loc) / scale).

    The mass that a logistic density has in the bin of each level; the bins of 0 and 1 take the tails, so that the sum
    is 1. Kingma et al. (2016, arXiv 1606.04934); Salimans et al. (2017, arXiv 1701.05517, section 2.1).
    """

    def __init__(self, total_count, loc, scale, name="DiscretizedLogistic"):
        super().__init__(total_count, name, loc=loc, scale=scale)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"loc": tfp.util.ParameterProperties(), "scale": tfp.util.ParameterProperties()}

    @property
    def loc(self):
        return self.parameters["loc"]

    @property
    def scale(self):
        return self.parameters["scale"]

    def _log_prob(self, x):
        """With u and l the standardised ends of the bin, sigmoid(u) - sigmoid(l) is

            sigmoid(u) sigmoid(-l) (1 - exp(l - u)),

        whose logarithm subtracts no two near numbers, however far the bin lies in a tail. An open end has a factor of
        1, as has the last one at either open end.
        """
        k = tf.round(self._n * x)
        first, last = k <= 0, k >= self._n
        width = 1 / (self._n * self.scale)  # u - l
        upper = (k + 0.5 - self._n * self.loc) * width
        log_factors = [
            tf.where(last, tf.zeros([], self.dtype), -tf.nn.softplus(-upper)),
            tf.where(first, tf.zeros([], self.dtype), -tf.nn.softplus(upper - width)),
            tf.where(first | last, tf.zeros([], self.dtype), tfp.math.log1mexp(width)),
        ]
        return tf.add_n([tf.broadcast_to(f, tf.shape(upper)) for f in log_factors])

    def _sample_n(self, n, seed=None):
        x = tfd.Logistic(self.loc, self.scale).sample(n, seed=seed)
        return tf.clip_by_value(tf.round(self._n * x), 0, self._n) / self._n

    def _mean(self):
        """1/n sum_{k=1..n} P(x >= k/n), exactly."""
        return self._sum_over_levels(lambda k: tf.ones_like(k)) / self._n

    def _variance(self):
        """From E[(n x)^2] = sum_{k=1..n} (2 k - 1) P(x >= k/n)."""
        return self._sum_over_levels(lambda k: 2 * k - 1) / self._n**2 - tf.square(self._mean())

    def _sum_over_levels(self, weight):
        """sum_{k=1..n} weight(k) P(x >= k/n), a level at a time: memory for one, and n passes over the elements."""
        centre, width = self._n * self.loc, 1 / (self._n * self.scale)

        def add(k, total):
            return k + 1, total + weight(k) * tf.sigmoid((centre - k + 0.5) * width)

        start = (tf.ones([], self.dtype), tf.zeros_like(centre * width))
        _, total = tf.while_loop(lambda k, _: k <= self._n, add, start, maximum_iterations=self.total_count)
        return total
