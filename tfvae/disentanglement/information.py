"""Disentanglement by mutual information between latents and factors. Shapes: N points, D latents, F factors."""

import numpy as np
from sklearn.metrics import mutual_info_score

from tfvae.disentanglement import points
from tfvae.support.checks import count


def mutual_information(latents, factors, *, num_bins=20):
    """I(z_j; v_k) in nats, by counting, each latent cut into bins of equal width: [D, F].

    Of N points that are independent it gives about (num_bins - 1) (values - 1) / 2N, not 0.

    Args:
        latents: [N, D], say means of q(z|x).
        factors: [N, F], integers.

    Raises:
        ValueError: bad arrays, or fewer points than the bins times the values of a factor.
    """
    count("num_bins", num_bins)
    latents, factors = points.checked(latents, factors)
    most = num_bins * max(len(np.unique(factor)) for factor in factors.T)
    if len(latents) < most:
        raise ValueError(f"latents must hold at least {most} points for {num_bins} bins, got {len(latents)}")
    bins = [np.digitize(z, np.histogram_bin_edges(z, num_bins)[1:-1]) for z in latents.T]
    return np.array([[mutual_info_score(b, factor) for factor in factors.T] for b in bins])


def mig(latents, factors, *, num_bins=20):
    """The mutual information gap, 1/F sum_k (I(z_j*; v_k) - max_{j != j*} I(z_j; v_k)) / H(v_k), in [0, 1].

    Chen et al. (2018, arXiv 1802.04942, eq. 6; by 10,000 points and 20 bins). 1 where each factor is told by one
    latent, and by that alone. Several factors in one latent cost nothing. Arguments and errors as for
    `mutual_information`.
    """
    information = mutual_information(latents, factors, num_bins=num_bins)
    entropies = np.array([mutual_info_score(factor, factor) for factor in np.asarray(factors).T])
    first, second = points.two_largest(information)
    return float(np.mean((first - second) / entropies))


def modularity(latents, factors, *, num_bins=20):
    """1/D sum_j (1 - sum_{k != k*} I(z_j; v_k)^2 / (I(z_j; v_k*)^2 (F - 1))), in [0, 1]; needs two factors.

    Ridgeway and Mozer (2018, arXiv 1802.05312). 1 where each latent tells of one factor alone. Several
    latents for one factor cost nothing; a latent that tells nothing counts 0. Arguments and errors as for
    `mutual_information`. An idle latent has a little counted information about every factor (see there), most of
    it about the factor with the most values: its part is then well above 0.
    """
    squares = np.square(mutual_information(latents, factors, num_bins=num_bins))
    if squares.shape[1] < 2:
        raise ValueError(f"factors must have at least 2 columns, got {squares.shape[1]}")
    most = squares.max(axis=1)
    rest = (squares.sum(axis=1) - most) / (squares.shape[1] - 1)
    return float(np.mean(np.where(most > 0, 1 - rest / np.where(most > 0, most, 1), 0)))
