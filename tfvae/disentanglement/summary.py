"""Several scores of an encoder at once, and how much they depend on what was drawn."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.disentanglement import points
from tfvae.disentanglement.information import mig, modularity
from tfvae.disentanglement.interventions import beta_vae_score, factor_vae_score
from tfvae.disentanglement.predictors import dci, sap
from tfvae.support.checks import check_name

NAMES = ("mig", "sap", "dci", "modularity", "beta_vae_score", "factor_vae_score")


class Spread(NamedTuple):
    """Of a number over seeds: its mean, and the standard deviation of one draw."""

    mean: float
    standard_deviation: float


def means(vae):
    """The encoder whose latents are scored: images [n, *event_shape] -> means of q(z|x) [n, D], compiled."""
    signature = [tf.TensorSpec([None, *vae.event_shape], tf.float32)]
    return tf.function(lambda x: vae.encode(x).mean(), input_signature=signature)


def draw(encode, data, num_points=10_000, seed=0):
    """Latents [N, D] and factors [N, F] of images drawn at random; factors of a single value are left out.

    Raises:
        ValueError: data whose factors are not known.
    """
    varying = points.varying(data)
    factors = data.sample_factors(num_points, seed)
    return points.encoded(encode, data, factors), factors[:, varying]


def scores(encode, data, names=NAMES, *, num_points=10_000, num_train=10_000, num_test=5_000, set_size=64, seed=0):
    """The named scores of an encoder: {name: score}; `dci` gives three.

    Args:
        encode: images [n, H, W, C] -> latents [n, D]; of a model, `means(vae)`.
        data: with known factors, see above.
        names: some of `NAMES`.
        num_points: for the scores of points.
        num_train, num_test, set_size: for the scores that draw their own images, as there.
        seed: of all that is drawn.

    Raises:
        ValueError: an unknown name, data whose factors are not known, too few points for a score.
    """
    for name in names:
        check_name("names", name, NAMES)
    varying = points.varying(data)
    categorical = np.flatnonzero(np.isin(varying, getattr(data, "categorical", ())))
    latents, factors = draw(encode, data, num_points, seed)
    own = {"num_train": num_train, "num_test": num_test, "set_size": set_size, "seed": seed}
    calls = {
        "mig": lambda: {"mig": mig(latents, factors)},
        "sap": lambda: {"sap": sap(latents, factors, categorical=categorical)},
        "dci": lambda: {
            f"dci_{name}": value
            for name, value in dci(latents, factors, categorical=categorical, seed=seed)._asdict().items()
        },
        "modularity": lambda: {"modularity": modularity(latents, factors)},
        "beta_vae_score": lambda: {"beta_vae_score": beta_vae_score(encode, data, **own)},
        "factor_vae_score": lambda: {"factor_vae_score": factor_vae_score(encode, data, **own)},
    }
    return {name: value for chosen in names for name, value in calls[chosen]().items()}


def spread(score, seeds=range(5)):
    """How much a score depends on what was drawn: a `Spread`, or {name: `Spread`} of a dict of scores.

    Args:
        score: seed -> a number or a dict of numbers, such as `lambda seed: scores(encode, data, seed=seed)`.
        seeds: at least two integers.

    Raises:
        ValueError: fewer than two seeds.
    """
    seeds = list(seeds)
    if len(seeds) < 2:
        raise ValueError(f"seeds must be at least 2, got {len(seeds)}")
    found = [score(seed) for seed in seeds]
    if isinstance(found[0], dict):
        return {name: _spread([one[name] for one in found]) for name in found[0]}
    return _spread(found)


def _spread(values):
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)))
