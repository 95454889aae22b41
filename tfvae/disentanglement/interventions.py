"""Disentanglement by fixing one factor while the others vary. Shapes: L images a set, D latents, F factors."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from tfvae.disentanglement import points
from tfvae.support.rules import NonNegative, checked


@checked
def beta_vae_score(encode, data, *, num_train=10_000, num_test=5_000, set_size=64, seed=0) -> float:
    """Test accuracy of a linear classifier that predicts which factor the images of a pair share.

    Higgins et al. (2017, "beta-VAE", section 3). A set is L pairs of images that share factor k, all others random;
    logistic regression predicts k from the mean of |z - z'| over the pairs. Chance is 1 / F. ValueError for data
    without known factors, latents that are not finite, a number below 1, or fewer than 10 training sets a factor.

    Args:
        encode: images [n, H, W, C] -> latents [n, D], such as the means of q(z|x).
        num_train, num_test: sets, of 2 L images. The defaults are those of Locatello et al. (2019, arXiv 1811.12359).
        set_size: L.

    >>> factors = np.indices((3, 4)).reshape(2, 12).T  # [12, 2]
    >>> data = tfvae.data.from_factors(factors[:, :, np.newaxis, np.newaxis] / 4, factors)  # images of their factors
    >>> tfvae.disentanglement.beta_vae_score(lambda x: x[:, :, 0, 0], data, num_train=100, num_test=100, set_size=8)
    1.0
    """
    rng, varying = _checked(data, num_train, seed)
    if len(varying) == 1:  # scikit-learn refuses a single class
        return 1.0

    def draw(num):
        k = varying[rng.permutation(np.arange(num) % len(varying))]  # balanced, in random order
        first, second = (_factors(data, num, set_size, rng) for _ in range(2))
        rows = np.arange(num)
        second[rows, :, k] = first[rows, :, k]
        z, other = (points.encoded(encode, data, factors) for factors in (first, second))
        return np.abs(z - other).mean(axis=1), k

    classifier = LogisticRegression(max_iter=1000).fit(*draw(num_train))
    return float(classifier.score(*draw(num_test)))


@checked
def factor_vae_score(
    encode, data, *, num_train=10_000, num_test=5_000, set_size=64, least_deviation: NonNegative = 0.05, seed=0
) -> float:
    """Test accuracy of a majority vote that predicts the fixed factor from the latent that varies least.

    Kim and Mnih (2018, arXiv 1802.05983, section 4). A set is L images that share factor k, all others random; the
    latent with the least variance over the set, relative to its variance over the data, votes for k. Chance is 1 / F.
    Latents with a standard deviation below `least_deviation` over the data are inactive and left out; if all are, the
    score is 0. disentanglement_lib leaves none out, 0. Other arguments and errors as for `beta_vae_score`.

    >>> factors = np.indices((3, 4)).reshape(2, 12).T  # [12, 2]
    >>> data = tfvae.data.from_factors(factors[:, :, np.newaxis, np.newaxis] / 4, factors)  # images of their factors
    >>> tfvae.disentanglement.factor_vae_score(lambda x: x[:, :, 0, 0], data, num_train=100, num_test=100, set_size=8)
    1.0
    """
    rng, varying = _checked(data, num_train, seed)
    num = min(10_000, num_train * set_size)
    overall = points.encoded(encode, data, data.sample_factors(num, int(rng.integers(2**31)))).var(axis=0)
    active = np.flatnonzero(overall >= max(least_deviation**2, 1e-300))
    if not len(active):
        return 0.0

    def votes(num):
        """How often each active latent votes for each factor: [active, F]."""
        k = rng.permutation(np.arange(num) % len(varying))
        factors = _factors(data, num, set_size, rng)
        rows = np.arange(num)
        factors[rows, :, varying[k]] = factors[rows, :1, varying[k]]
        variances = points.encoded(encode, data, factors).var(axis=1)[:, active] / overall[active]
        counts = np.zeros((len(active), len(varying)))
        np.add.at(counts, (variances.argmin(axis=1), k), 1)
        return counts

    majority = votes(num_train).argmax(axis=1)
    return float(votes(num_test)[np.arange(len(active)), majority].sum() / num_test)


def _checked(data, num_train, seed):
    """A random generator and the indices of the varying factors; checks the arguments."""
    varying = points.varying(data)
    if num_train < 10 * len(varying):
        raise ValueError(f"num_train must be at least 10 for each of the {len(varying)} factors, got {num_train}")
    return np.random.default_rng(seed), varying


def _factors(data, num, set_size, rng):
    """Random factors for `num` sets: [num, L, F]."""
    factors = data.sample_factors(num * set_size, int(rng.integers(2**31)))
    return np.array(factors).reshape(num, set_size, -1)
