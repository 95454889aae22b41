"""Disentanglement by mutual information between latents and factors. Shapes: N points, D latents, F factors."""

import warnings

import numpy as np
from sklearn.metrics import mutual_info_score

from tfvae.disentanglement import points
from tfvae.support.rules import checked


@checked
def mutual_information(latents: np.ndarray, factors: np.ndarray, *, num_bins: int = 20) -> np.ndarray:
    """I(z_j; v_k) in nats, from counts over equal-width bins of each latent: [D, F].

    Biased upwards: N independent points give about (num_bins - 1) (values - 1) / 2N, not 0. ValueError for bad arrays,
    or fewer points than num_bins times the values of a factor; UserWarning for a latent that varies, but has nearly all
    points in one bin, as a single outlier makes it.

    Args:
        latents: [N, D], say means of q(z|x).
        factors: [N, F], integers.

    >>> factors = np.arange(1000)[:, np.newaxis] % 4
    >>> tfvae.disentanglement.mutual_information(factors.astype(float), factors).round(4)  # log 4
    array([[1.3863]])
    """
    latents, factors = points.checked(latents, factors)
    most = num_bins * max(len(np.unique(factor)) for factor in factors.T)
    if len(latents) < most:
        raise ValueError(f"latents must hold at least {most} points for {num_bins} bins, got {len(latents)}")
    bins = [np.digitize(z, np.histogram_bin_edges(z, num_bins)[1:-1]) for z in latents.T]
    for j, fullest in enumerate(np.bincount(b).max() for b in bins):
        if len(latents) > fullest > 0.99 * len(latents):
            warnings.warn(
                f"latents must spread over the bins, got {fullest} of {len(latents)} points in one bin of latent {j}, "
                f"whose range is {latents[:, j].min():.3g} to {latents[:, j].max():.3g}",
                stacklevel=3,
            )
    return np.array([[mutual_info_score(b, factor) for factor in factors.T] for b in bins])


@checked
def mig(latents: np.ndarray, factors: np.ndarray, *, num_bins: int = 20) -> float:
    """The mutual information gap, 1/F sum_k (I(z_j*; v_k) - max_{j != j*} I(z_j; v_k)) / H(v_k), in [0, 1].

    Chen et al. (2018, arXiv 1802.04942, eq. 6), who estimate I from draws of q(z|x) and its density; from 20 bins of
    means as Locatello et al. (2019, arXiv 1811.12359). 1 where exactly one latent encodes each
    factor; several factors in one latent are not penalized. Arguments and errors as for `mutual_information`.

    >>> factors = np.indices((4, 5, 20)).reshape(3, 400).T[:, :2]  # every pair, twenty times
    >>> round(tfvae.disentanglement.mig(factors.astype(float), factors), 4)
    1.0
    """
    information = mutual_information(latents, factors, num_bins=num_bins)
    entropies = np.array([mutual_info_score(factor, factor) for factor in np.asarray(factors).T])
    first, second = points.two_largest(information)
    return float(np.mean((first - second) / entropies))


@checked
def modularity(latents: np.ndarray, factors: np.ndarray, *, num_bins: int = 20) -> float:
    """1/D sum_j (1 - sum_{k != k*} I(z_j; v_k)^2 / (I(z_j; v_k*)^2 (F - 1))), in [0, 1].

    Ridgeway and Mozer (2018, arXiv 1802.05312). 1 where each latent encodes exactly one factor; several latents for one
    factor are not penalized. A latent without information counts 0; with a single factor, any other counts 1. The bias
    of `mutual_information` is largest for the factor with the most values, so an inactive latent scores well above 0.
    Arguments and errors as there.

    >>> factors = np.indices((4, 5, 20)).reshape(3, 400).T[:, :2]  # every pair, twenty times
    >>> round(tfvae.disentanglement.modularity(factors.astype(float), factors), 4)
    1.0
    """
    squares = np.square(mutual_information(latents, factors, num_bins=num_bins))
    most = squares.max(axis=1)
    rest = (squares.sum(axis=1) - most) / max(squares.shape[1] - 1, 1)
    return float(np.mean(np.where(most > 0, 1 - rest / np.where(most > 0, most, 1), 0)))
