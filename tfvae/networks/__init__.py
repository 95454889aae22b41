"""Plain Keras bodies: they know shapes, not probability.

A body maps a batch of inputs to features. The distribution on top (`posteriors`, `likelihoods`) adds the last linear
layer, so that a body with no hidden layer makes a linear encoder or decoder. `seed` fixes a body's initial weights.
"""

from tfvae.networks.adapters import first, labelled
from tfvae.networks.bodies import conv, mlp, transposed_conv

__all__ = ["conv", "first", "labelled", "mlp", "transposed_conv"]


def __dir__():
    return __all__
