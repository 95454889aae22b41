"""The KL of the ELBO in three parts, and the objective that weighs each by itself.

    mean_n KL(q(z|x_n) || p(z)) = I(z; n) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))

n is uniform over the N examples and q(z) = 1/N sum_n q(z|x_n): index-code mutual information, total correlation,
dimension-wise KL. Chen et al. (2018, arXiv 1802.04942, eq. 2). Shapes in comments: S samples, B batch, D latent.
"""

from typing import NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfvae.objectives.terms import penalized
from tfvae.support import checks, tensors
from tfvae.support.pieces import option, piece
from tfvae.support.rules import checked


class Parts(NamedTuple):
    """One-sample estimates of the three parts, [S, B] each, in nats; their sum is log q(z|x) - log p(z), exactly."""

    mutual_information: tf.Tensor  # log q(z|x) - log q(z)
    total_correlation: tf.Tensor  # log q(z) - sum_j log q(z_j)
    dimension_wise_kl: tf.Tensor  # sum_j log q(z_j) - log p(z)


@checked
def parts(qz_x: tfd.Distribution, pz: tfd.Distribution, z, num_data):
    """The `Parts` for samples z of q(z|x); ValueError for a batch larger than the data set, or a q(z|x) not normal.

    q(z) is a weighted sum over the batch (minibatch-stratified sampling): the example that z came from has weight 1/N,
    the others share (N - 1) / N, for the rest of the data. This is the estimator of Chen et al. (appendix C.2) averaged
    over which of the others comes last in it: q(z) is unbiased, has less variance, and is exact where the batch is the
    data set. Its logarithm is biased, less so in larger batches.

    Args:
        qz_x: a normal with batch shape [B].
        z: [S, B, D]; z[:, b] are samples of q(z|x_b).
        num_data: N, examples in the data set that the batch was drawn from without replacement.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> drawn = tfvae.objectives.draw(vae, np.zeros([3, 8, 8, 1]), seed=0, num_samples=1)
    >>> found = tfvae.objectives.parts(drawn.qz_x, drawn.pz, drawn.z, num_data=100)
    >>> np.allclose(sum(found), drawn.sampled_kl, atol=1e-4), found.total_correlation.shape
    (True, TensorShape([1, 3]))
    """
    z, shape = tensors.tensor("z", z), [None, *qz_x.batch_shape, *qz_x.event_shape]
    if not z.shape.is_compatible_with(shape):
        raise ValueError(f"z must have shape [{checks.joined(shape)}], got [{checks.joined(z.shape)}]")
    pairs = z[:, :, tf.newaxis]  # [S, B, 1, D] against [B, ...]: each sample under each example
    log_weights = _log_weights(z, num_data)
    log_qz = tf.reduce_logsumexp(qz_x.log_prob(pairs) + log_weights, axis=-1)
    log_qz_j = tf.reduce_logsumexp(marginals(qz_x).log_prob(pairs) + log_weights[..., tf.newaxis], axis=2)
    log_product = tf.reduce_sum(log_qz_j, axis=-1)
    return Parts(qz_x.log_prob(z) - log_qz, log_qz - log_product, log_product - pz.log_prob(z))


@piece("objective", traits=("of marginals",), beta=option(1.0, "Weight of the total correlation", least=0))
def tc_elbo(num_data, beta, *, mutual_information=1.0, dimension_wise_kl=1.0, num_samples=1, exact_kl=None):
    """E_q[log p(x|z)] - a I(z; n) - beta TC(z) - g sum_j KL(q(z_j) || p(z_j)): an objective.

    beta-TCVAE, Chen et al. (2018, arXiv 1802.04942, eq. 4), for a training set of `num_data` examples; a is the weight
    `mutual_information`, g `dimension_wise_kl`. Computed as E_q[log p(x|z)] - g KL - (a - g) I(z; n)
    - (beta - g) TC(z), so that a KL in closed form is used: with all weights 1 this is the ELBO. The last batch of an
    epoch should hold more than one example. ValueError for a value out of its range; at the call, as for `parts`.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.tc_elbo(num_data=100, beta=6.0)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """

    def penalty(drawn, step):
        found = parts(drawn.qz_x, drawn.pz, drawn.z, num_data)
        extra = (mutual_information - dimension_wise_kl) * found.mutual_information
        extra += (beta - dimension_wise_kl) * found.total_correlation
        return dimension_wise_kl * drawn.kl + tf.reduce_mean(extra, axis=0)

    return penalized(penalty, num_samples, exact_kl)


def marginals(qz_x) -> tfd.Normal:
    """q(z_j|x) of each latent alone: a `tfd.Normal` with batch shape [B, D]; ValueError unless q(z|x) is normal."""
    if not isinstance(qz_x, tfd.MultivariateNormalDiag | tfd.MultivariateNormalTriL):
        raise ValueError(f"q(z|x) must be a multivariate normal, whose marginals are known, got {qz_x.name}")
    return tfd.Normal(qz_x.mean(), qz_x.stddev())


def _log_weights(z, num_data):
    """The logarithm of each example's weight (column) in q(z) of each sample (row): [B, B]."""
    batch_size, rule = z.shape[1] or tf.shape(z)[1], f"batch size must be at most num_data, {num_data}, got"
    if tf.is_tensor(batch_size):
        batch_size = tensors.after(batch_size <= num_data, [rule, batch_size], batch_size)
    elif batch_size > num_data:
        raise ValueError(f"{rule} {batch_size}")
    # A batch of one has no others, and a data set of one no rest.
    others = tf.cast(tf.maximum(batch_size - 1, 1), z.dtype)
    other = tf.fill([batch_size, batch_size], (1 - 1 / num_data) / others)
    return tf.math.log(tf.linalg.set_diag(other, tf.fill([batch_size], tf.constant(1 / num_data, z.dtype))))
