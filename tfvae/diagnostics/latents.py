"""What the latents of a trained model do: which are active, what they cost, where they lie together."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.diagnostics.evidence import measure
from tfvae.support import checks

tfd = tfp.distributions

ACTIVE_THRESHOLD = 0.01


class RateDistortion(NamedTuple):
    """A model's place in the plane of rate and distortion, means over examples in nats, each with its standard error.

    Attributes:
        rate: KL(q(z|x) || p(z)), what z tells of x at most.
        distortion: -E_q[log p(x|z)]; rate + distortion = -ELBO.
        rate_standard_error, distortion_standard_error: over the examples.
    """

    rate: float
    distortion: float
    rate_standard_error: float
    distortion_standard_error: float


def rate_distortion(vaes, x, num_samples=100, seed=0):
    """{name: `RateDistortion`} of each model, say of one recipe under several betas.

    Alemi et al. (2018, "Fixing a Broken ELBO", arXiv 1711.00464), eq. 4 and 5. `plots.rate_distortion` draws it.

    Args:
        vaes: {name: VAE}, of the same x and likelihood, so that distortions compare.
        x, num_samples, seed: as for `log_evidence`; the same noise for all. N is at least 2.

    Raises:
        ValueError: `log_evidence`'s, a single example, or no dict.
    """
    if not isinstance(vaes, dict):
        raise ValueError(f"vaes must be a dict, {{name: VAE}}, got {type(vaes).__name__}")
    if len(x) < 2:
        raise ValueError(f"x must hold at least 2 examples for an error over them, got {len(x)}")
    points = {}
    for name, vae in vaes.items():
        measured = measure(vae, x, num_samples, seed)
        terms = np.stack([measured.kl, -measured.log_likelihood])
        errors = terms.std(axis=1, ddof=1) / np.sqrt(terms.shape[1])
        points[name] = RateDistortion(*(float(value) for value in (*terms.mean(axis=1), *errors)))
    return points


def active_units(vae, x, threshold=ACTIVE_THRESHOLD):
    """Which latents are active: booleans [D], True where Var_x(E_q[z|x]) exceeds the threshold.

    Burda et al. (2015, arXiv 1509.00519, section 5.2), with their threshold of 0.01.

    Raises:
        ValueError: fewer than 2 examples, a threshold that is not above 0, or bad x.
    """
    checks.above_zero("threshold", threshold)
    return posterior_mean_variances(vae, x) > threshold


def posterior_mean_variances(vae, x, batch_size=1024):
    x = vae.check_support(x)
    if len(x) < 2:
        raise ValueError(f"x must hold at least 2 examples for a variance over them, got {len(x)}")
    parts = [slice(first, first + batch_size) for first in range(0, len(x), batch_size)]
    return np.concatenate([vae.rows(part).encode(x[part]).mean().numpy() for part in parts]).var(axis=0)


def aggregate_posterior(vae, x):
    """q(z) = 1/N sum_n q(z|x_n), a mixture with one component an example: a `tfd.Distribution` over [D].

    Where p(x) is the data's distribution and q(z|x) the exact posterior, q(z) = p(z); a collapsed model has that too.
    """
    qz_x = vae.encode(x)
    return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(len(x), qz_x.dtype)), qz_x)
