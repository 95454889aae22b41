"""Likelihoods p(x|z): functions that build a decoder, and the distributions of pixels that TFP lacks.

Each function returns a Keras model that maps latents [..., D] (any leading axes) to a `tfd.Distribution` with batch
shape [...] and event shape `event_shape`; log_prob is in nats, summed over the event. `support` names the rule
that x obeys, `in_support(x)` checks it elementwise, and every likelihood has a mean.
"""

from tfvae.likelihoods.base import Likelihood
from tfvae.likelihoods.continuous import (
    OptimalNormal,
    continuous_bernoulli,
    laplace,
    normal,
    normal_optimal,
    normal_per_image,
    normal_per_pixel,
)
from tfvae.likelihoods.discrete import BinomialProportion, bernoulli, binomial
from tfvae.likelihoods.logistic import DiscretizedLogistic, discretized_logistic, logistic_mixture

__all__ = [
    "BinomialProportion",
    "DiscretizedLogistic",
    "Likelihood",
    "OptimalNormal",
    "bernoulli",
    "binomial",
    "continuous_bernoulli",
    "discretized_logistic",
    "laplace",
    "logistic_mixture",
    "normal",
    "normal_optimal",
    "normal_per_image",
    "normal_per_pixel",
]


def __dir__():
    return __all__
