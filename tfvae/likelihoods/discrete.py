"""Likelihoods p(x|z) of images with finitely many grey levels: masses, not densities."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import gammaln
from tensorflow_probability import distributions as tfd

from tfvae.likelihoods.base import Likelihood
from tfvae.support.pieces import piece
from tfvae.support.rules import checked


class GreyLevels(tfd.Distribution):
    """A mass on {0, 1/n, ..., 1} for each element of its parameters, which broadcast together."""

    def __init__(self, total_count: int, **parameters):
        parameters = {key: tf.convert_to_tensor(value) for key, value in parameters.items()}
        dtype = next(iter(parameters.values())).dtype
        self.total_count, self._n = total_count, tf.cast(total_count, dtype)
        parameters["total_count"] = total_count
        super().__init__(dtype, tfd.NOT_REPARAMETERIZED, False, True, parameters=parameters, name=type(self).__name__)

    def _event_shape(self):
        return tf.TensorShape([])


@checked
class BinomialProportion(GreyLevels):
    """P(x) = C(n, n x) p^(n x) (1 - p)^(n - n x) for x in {0, 1/n, ..., 1}, with p = sigmoid(logits).

    A binomial count of n trials, divided by n so that it is a grey level in [0, 1]. In float32 log P(x) is accurate to
    4e-5 at n = 255 (3e-7 of it below -100) and the masses sum to 1 within 5e-6; float64 takes 2.7 times as long.

    >>> tfvae.likelihoods.BinomialProportion(2, logits=0.0).prob([0.0, 0.5, 1.0]).numpy().round(3).tolist()
    [0.25, 0.5, 0.25]
    """

    def __init__(self, total_count, logits: np.ndarray):
        super().__init__(total_count, logits=logits)
        self.logits = self.parameters["logits"]

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"logits": tfp.util.ParameterProperties()}

    def _log_prob(self, x):
        """With s = -1 where k > n / 2, else 1, and m = min(k, n - k), so that no large terms cancel:

        k log p + (n - k) log(1 - p) = m s logits - n softplus(s logits).
        """
        n = self._n
        k = tf.round(n * x)
        signed = tf.where(2 * k > n, -self.logits, self.logits)
        # From a table in float64: lgamma in float32 is off by 5e-5 at n = 255, always to one side.
        levels = np.arange(self.total_count + 1)
        log_coefficient = gammaln(self.total_count + 1) - gammaln(levels + 1) - gammaln(self.total_count - levels + 1)
        row = tf.clip_by_value(tf.cast(k, tf.int32), 0, self.total_count)
        log_coefficient = tf.gather(tf.constant(log_coefficient, self.dtype), row)
        return log_coefficient + tf.minimum(k, n - k) * signed - n * tf.nn.softplus(signed)

    def _sample_n(self, n, seed=None):
        return tfd.Binomial(self._n, logits=self.logits).sample(n, seed=seed) / self._n

    def _mean(self):
        return tf.sigmoid(self.logits)

    def _variance(self):
        p = tf.sigmoid(self.logits)
        return p * (1 - p) / self._n


class _Bernoulli(tfd.Bernoulli):
    """TFP's, with a cheaper log_prob that relies on x being 0 or 1, which the model checks."""

    def _log_prob(self, x):
        return -tf.nn.softplus((1 - 2 * x) * self.logits)


@piece("likelihood", traits=("logit_bias",))
def bernoulli(network, event_shape: Sequence[int], *, seed: int | None = None) -> Likelihood:
    """p(x|z) = prod_i p_i^x_i (1 - p_i)^(1 - x_i), x in {0, 1}, p = sigmoid(.).

    Kingma and Welling (2013, arXiv 1312.6114, appendix C.1). For binarized images.

    >>> tfvae.likelihoods.bernoulli(tfvae.networks.mlp((2,), [16]), (8, 8, 1))(np.zeros([5, 3, 2])).batch_shape
    TensorShape([5, 3])
    """
    words = "0 or 1 under the bernoulli likelihood (binarize the images, or choose another likelihood)"
    nearest = "1 from 0.5 upwards, else 0", lambda x: tf.cast(x >= 0.5, x.dtype)
    support = words, lambda x: tf.logical_or(tf.equal(x, 0), tf.equal(x, 1)), nearest
    return Likelihood(network, event_shape, lambda logits: _Bernoulli(logits, dtype=logits.dtype), *support, seed)


@piece("likelihood", traits=("logit_bias",))
def binomial(network, event_shape: Sequence[int], total_count: int, *, seed: int | None = None) -> Likelihood:
    """p(x|z) = prod_i Binomial(n x_i; n, p_i), x in {0, 1/n, ..., 1}, p = sigmoid(.): a mass, not a density.

    `total_count` is n, at least 1: 16 for scikit-learn's digits, 255 for bytes.

    >>> tfvae.likelihoods.binomial(tfvae.networks.mlp((2,), [16]), (8, 8, 1), 16).support
    'a multiple of 1/16 in [0, 1] under the binomial likelihood'
    """
    support = levels(total_count, "binomial")
    return Likelihood(network, event_shape, lambda logits: BinomialProportion(total_count, logits), *support, seed)


def levels(total_count: int, name: str) -> tuple[str, Callable, tuple[str, Callable]]:
    """The support {0, 1/n, ..., 1}: in words, as an elementwise test, and the map to the nearest level."""

    def in_support(x):
        count = total_count * x
        # Loose enough for float32's k/255, tight enough to refuse any other grey level.
        return (tf.abs(count - tf.round(count)) < 1e-3) & (x >= 0) & (x <= 1)

    nearest = f"rounded to the nearest multiple of 1/{total_count}", lambda x: tf.round(x * total_count) / total_count
    return f"a multiple of 1/{total_count} in [0, 1] under the {name} likelihood", in_support, nearest
