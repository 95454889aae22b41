"""Normal posteriors q(z|x): a network, a linear layer, and a TFP distribution layer."""

import tensorflow as tf
import tf_keras as tfk
from tensorflow_probability import distributions as tfd
from tensorflow_probability import layers as tfpl

from tfvae.support.pieces import piece
from tfvae.support.rules import checked

MIN_SCALE = 1e-5  # keeps log q(z|x) finite when softplus underflows; far below any scale that images can resolve


@checked
class Posterior(tfk.Model):
    """q(z|x), a `tfd.Distribution`: network, linear layer, distribution layer."""

    def __init__(self, network, latent_size: int, params_size: int, distribution_layer, seed=None):
        super().__init__(name="encoder")
        self.network, self.latent_size = network, latent_size
        initializer = tfk.initializers.GlorotUniform(seed=seed)
        self.params = tfk.layers.Dense(params_size, kernel_initializer=initializer, name="params")
        self.distribution = distribution_layer

    def call(self, x):
        return self.distribution(tf.cast(self.params(self.network(x)), tf.float32))


@checked
def loc_scale(params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """loc and scale of a diagonal normal from a linear layer's output: [..., 2 D] -> [..., D] each.

    >>> [part.numpy().round(3).tolist() for part in tfvae.posteriors.loc_scale(tf.zeros([4]))]  # softplus(0) = log 2
    [[0.0, 0.0], [0.693..., 0.693...]]
    """
    loc, raw_scale = tf.split(params, 2, axis=-1)
    return loc, tf.nn.softplus(raw_scale) + MIN_SCALE


@piece("posterior", traits=("marginals",))
def diagonal_normal(network, latent_size: int, *, seed: int | None = None) -> Posterior:
    """q(z|x) = N(z; loc(x), diag(scale(x)^2)), with scale = softplus(.) + 1e-5.

    The Gaussian encoder of Kingma and Welling (2013, arXiv 1312.6114, eq. 9 and appendix C.2); `scale` is a standard
    deviation. A `tfd.MultivariateNormalDiag`, whose KL to a `priors.standard_normal` TFP knows in closed form.

    `network` is a Keras body, [B, *event_shape] -> features; `latent_size` is D, at least 1.

    >>> tfvae.posteriors.diagonal_normal(tfvae.networks.mlp((8, 8, 1), [16]), 2)(np.zeros([3, 8, 8, 1])).mean().shape
    TensorShape([3, 2])
    """

    def make(params):
        return tfd.MultivariateNormalDiag(*loc_scale(params))

    layer = tfpl.DistributionLambda(make, tfd.Distribution.mean, dtype="float32", name="diagonal_normal")
    return Posterior(network, latent_size, 2 * latent_size, layer, seed)


@piece("posterior", traits=("marginals",))
def full_normal(network, latent_size: int, *, seed: int | None = None) -> Posterior:
    """q(z|x) = N(z; loc(x), L(x) L(x)^T), L lower triangular with a positive diagonal.

    The full-covariance Gaussian of Kingma and Welling (2019, arXiv 1906.02691, section 2.5.1), by
    `tfpl.MultivariateNormalTriL`: D (D + 1) / 2 + D parameters per image. Arguments as for `diagonal_normal`.

    >>> tfvae.posteriors.full_normal(tfvae.networks.mlp((8, 8, 1), [16]), 2)(np.zeros([3, 8, 8, 1])).covariance().shape
    TensorShape([3, 2, 2])
    """
    layer = tfpl.MultivariateNormalTriL(latent_size, tfd.Distribution.mean, dtype="float32", name="full_normal")
    return Posterior(network, latent_size, layer.params_size(latent_size), layer, seed)
