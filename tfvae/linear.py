"""The linear-Gaussian model (probabilistic PCA): the VAE whose every quantity is known in closed form.

    p(z) = N(0, I),   p(x|z) = N(W z + mean, variance I)
    p(x)   = N(mean, W W^T + variance I)
    p(z|x) = N(M^-1 W^T (x - mean), variance M^-1),   M = W^T W + variance I

Tipping and Bishop (1999), "Probabilistic Principal Component Analysis", J. R. Statist. Soc. B 61, eq. 4 to 8.
"""

import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfvae.support import tensors
from tfvae.support.rules import Rows, checked

__all__ = ["LinearGaussian", "maximum_likelihood"]


def __dir__():
    return __all__


@checked
@dataclasses.dataclass(frozen=True)
class LinearGaussian:
    """Probabilistic PCA with given parameters, in float64; ValueError if shapes do not fit or variance <= 0.

    >>> tfvae.linear.LinearGaussian([[1.0], [0.0]], [0.0, 0.0], 1.0).evidence.covariance().numpy().round(6).tolist()
    [[2.0, 0.0], [0.0, 1.0]]
    """

    weights: np.ndarray  # W, [E, D]
    mean: np.ndarray  # [E]
    variance: float  # of the noise, above 0

    def __post_init__(self):
        object.__setattr__(self, "weights", np.asarray(self.weights, np.float64))
        object.__setattr__(self, "mean", np.asarray(self.mean, np.float64))
        if self.weights.ndim != 2 or self.mean.shape != self.weights.shape[:1]:
            shapes = f"{list(self.weights.shape)} and {list(self.mean.shape)}"
            raise ValueError(f"weights must be [E, D] and mean [E], got {shapes}")

    @property
    def prior(self) -> tfd.MultivariateNormalDiag:
        """p(z) = N(0, I) over [D]."""
        size = self.weights.shape[1]
        return tfd.MultivariateNormalDiag(tf.zeros(size, tf.float64), tf.ones(size, tf.float64))

    def likelihood(self, z) -> tfd.MultivariateNormalDiag:
        """p(x|z) = N(W z + mean, variance I): [..., D] -> a distribution over [E]."""
        z = tf.cast(tensors.ending("z", z, self.weights.shape[1]), tf.float64)
        loc = tf.tensordot(z, self.weights.T, axes=1) + self.mean
        return tfd.MultivariateNormalDiag(loc, tf.fill(self.mean.shape, tf.cast(np.sqrt(self.variance), tf.float64)))

    def posterior(self, x) -> tfd.MultivariateNormalTriL:
        """p(z|x): [..., E] -> a distribution over [D]."""
        precision = self.weights.T @ self.weights / self.variance + np.eye(self.weights.shape[1])
        covariance = np.linalg.inv(precision)
        x = tf.cast(tensors.ending("x", x, len(self.mean)), tf.float64)
        loc = tf.tensordot(x - self.mean, self.weights @ covariance / self.variance, axes=1)
        return tfd.MultivariateNormalTriL(loc, np.linalg.cholesky(covariance))

    @property
    def evidence(self) -> tfd.MultivariateNormalTriL:
        """p(x) = N(mean, W W^T + variance I) over [E]; its log_prob is log p(x) in nats."""
        covariance = self.weights @ self.weights.T + self.variance * np.eye(len(self.mean))
        return tfd.MultivariateNormalTriL(tf.constant(self.mean), np.linalg.cholesky(covariance))


@checked
def maximum_likelihood(x: Rows, latent_size: int) -> LinearGaussian:
    """The `LinearGaussian` that maximises the mean of log p(x) over the rows of x [N, E].

    W = U (L - variance I)^1/2 from the D leading eigenvalues L and eigenvectors U of the covariance (divided by N),
    `variance` the mean of the other eigenvalues: Tipping and Bishop (1999), eq. 7 and 8. ValueError for a latent_size
    out of [1, E - 1], or data that latent_size components explain exactly.

    >>> tfvae.linear.maximum_likelihood([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]], 1).variance
    0.5
    """
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    if not 1 <= latent_size < x.shape[1]:
        raise ValueError(f"latent_size must be in [1, {x.shape[1] - 1}], got {latent_size}")
    eigenvalues, eigenvectors = np.linalg.eigh(np.cov(x.T, bias=True))
    eigenvalues, eigenvectors = eigenvalues[::-1], eigenvectors[:, ::-1]
    variance = eigenvalues[latent_size:].mean()
    if not variance > 1e-12 * eigenvalues[0]:
        raise ValueError(f"latent_size must leave noise to model, got {latent_size}, which explains x exactly")
    weights = eigenvectors[:, :latent_size] * np.sqrt(np.maximum(eigenvalues[:latent_size] - variance, 0))
    return LinearGaussian(weights, x.mean(axis=0), float(variance))
