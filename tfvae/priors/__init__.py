"""Priors p(z): each function returns a `tfd.Distribution` with empty batch shape and event shape [D]."""

from tfvae.priors.learned import flow, vamp
from tfvae.priors.simple import normal_mixture, standard_normal

__all__ = ["flow", "normal_mixture", "standard_normal", "vamp"]


def __dir__():
    return __all__
