"""The objective that decorrelates the latents by their covariance. Shapes: B batch, D latent."""

import tensorflow as tf

from tfvae import checks
from tfvae.terms import marginals, penalized


def dip_elbo(off_diagonal, diagonal, *, variant=2, num_samples=1, exact_kl=None):
    """ELBO - off_diagonal sum_{i != j} C_ij^2 - diagonal sum_i (C_ii - 1)^2: an objective.

    DIP-VAE, Kumar et al. (2018, arXiv 1711.00848, section 3). C is the covariance over the batch: in DIP-VAE-I
    of the means, Cov_x(E_q[z|x]); in DIP-VAE-II of the latents, Cov_x(E_q[z|x]) + E_x[Cov_q(z|x)]. The penalty is the
    same number for each example.

    Args:
        off_diagonal, diagonal: the weights lambda_od and lambda_d, at least 0. The paper takes
            diagonal = 10 off_diagonal for I, diagonal = off_diagonal for II.
        variant: 1 or 2.

    Raises:
        ValueError: a value out of its range; when called, a q(z|x) that is no normal.
    """
    checks.number("off_diagonal", off_diagonal, 0)
    checks.number("diagonal", diagonal, 0)
    if variant not in (1, 2):
        raise ValueError(f"variant must be 1 or 2, got {variant!r}")

    def penalty(draw, step):
        covariance = latent_covariance(draw.qz_x, of_means=variant == 1)
        variances = tf.linalg.diag_part(covariance)
        correlated = tf.reduce_sum(tf.square(covariance)) - tf.reduce_sum(tf.square(variances))
        return draw.kl + off_diagonal * correlated + diagonal * tf.reduce_sum(tf.square(variances - 1))

    return penalized(penalty, num_samples, exact_kl)


def latent_covariance(qz_x, *, of_means=False):
    """Covariance over the batch (divided by B) of z ~ q(z|x), or of the means E_q[z|x] alone: [D, D]."""
    loc = marginals(qz_x).loc
    centred = loc - tf.reduce_mean(loc, axis=0)
    covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(loc)[0], loc.dtype)
    return covariance if of_means else covariance + tf.reduce_mean(qz_x.covariance(), axis=0)
