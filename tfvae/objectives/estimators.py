"""Objectives whose value is a bound and whose gradient is an estimator chosen for the encoder.

The bound's own gradient mixes two ways in which q(z|x) reaches it: through the samples z, and through log q(z|x) as a
density. Here log q(z|x) reaches it through z alone, and the gradient in z is multiplied by what the objective names, so
that one pass back gives every network its own; a term of value 0 follows the score. Shapes: S samples, B batch,
D latent.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.objectives.bounds import log_mean_exp
from tfvae.objectives.terms import Draw, Terms, counted, grown
from tfvae.seeds import stateless_seed
from tfvae.support import checks
from tfvae.support.pieces import option, piece

tfd = tfp.distributions


@piece("objective")
def stl_elbo(num_samples=1):
    """E_q[log p(x, z) - log q(z|x)] with the gradient d/dz (log p(x, z) - log q(z|x)) dz/dphi: an objective.

    "Sticking the landing": log q(z|x)'s own parameters get none, as E_q[d/dphi log q(z|x)] = 0. Unbiased, and without
    variance where q(z|x) = p(z|x). Roeder et al. (2017, arXiv 1703.09194).

    Args:
        num_samples: S, at least 1.

    Raises:
        ValueError: num_samples below 1; at the call, a q(z|x) whose samples have no gradient.
    """
    return _along_paths(num_samples, _mean_bound, tf.ones_like)


def stl_iwae(num_samples):
    """`objectives.iwae` with the gradient sum_s w_s d/dz log w_s dz_s/dphi, w normalised: biased for S > 1.

    What `stl_elbo` leaves out has mean zero under equal weights alone. Here to be compared with `dreg_iwae`, which
    differs by a square (Tucker et al. 2018, arXiv 1810.04152).

    Args, Raises: as for `stl_elbo`.
    """
    return _along_paths(num_samples, log_mean_exp, tf.ones_like)


@piece(
    "objective",
    traits=("growing",),
    warmup_steps=option(0, "Updates over which the number of samples grows", least=0),
)
def dreg_iwae(num_samples, *, warmup_steps=0):
    """`objectives.iwae` with the gradient sum_s w_s^2 d/dz log w_s dz_s/dphi, w normalised: an objective.

    The doubly reparameterized gradient: unbiased for every S, and its signal-to-noise ratio does not fall with S, as
    the plain one's does. Tucker et al. (2018, arXiv 1810.04152). Only q(z|x)'s gradient differs.

    Args, Raises: as for `objectives.iwae`, and `stl_elbo`'s error at the call.
    """
    return _along_paths(num_samples, log_mean_exp, _weights, warmup_steps)


@piece("objective", least={"num_samples": 2})
def score_function_elbo(num_samples):
    """E_q[log p(x, z) - log q(z|x)] with the gradient (log w - baseline) d/dphi log q(z|x): an objective.

    It needs no gradient through z, so that latents may be discrete; each sample's baseline is the mean log w of the
    others, which leaves it unbiased. Williams (1992, "REINFORCE"); Mnih and Gregor (2014, arXiv 1402.0030); the
    baseline: Mnih and Rezende (2016, arXiv 1602.06725).

    Args:
        num_samples: S, at least 2.
    """

    def weights(log_w):
        others = (tf.reduce_sum(log_w, axis=0) - log_w) / (num_samples - 1)
        return tf.stop_gradient(log_w - others) / num_samples

    return _by_score(num_samples, _mean_bound, weights)


@piece("objective", least={"num_samples": 2})
def wake_phase(num_samples):
    """`objectives.iwae` with the gradient sum_s w_s d/dphi log q(z_s|x), w normalised: an objective.

    Reweighted wake-sleep's wake phase for both networks: p(x, z) climbs the bound, q(z|x) descends
    KL(p(z|x) || q(z|x)), estimated with a bias that vanishes as S grows. It needs no gradient through z. Bornschein
    and Bengio (2014, arXiv 1406.2751).

    Args:
        num_samples: S, at least 2: of one sample the weight is 1 whatever it is, and E_q[d/dphi log q(z|x)] = 0.
    """
    return _by_score(num_samples, log_mean_exp, _weights)


def _along_paths(num_samples, bound, factor, warmup_steps=0):
    """An objective in which q(z|x) gets the bound's gradient in z alone, multiplied by `factor(log_w)`, [S, B]."""
    checks.count("num_samples", num_samples)
    checks.count("warmup_steps", warmup_steps, 0)

    def objective(vae, x, *, seed, step=None):
        qz_x = vae.encode(x)
        if qz_x.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
            raise ValueError(f"q(z|x) must be reparameterized for a gradient along z, got {qz_x.name}")
        factors: list[tf.Tensor] = []  # known once log w is, which is before the way back

        @tf.custom_gradient
        def path(z):
            return tf.identity(z), lambda gradient: gradient * factors[0][..., tf.newaxis]

        z = path(qz_x.sample(grown(num_samples, step, warmup_steps), seed=stateless_seed(seed)))
        # A tensor of its own: what is known of z as a sample (a flow's noise) would lead past it to the parameters.
        fixed = tf.stop_gradient(z)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fixed)
            log_q = qz_x.log_prob(fixed)
        slope = tf.stop_gradient(tape.gradient(log_q, fixed))
        log_q = tf.stop_gradient(log_q) + tf.reduce_sum(slope * (z - fixed), axis=-1)
        drawn = Draw(qz_x, vae.prior, z, vae.decode(z).log_prob(x), log_qz_x=log_q, exact_kl=False)
        factors.append(factor(drawn.log_w))
        return Terms(bound(drawn.log_w), drawn.log_likelihood, drawn.kl)

    return counted(objective, None if warmup_steps else num_samples)


def _by_score(num_samples, bound, weights):
    """An objective in which q(z|x) gets the gradient sum_s weights(log_w)_s dlog q(z_s|x); `weights`: [S, B]."""
    checks.count("num_samples", num_samples, 2)

    def objective(vae, x, *, seed, step=None):
        qz_x = vae.encode(x)
        z = tf.stop_gradient(qz_x.sample(num_samples, seed=stateless_seed(seed)))
        log_q = qz_x.log_prob(z)
        log_px_z = vae.decode(z).log_prob(x)
        drawn = Draw(qz_x, vae.prior, z, log_px_z, log_qz_x=tf.stop_gradient(log_q), exact_kl=False)
        for_encoder = tf.reduce_sum(weights(drawn.log_w) * log_q, axis=0)
        value = bound(drawn.log_w) + (for_encoder - tf.stop_gradient(for_encoder))
        return Terms(value, drawn.log_likelihood, drawn.kl)

    return counted(objective, num_samples)


def _mean_bound(log_w):
    return tf.reduce_mean(log_w, axis=0)


def _weights(log_w):
    return tf.stop_gradient(tf.nn.softmax(log_w, axis=0))
