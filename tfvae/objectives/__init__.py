"""Objectives, in nats per example, to be maximised. What measures a trained model is in `diagnostics`.

An objective is a callable `(vae, x, *, seed, step) -> Terms`. `x` is a batch [B, ...] in the likelihood's support,
which a `VAE`'s methods check and an objective does not; `seed` an integer or a stateless pair; `step` the number of
updates made so far, for schedules (None: after every schedule has ended). An attribute `num_samples` gives the number
of samples of z for an image, where it is fixed. An objective that has variables is `Stateful`.

    vae.compile("adam", tfvae.objectives.beta_elbo(4.0, warmup_steps=1000))
"""

from tfvae.objectives.bounds import beta_elbo, elbo, iwae, weighted_elbo
from tfvae.objectives.disentangling import FactorElbo, capacity_elbo, dip_elbo, factor_elbo
from tfvae.objectives.estimators import dreg_iwae, score_function_elbo, stl_elbo, stl_iwae, wake_phase
from tfvae.objectives.terms import Adaptive, Draw, Objective, Stateful, Terms, draw, penalized
from tfvae.objectives.total_correlation import Parts, parts, tc_elbo

__all__ = [
    "Adaptive",
    "Draw",
    "FactorElbo",
    "Objective",
    "Parts",
    "Stateful",
    "Terms",
    "beta_elbo",
    "capacity_elbo",
    "dip_elbo",
    "draw",
    "dreg_iwae",
    "elbo",
    "factor_elbo",
    "iwae",
    "parts",
    "penalized",
    "score_function_elbo",
    "stl_elbo",
    "stl_iwae",
    "tc_elbo",
    "wake_phase",
    "weighted_elbo",
]


def __dir__():
    return __all__
