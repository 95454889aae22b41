"""Disentanglement by predicting factors from latents. Shapes: N points, D latents, F factors."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.feature_selection import r_regression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tfvae.disentanglement import points
from tfvae.support.rules import Seed32, checked


class DCI(NamedTuple):
    """The three scores of `dci`, each in [0, 1]."""

    disentanglement: float
    completeness: float
    informativeness: float


@checked
def sap(
    latents: np.ndarray,
    factors: np.ndarray,
    *,
    categorical: Sequence[int] = (),
    predictor: Literal["regression", "svm"] = "regression",
    seed: Seed32 = 0,
) -> float:
    """The separated attribute predictability: 1/F sum_k (S_j*k - max_{j != j*} S_jk), in [0, 1].

    Kumar et al. (2018, arXiv 1711.00848). S_jk is the R^2 of a linear regression of factor k on latent j; for a
    categorical factor the balanced accuracy of a decision tree with one leaf a value. There, chance is 1 / values, so a
    perfect latent scores 1 - 1 / values. ValueError for bad arrays or indices, or fewer than 100 points.

    Args:
        latents, factors: [N, D]; [N, F], integers.
        categorical: indices of factors whose values have no order.
        predictor: "regression", as above; "svm", that of disentanglement_lib (Locatello et al. 2019, arXiv 1811.12359):
            for every factor, the accuracy of a linear SVM (C = 0.01, balanced classes) on a held-out third.
        seed: of that third.

    >>> factors = np.random.default_rng(0).integers(0, 4, [1000, 2])
    >>> round(tfvae.disentanglement.sap(factors.astype(float), factors), 2)
    1.0
    """
    latents, factors = points.checked(latents, factors, categorical)
    if predictor == "svm":
        split: Any = train_test_split(latents, factors, test_size=1 / 3, random_state=seed)
        predicted = [_svm_accuracy(*split, k) for k in range(factors.shape[1])]
    else:
        predicted = [
            _tree_accuracy(latents, factor) if k in categorical else r_regression(latents, factor) ** 2
            for k, factor in enumerate(factors.T)
        ]
    first, second = points.two_largest(np.transpose(predicted))
    return float(np.clip(np.mean(first - second), 0, 1))


@checked
def dci(
    latents: np.ndarray,
    factors: np.ndarray,
    *,
    categorical: Sequence[int] = (),
    num_trees=10,
    predictor: Literal["forest", "boosting"] = "forest",
    seed: Seed32 = 0,
) -> DCI:
    """Disentanglement, completeness and informativeness: a `DCI`.

    Eastwood and Williams (2018, "A framework for the quantitative evaluation of disentangled representations", section
    2), with random forests. R_jk is the importance of latent j in the forest for factor k.

    Disentanglement: the mean over latents, weighted by importance, of 1 - H_F(R_j. / sum_k R_jk), H_F the entropy to
    base F. Completeness: the mean over factors of 1 - H_D(R_.k / sum_j R_jk). Informativeness: the mean over factors,
    on a fifth of the points, held out, of 1 - RMSE / standard deviation, at least 0; for a categorical factor, the
    accuracy. Errors as for `sap`.

    Args:
        latents, factors, categorical: as for `sap`.
        num_trees: in each forest.
        predictor: "forest", as above; "boosting", that of disentanglement_lib: gradient boosting with scikit-learn's
            defaults takes the values of every factor as classes, and informativeness is accuracy.

    >>> factors = np.random.default_rng(0).integers(0, 4, [200, 2])
    >>> tfvae.disentanglement.dci(factors.astype(float), factors, num_trees=2)
    DCI(disentanglement=1.0, completeness=1.0, informativeness=1.0)
    """
    latents, factors = points.checked(latents, factors, categorical)
    scaled = StandardScaler().fit_transform(latents)  # scikit-learn's trees split no gap below 1e-7
    split: Any = train_test_split(scaled, factors, test_size=0.2, random_state=seed)
    forests = {True: RandomForestClassifier, False: RandomForestRegressor}
    models = [
        GradientBoostingClassifier(random_state=seed)
        if predictor == "boosting"
        else forests[k in categorical](num_trees, max_features=1.0, random_state=seed)
        for k in range(factors.shape[1])
    ]
    found = [_importance(model, *split, k) for k, model in enumerate(models)]
    importance = np.transpose([one for one, _ in found])  # [D, F]
    shares = importance.sum(axis=1) / max(importance.sum(), 1e-300)  # all 0 where no latent predicts anything
    disentanglement, completeness = shares @ _concentration(importance), _concentration(importance.T).mean()
    return DCI(float(disentanglement), float(completeness), float(np.mean([quality for _, quality in found])))


def _tree_accuracy(latents, factor):
    """Balanced accuracy of a decision tree on each latent alone: [D]."""
    tree = DecisionTreeClassifier(max_leaf_nodes=len(np.unique(factor)), class_weight="balanced", random_state=0)
    columns = StandardScaler().fit_transform(latents).T[..., np.newaxis]
    return [balanced_accuracy_score(factor, tree.fit(column, factor).predict(column)) for column in columns]


def _svm_accuracy(z_train, z_test, v_train, v_test, k):
    """Accuracy of a linear SVM for factor k on each latent alone: [D]."""
    svm = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
    columns = zip(z_train.T[..., np.newaxis], z_test.T[..., np.newaxis], strict=True)
    return [svm.fit(train, v_train[:, k]).score(test, v_test[:, k]) for train, test in columns]


def _importance(model, z_train, z_test, v_train, v_test, k):
    """The importance of each latent for factor k, [D], and the model's score on the held-out points, in [0, 1]."""
    model.fit(z_train, v_train[:, k])
    score = model.score(z_test, v_test[:, k])  # accuracy, or R^2 = 1 - (RMSE / standard deviation)^2
    regression = isinstance(model, RandomForestRegressor)
    return model.feature_importances_, max(0.0, 1 - np.sqrt(1 - score)) if regression else score


def _concentration(importance):
    """1 - the normalized entropy of each row's shares; 0 for a row of zeros: [rows]."""
    return np.clip(1 - entropy(importance + 1e-300, base=max(importance.shape[1], 2), axis=1), 0, 1)
