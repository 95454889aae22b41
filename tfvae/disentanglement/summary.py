"""Several scores of an encoder at once, and their spread over draws."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.disentanglement import points
from tfvae.disentanglement.information import mig, modularity
from tfvae.disentanglement.interventions import beta_vae_score, factor_vae_score
from tfvae.disentanglement.predictors import dci, sap
from tfvae.support import checks
from tfvae.support.rules import Seed32, checked

NAMES = ("mig", "sap", "dci", "modularity", "beta_vae_score", "factor_vae_score")
# Where these differ from disentanglement_lib's (Locatello et al. 2019, arXiv 1811.12359), its variants.
VARIANTS = ("sap_svm", "dci_boosting", "factor_vae_score_all")


class Spread(NamedTuple):
    """The mean of a score over seeds, and the standard deviation of one draw."""

    mean: float
    standard_deviation: float


@checked
def means(vae) -> points.Encode:
    """The encoder to score: images [n, *event_shape] -> means of q(z|x) [n, D], compiled.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli", latent_size=2))
    >>> tfvae.disentanglement.means(vae)(np.zeros([3, 8, 8, 1], np.float32)).shape
    TensorShape([3, 2])
    """
    signature = [tf.TensorSpec([None, *vae.event_shape], tf.float32)]
    return tf.function(lambda x: vae.encode(x).mean(), input_signature=signature)


@checked
def draw(
    encode: points.Encode, data: points.FactorData, num_points: int = 10_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Latents [N, D] and factors [N, F] of random images, without constant factors; ValueError if none are known.

    >>> factors = np.indices((3, 4)).reshape(2, 12).T  # [12, 2]
    >>> data = tfvae.data.from_factors(factors[:, :, np.newaxis, np.newaxis] / 4, factors)  # images of their factors
    >>> [array.shape for array in tfvae.disentanglement.draw(lambda x: x[:, :, 0, 0], data, num_points=100)]
    [(100, 2), (100, 2)]
    """
    varying = points.varying(data)
    factors = data.sample_factors(num_points, seed)
    return points.encoded(encode, data, factors), factors[:, varying]


@checked
def scores(
    encode,
    data,
    names: Sequence[str] = NAMES,
    *,
    num_points=10_000,
    num_train=10_000,
    num_test=5_000,
    set_size=64,
    seed: Seed32 = 0,
) -> dict[str, float]:
    """The named scores of an encoder: {name: score}; `dci` gives three. ValueError as each score raises it.

    Args:
        encode: images [n, H, W, C] -> latents [n, D]; of a model, `means(vae)`.
        names: some of `NAMES` and `VARIANTS`; the latter, `mig`, `modularity` and `beta_vae_score` compare
            with the values of disentanglement_lib.
        num_points: for `mig`, `modularity`, `sap` and `dci`.
        num_train, num_test, set_size: as for `beta_vae_score`.
        seed: for images, splits and forests.

    >>> factors = np.indices((3, 4)).reshape(2, 12).T  # [12, 2]
    >>> data = tfvae.data.from_factors(factors[:, :, np.newaxis, np.newaxis] / 4, factors)  # images of their factors
    >>> tfvae.disentanglement.scores(lambda x: x[:, :, 0, 0], data, ["sap", "modularity"], num_points=1000).keys()
    dict_keys(['sap', 'modularity'])
    """
    for name in names:
        checks.check_name("names", name, NAMES + VARIANTS)
    varying = points.varying(data)
    categorical: Any = np.flatnonzero(np.isin(varying, getattr(data, "categorical", ())))
    given = functools.cache(lambda: draw(encode, data, num_points, seed))  # latents and factors, where asked for
    own = {"num_train": num_train, "num_test": num_test, "set_size": set_size, "seed": seed}
    calls: dict[str, Callable[[], Any]] = {
        "mig": lambda: mig(*given()),
        "sap": lambda: sap(*given(), categorical=categorical),
        "sap_svm": lambda: sap(*given(), predictor="svm", seed=seed),
        "dci": lambda: dci(*given(), categorical=categorical, seed=seed)._asdict(),
        "dci_boosting": lambda: dci(*given(), predictor="boosting", seed=seed)._asdict(),
        "modularity": lambda: modularity(*given()),
        "beta_vae_score": lambda: beta_vae_score(encode, data, **own),
        "factor_vae_score": lambda: factor_vae_score(encode, data, **own),
        "factor_vae_score_all": lambda: factor_vae_score(encode, data, least_deviation=0, **own),
    }
    found: dict[str, float] = {}
    for name in names:
        score = calls[name]()
        found |= {f"{name}_{part}": v for part, v in score.items()} if isinstance(score, dict) else {name: score}
    return found


@checked
def spread(score: Callable, seeds: Sequence[int] = range(5)) -> Spread | dict[str, Spread]:
    """The variation of a score between draws: a `Spread`, or {name: `Spread`} of a dict of scores.

    Args:
        score: seed -> a number or a dict of numbers, such as `lambda seed: scores(encode, data, seed=seed)`.
        seeds: at least two integers, each once; else ValueError.

    >>> tfvae.disentanglement.spread(lambda seed: seed, range(3))
    Spread(mean=1.0, standard_deviation=1.0)
    """
    seeds = list(seeds)
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be at least 2, each once, got {seeds}")
    found = [score(seed) for seed in seeds]
    for value in tf.nest.flatten(found):
        checks.number("score(seed)", value)
    if isinstance(found[0], dict):
        return {name: _spread([one[name] for one in found]) for name in found[0]}
    return _spread(found)


def _spread(values):
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)))
