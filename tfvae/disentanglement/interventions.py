"""Disentanglement by holding one factor fixed while the others vary. Shapes: L images a set, D latents, F factors."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from tfvae.disentanglement import points
from tfvae.support.checks import count


def beta_vae_score(encode, data, *, num_train=10_000, num_test=5_000, set_size=64, seed=0):
    """How well a linear classifier tells which factor two images share: its accuracy on sets that it has not seen.

    Higgins et al. (2017, "beta-VAE", section 3). For each set: L pairs of images whose factor k is equal within the
    pair, all others random; the mean of |z - z'| over the pairs is classified, by logistic regression. A score of
    1 / F is chance.

    Args:
        encode: images [n, H, W, C] -> latents [n, D], say means of q(z|x).
        data: with `factor_sizes`, `sample_factors(n, seed)` -> [n, F] and `images(factors)` -> [n, H, W, C].
        num_train, num_test: sets; 2 L images each. The defaults are those of Locatello et al. (2019, arXiv 1811.12359).
        set_size: L.
        seed: of all that is drawn.

    Raises:
        ValueError: data whose factors are not known, a number below 1, too few sets for the factors.
    """
    rng, varying = _checked(data, num_train, num_test, set_size, seed)

    def draw(num):
        k = varying[_balanced(num, len(varying), rng)]
        first, second = (_factors(data, num, set_size, rng) for _ in range(2))
        rows = np.arange(num)
        second[rows, :, k] = first[rows, :, k]
        z, other = (_encoded(encode, data, factors) for factors in (first, second))
        return np.abs(z - other).mean(axis=1), k

    classifier = LogisticRegression(max_iter=1000).fit(*draw(num_train))
    return float(classifier.score(*draw(num_test)))


def factor_vae_score(encode, data, *, num_train=10_000, num_test=5_000, set_size=64, least_deviation=0.05, seed=0):
    """How often the latent that varies least tells which factor was held fixed: a majority vote's accuracy.

    Kim and Mnih (2018, arXiv 1802.05983, section 4). For each set: L images that share factor k, all others random;
    the latent whose variance over the set, relative to its variance over the data, is least casts a vote for k. A score
    of 1 / F is chance. Arguments and errors as for `beta_vae_score` (a set here has L images), and:

    Args:
        least_deviation: latents whose standard deviation over the data is below it are left out, as inactive. If all
            are, the score is 0.
    """
    rng, varying = _checked(data, num_train, num_test, set_size, seed)
    num = min(10_000, num_train * set_size)
    overall = points.encoded(encode, data, data.sample_factors(num, int(rng.integers(2**31)))).var(axis=0)
    active = np.flatnonzero(overall >= least_deviation**2)
    if not len(active):
        return 0.0

    def votes(num):
        """How often each active latent votes for each factor: [active, F]."""
        k = _balanced(num, len(varying), rng)
        factors = _factors(data, num, set_size, rng)
        rows = np.arange(num)
        factors[rows, :, varying[k]] = factors[rows, :1, varying[k]]
        variances = _encoded(encode, data, factors).var(axis=1)[:, active] / overall[active]
        counts = np.zeros((len(active), len(varying)))
        np.add.at(counts, (variances.argmin(axis=1), k), 1)
        return counts

    majority = votes(num_train).argmax(axis=1)
    return float(votes(num_test)[np.arange(len(active)), majority].sum() / num_test)


def _checked(data, num_train, num_test, set_size, seed):
    """A generator of random numbers and the indices of the varying factors, once the arguments are checked."""
    varying = points.varying(data)
    for name, value in (("num_train", num_train), ("num_test", num_test), ("set_size", set_size)):
        count(name, value)
    if num_train < 10 * len(varying):
        raise ValueError(f"num_train must be at least 10 for each of the {len(varying)} factors, got {num_train}")
    return np.random.default_rng(seed), varying


def _balanced(num, num_factors, rng):
    """Which factor each set holds fixed: all of them equally often, or nearly, in random order."""
    return rng.permutation(np.arange(num) % num_factors)


def _factors(data, num, set_size, rng):
    """Random factors for `num` sets: [num, L, F]."""
    factors = data.sample_factors(num * set_size, int(rng.integers(2**31)))
    return np.array(factors).reshape(num, set_size, -1)


def _encoded(encode, data, factors):
    """[num, L, F] -> [num, L, D]."""
    return points.encoded(encode, data, factors.reshape(-1, factors.shape[-1])).reshape(*factors.shape[:2], -1)
