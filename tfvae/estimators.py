"""Objectives whose value is a bound and whose gradient is an estimator chosen for the encoder.

The bound's own gradient mixes two ways in which q(z|x) reaches it: through the samples z, and through log q(z|x) as a
density. Here z is held fixed and log q(z|x) too, so that the bound's gradient is that of p(x|z) and p(z) alone; a
second term, of value 0, gives q(z|x) the gradient that its objective names. Shapes: S samples, B batch, D latent.
"""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.seeds import stateless_seed
from tfvae.terms import Terms, check_at_least

tfd = tfp.distributions


def stl_elbo(num_samples=1):
    """E_q[log p(x, z) - log q(z|x)] with the gradient d/dz (log p(x, z) - log q(z|x)) dz/dphi: an objective.

    "Sticking the landing": log q(z|x)'s own parameters get none, as E_q[d/dphi log q(z|x)] = 0. Unbiased, and without
    variance where q(z|x) = p(z|x). Roeder et al. (2017, arXiv 1703.09194).

    Args:
        num_samples: S, at least 1.

    Raises:
        ValueError: num_samples below 1; at the call, a q(z|x) whose samples have no gradient.
    """
    return _objective(
        num_samples, _mean_bound, lambda drawn: _along_paths(drawn, tf.ones_like(drawn.log_w) / num_samples)
    )


def stl_iwae(num_samples):
    """`objectives.iwae` with the gradient sum_s w_s d/dz log w_s dz_s/dphi, w normalised: biased for S > 1.

    What `stl_elbo` leaves out has mean zero under equal weights alone. Here to be compared with `dreg_iwae`, which
    differs by a square (Tucker et al. 2018, arXiv 1810.04152).

    Args, Raises: as for `stl_elbo`.
    """
    return _objective(num_samples, _importance_bound, lambda drawn: _along_paths(drawn, _weights(drawn)))


def dreg_iwae(num_samples):
    """`objectives.iwae` with the gradient sum_s w_s^2 d/dz log w_s dz_s/dphi, w normalised: an objective.

    The doubly reparameterized gradient: unbiased for every S, and its signal-to-noise ratio does not fall with S, as
    the plain one's does. Tucker et al. (2018, arXiv 1810.04152). Only q(z|x)'s gradient differs.

    Args, Raises: as for `stl_elbo`.
    """
    return _objective(num_samples, _importance_bound, lambda drawn: _along_paths(drawn, _weights(drawn) ** 2))


def score_function_elbo(num_samples):
    """E_q[log p(x, z) - log q(z|x)] with the gradient (log w - baseline) d/dphi log q(z|x): an objective.

    It needs no gradient through z, so that latents may be discrete; each sample's baseline is the mean log w of the
    others, which leaves it unbiased. Williams (1992, "REINFORCE"); Mnih and Gregor (2014, arXiv 1402.0030); the
    baseline: Mnih and Rezende (2016, arXiv 1602.06725).

    Args:
        num_samples: S, at least 2.
    """
    check_at_least("num_samples", num_samples, 2)

    def surrogate(drawn):
        log_w = tf.stop_gradient(drawn.log_w)
        others = (tf.reduce_sum(log_w, axis=0) - log_w) / (num_samples - 1)
        return _by_score(drawn, (log_w - others) / num_samples)

    return _objective(num_samples, _mean_bound, surrogate)


def wake_phase(num_samples):
    """`objectives.iwae` with the gradient sum_s w_s d/dphi log q(z_s|x), w normalised: an objective.

    Reweighted wake-sleep's wake phase for both networks: p(x, z) climbs the bound, q(z|x) descends
    KL(p(z|x) || q(z|x)), estimated with a bias that vanishes as S grows. It needs no gradient through z. Bornschein
    and Bengio (2014, arXiv 1406.2751).

    Args:
        num_samples: S, at least 1.
    """
    return _objective(num_samples, _importance_bound, lambda drawn: _by_score(drawn, _weights(drawn)))


class _Drawn(NamedTuple):
    """S samples of q(z|x), and what the densities are there.

    Attributes:
        qz_x: q(z|x).
        z: the samples, with their gradient, [S, B, D].
        log_px_z: [S, B].
        log_q: log q(z|x), z held fixed, [S, B].
        kl: log q(z|x) - log p(z), z and q held fixed, [S, B].
        log_w: log p(x|z) - kl: its gradient is that of p(x|z) and p(z), [S, B].
        slope: d/dz (log p(x, z) - log q(z|x)), [S, B, D].
    """

    qz_x: tfd.Distribution
    z: tf.Tensor
    log_px_z: tf.Tensor
    log_q: tf.Tensor
    kl: tf.Tensor
    log_w: tf.Tensor
    slope: tf.Tensor


def _objective(num_samples, bound, surrogate):
    check_at_least("num_samples", num_samples, 1)

    def objective(vae, x, *, seed, step=None):
        drawn = _draw(vae, x, seed, num_samples)
        for_encoder = surrogate(drawn)
        value = bound(drawn.log_w) + (for_encoder - tf.stop_gradient(for_encoder))
        return Terms(value, tf.reduce_mean(drawn.log_px_z, axis=0), tf.reduce_mean(drawn.kl, axis=0))

    objective.num_samples = num_samples
    return objective


def _draw(vae, x, seed, num_samples):
    qz_x = vae.encode(x)
    z = qz_x.sample(num_samples, seed=stateless_seed(seed))
    # A tensor of its own: what is known of z as a sample (a flow's noise) would lead past it to the parameters.
    fixed = tf.stop_gradient(z)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(fixed)
        log_px_z = vae.decode(fixed).log_prob(x)
        log_pz, log_q = vae.prior.log_prob(fixed), qz_x.log_prob(fixed)
        difference = log_px_z + log_pz - log_q
    slope = tf.stop_gradient(tape.gradient(difference, fixed, unconnected_gradients=tf.UnconnectedGradients.ZERO))
    kl = tf.stop_gradient(log_q) - log_pz
    return _Drawn(qz_x, z, log_px_z, log_q, kl, log_px_z - kl, slope)


def _mean_bound(log_w):
    return tf.reduce_mean(log_w, axis=0)


def _importance_bound(log_w):
    return tfp.math.reduce_logmeanexp(log_w, axis=0)


def _weights(drawn):
    return tf.stop_gradient(tf.nn.softmax(drawn.log_w, axis=0))


def _along_paths(drawn, weights):
    """A term [B] with the gradient sum_s weights_s slope_s dz_s."""
    if drawn.qz_x.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        raise ValueError(f"q(z|x) must be reparameterized for a gradient along z, got {drawn.qz_x.name}")
    return tf.reduce_sum(weights * tf.reduce_sum(drawn.slope * drawn.z, axis=-1), axis=0)


def _by_score(drawn, weights):
    """A term [B] with the gradient sum_s weights_s dlog q(z_s|x)."""
    return tf.reduce_sum(weights * drawn.log_q, axis=0)
