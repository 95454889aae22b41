"""The latents of a trained model: rate and distortion, active units, the aggregate posterior."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.diagnostics.evidence import measure
from tfvae.support.rules import FromTwo, Positive, checked

tfd = tfp.distributions

ACTIVE_THRESHOLD = 0.01


class RateDistortion(NamedTuple):
    """Rate and distortion of a model, means over examples in nats.

    Attributes:
        rate: KL(q(z|x) || p(z)), an upper bound on the mutual information of x and z.
        distortion: -E_q[log p(x|z)]; rate + distortion = -ELBO.
        rate_standard_error, distortion_standard_error: over the examples.
    """

    rate: float
    distortion: float
    rate_standard_error: float
    distortion_standard_error: float


@checked
def rate_distortion(vaes: dict, x: np.ndarray, num_samples: FromTwo = 100, seed: int = 0) -> dict[Any, RateDistortion]:
    """{name: `RateDistortion`} of each model, say of one recipe under several betas.

    Alemi et al. (2018, "Fixing a Broken ELBO", arXiv 1711.00464), eq. 4 and 5. `plots.rate_distortion` draws it.

    Args:
        vaes: {name: VAE}, with the same likelihood, so that distortions are comparable.
        x, num_samples, seed: as for `log_evidence`, with N at least 2; the same noise for all models.

    Raises:
        ValueError: as `log_evidence`; a single example; vaes that are not a dict.
    """
    if len(x) < 2:
        raise ValueError(f"x must hold at least 2 examples for an error over them, got {len(x)}")
    points = {}
    for name, vae in vaes.items():
        measured = measure(vae, x, num_samples, seed)
        terms = np.stack([measured.kl, -measured.log_likelihood])
        errors = terms.std(axis=1, ddof=1) / np.sqrt(terms.shape[1])
        points[name] = RateDistortion(*(float(value) for value in (*terms.mean(axis=1), *errors)))
    return points


@checked
def active_units(vae, x: np.ndarray, threshold: Positive = ACTIVE_THRESHOLD) -> np.ndarray:
    """Var_x(E_q[z|x]) > threshold: booleans [D].

    Burda et al. (2015, arXiv 1509.00519, section 5.2), with their threshold of 0.01.

        >>> model = tfvae.linear.LinearGaussian(np.eye(3, 2), np.zeros(3), 0.5)
        >>> tfvae.diagnostics.active_units(tfvae.VAE(model.posterior, model.likelihood, model.prior), np.eye(3))
        array([ True,  True])

    Raises:
        ValueError: fewer than 2 examples, a threshold that is not above 0, or bad x.
    """
    return posterior_mean_variances(vae, x) > threshold


def posterior_mean_variances(vae, x: np.ndarray) -> np.ndarray:
    """Var_x(E_q[z|x]): [D]."""
    x = vae.check_support(x)
    if len(x) < 2:
        raise ValueError(f"x must hold at least 2 examples for a variance over them, got {len(x)}")
    parts = [slice(first, first + 1024) for first in range(0, len(x), 1024)]
    return np.concatenate([vae.rows(part).encode(x[part]).mean().numpy() for part in parts]).var(axis=0)


@checked
def aggregate_posterior(vae, x: np.ndarray) -> tfd.Distribution:
    """q(z) = 1/N sum_n q(z|x_n), a mixture over [D].

    q(z) = p(z) where p(x) is the data's distribution and q(z|x) the exact posterior, but also under posterior collapse.
    """
    qz_x = vae.encode(x)
    return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(len(x), qz_x.dtype)), qz_x)
