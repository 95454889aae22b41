"""The scores of disentanglement beside the formulas of disentanglement_lib, for `spot_checks.py`."""

import numpy as np
from references import scores

from tfvae import data, disentanglement

FACTOR_SIZES = (3, 4, 5, 6)
EVERY = range(len(FACTOR_SIZES))
DRAWS = {"num_train": 2000, "num_test": 5000}


def latents_of(factors):
    """Of the first factor, the third, the second with the fourth, the first again, and none, all with noise: [n, 5]."""
    a, b, c, d = factors.T
    noise = np.random.default_rng(factors.sum()).normal(size=(len(a), 5))
    return np.stack([a, c, b + d / 2, -a, 0 * a], axis=-1) + noise * [0.3, 0.5, 0.5, 1, 1]


def encoder_and_data():
    """An encoder that reads images of their factors, and these images."""
    factors = np.indices(FACTOR_SIZES).reshape(len(FACTOR_SIZES), -1).T
    images = factors[:, :, np.newaxis] / 10
    return lambda x: latents_of(np.rint(10 * x[:, :, 0, 0]).astype(int)), data.from_factors(images, factors)


def compared():
    """What is compared, this package's score, the formula's."""
    points, new = (disentanglement.draw(*encoder_and_data(), 2000, seed) for seed in (0, 1))
    for name, what in {"mig": "", "modularity": "", "sap": ", ordered factors: R^2"}.items():
        yield f"`{name}`{what}", getattr(disentanglement, name)(*points), getattr(scores, name)(*points)
    by_svm, boosted = scores.sap_by_svm(points, new), scores.dci_by_boosting(points, new)
    yield "`sap` of categorical factors: trees; SVMs", disentanglement.sap(*points, categorical=EVERY), by_svm
    yield "`sap`, predictor svm: SVMs, other points", disentanglement.sap(*points, predictor="svm"), by_svm
    for predictor, what in {
        "forest": "random forests; boosted trees",
        "boosting": "boosted trees, other points",
    }.items():
        ours = disentanglement.dci(*points, categorical=EVERY, predictor=predictor)
        for name, one, other in zip(ours._fields, ours, boosted, strict=True):
            yield f"`dci`, predictor {predictor}, {name}: {what}", one, other
    ours = disentanglement.factor_vae_score(*encoder_and_data(), **DRAWS)
    theirs = scores.factor_vae(latents_of, FACTOR_SIZES, np.random.default_rng(0), **DRAWS)
    yield "`factor_vae_score`: one formula, other draws", ours, theirs
