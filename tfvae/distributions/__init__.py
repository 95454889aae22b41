"""Distributions that TFP lacks, and the invertible maps behind flows. Distributions of pixels are in `likelihoods`."""

from tfvae.distributions.flows import Coupling, Flow, InverseAutoregressive, stacked
from tfvae.distributions.pushforward import Pushforward
from tfvae.distributions.unmerged import Unmerged, decoded, unwrapped
from tfvae.distributions.vamp import Vamp

__all__ = [
    "Coupling",
    "Flow",
    "InverseAutoregressive",
    "Pushforward",
    "Unmerged",
    "Vamp",
    "decoded",
    "stacked",
    "unwrapped",
]


def __dir__():
    return __all__
