"""Scores that compare latents with known factors, by their published definitions.

`mig`, `modularity`, `sap` and `dci` take points: latents [N, D] and factors [N, F]. `beta_vae_score` and
`factor_vae_score` take an encoder and `points.FactorData`, and draw their own images. `spread` repeats a score over
seeds; it measures the variation between draws, not between trainings.
"""

from tfvae.disentanglement.information import mig, modularity, mutual_information
from tfvae.disentanglement.interventions import beta_vae_score, factor_vae_score
from tfvae.disentanglement.predictors import dci, sap
from tfvae.disentanglement.summary import NAMES, VARIANTS, Spread, draw, means, scores, spread

__all__ = [
    "NAMES",
    "VARIANTS",
    "Spread",
    "beta_vae_score",
    "dci",
    "draw",
    "factor_vae_score",
    "means",
    "mig",
    "modularity",
    "mutual_information",
    "sap",
    "scores",
    "spread",
]


def __dir__():
    return __all__
