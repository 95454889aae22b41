"""Scores that compare latents with known factors, by their published definitions.

Of points, latents [N, D] and factors [N, F]: `mig`, `modularity`, `sap`, `dci`. Of an encoder and data, from which they
draw their own images: `beta_vae_score`, `factor_vae_score`. Data with known factors have `factor_sizes` (F integers),
`factor_names`, `sample_factors(n, seed)` -> int64 [n, F] and `images(factors)` -> float32 [n, H, W, C]; where some
factors' values have no order, also `categorical`, their indices. One draw gives one number: `spread` tells how much it
depends on the draw. How much it depends on the training's seed, only other trainings tell.
"""

from tfvae.disentanglement.information import mig, modularity, mutual_information
from tfvae.disentanglement.interventions import beta_vae_score, factor_vae_score
from tfvae.disentanglement.predictors import dci, sap
from tfvae.disentanglement.summary import NAMES, Spread, draw, means, scores, spread

__all__ = [
    "NAMES",
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
