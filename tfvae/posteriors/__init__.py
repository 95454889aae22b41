"""Approximate posteriors q(z|x): a network, a linear layer, and a distribution. Hierarchies are in `hierarchical`.

Each function returns a Keras model that maps images [B, *event_shape] to a `tfd.Distribution` with batch shape [B]
and event shape [D]. Its `loc` and `scale` are in float32 whatever the network computes in.
"""

from tfvae.posteriors.flows import PushforwardLayer, coupling, iaf
from tfvae.posteriors.normal import MIN_SCALE, Posterior, diagonal_normal, full_normal, loc_scale

__all__ = [
    "MIN_SCALE",
    "Posterior",
    "PushforwardLayer",
    "coupling",
    "diagonal_normal",
    "full_normal",
    "iaf",
    "loc_scale",
]


def __dir__():
    return __all__
