"""Scores of disentanglement as disentanglement_lib defines them (Locatello et al. 2019, arXiv 1811.12359).

Written anew, as that library needs TensorFlow 1. Shapes: N points, D latents, F factors.
"""

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.svm import LinearSVC


def information(latents, factors):
    """I(z_j; v_k) of latents in 20 bins [D, F] and H(v_k) [F], in nats, from tables of counts."""
    binned = [np.digitize(z, np.histogram(z, 20)[1][:-1]) for z in latents.T]

    def mutual(a, b):
        p = np.histogram2d(a, b, [np.arange(22), np.arange(22)])[0] / len(a)
        independent = p.sum(axis=1, keepdims=True) * p.sum(axis=0)
        return np.sum(p[p > 0] * np.log(p[p > 0] / independent[p > 0]))

    return np.array([[mutual(z, v) for v in factors.T] for z in binned]), np.array([mutual(v, v) for v in factors.T])


def gap(of_each):
    """The mean over factors of what the best latent has above the next: [D, F] -> []."""
    ordered = np.sort(of_each, axis=0)
    return np.mean(ordered[-1] - ordered[-2])


def mig(latents, factors):
    mutual, entropy = information(latents, factors)
    return gap(mutual / entropy)


def modularity(latents, factors):
    squares = information(latents, factors)[0] ** 2
    most = squares.max(axis=1)
    return np.mean(1 - (squares.sum(axis=1) - most) / (most * (factors.shape[1] - 1)))


def sap(latents, factors):
    """Of ordered factors: R^2."""
    size = latents.shape[1]
    return gap(np.corrcoef(latents.T, factors.T)[:size, size:] ** 2)


def sap_by_svm(train, test):
    """Of categorical factors: a linear SVM's accuracy on other points."""
    (latents, factors), (new, truth) = train, test

    def accuracy(j, k):
        machine = LinearSVC(C=0.01, class_weight="balanced", random_state=0).fit(latents[:, [j]], factors[:, k])
        return machine.score(new[:, [j]], truth[:, k])

    return gap(np.array([[accuracy(j, k) for k in range(factors.shape[1])] for j in range(latents.shape[1])]))


def dci_by_boosting(train, test):
    """Disentanglement, completeness, and accuracy on other points, of boosted trees."""
    (latents, factors), (new, truth) = train, test
    trees = [GradientBoostingClassifier(random_state=0).fit(latents, v) for v in factors.T]
    importance = np.transpose([one.feature_importances_ for one in trees])  # [D, F]
    disentangled, complete = (weighted_concentration(a) for a in (importance, importance.T))
    return disentangled, complete, np.mean([one.score(new, v) for one, v in zip(trees, truth.T, strict=True)])


def weighted_concentration(importance):
    """sum_i w_i (1 - H(row i) / log(columns)), w_i the row's part of the whole."""
    rows = importance + 1e-11
    shares = rows / rows.sum(axis=1, keepdims=True)
    concentration = 1 + np.sum(shares * np.log(shares), axis=1) / np.log(shares.shape[1])
    return importance.sum(axis=1) @ concentration / importance.sum()


def factor_vae(encode, factor_sizes, rng, num_train, num_test, set_size=64):
    """The votes for the factor that a set shares, each by the latent that varies least in it; encode: [n, F] -> [n, D].

    All latents vote: `prune_dims.threshold`, 0 by default and 0.05 in the study, leaves none out above it.
    """

    def draw(*shape):
        return np.stack([rng.integers(n, size=shape) for n in factor_sizes], axis=-1)

    overall = encode(draw(10_000)).var(axis=0, ddof=1)

    def votes(num):
        factors, k, rows = draw(num, set_size), rng.integers(len(factor_sizes), size=num), np.arange(num)
        factors[rows, :, k] = factors[rows, :1, k]
        latents = encode(factors.reshape(num * set_size, -1)).reshape(num, set_size, -1)
        least = (latents.var(axis=1, ddof=1) / overall).argmin(axis=1)
        return np.histogram2d(least, k, [np.arange(len(overall) + 1), np.arange(len(factor_sizes) + 1)])[0]

    majority = votes(num_train).argmax(axis=1)
    return votes(num_test)[np.arange(len(overall)), majority].sum() / num_test
