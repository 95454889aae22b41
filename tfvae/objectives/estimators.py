"""Objectives whose value is a bound and whose gradient is an estimator chosen for the encoder.

The bound depends on the encoder's parameters phi through the samples z and through the density log q(z|x). The first
three estimators drop the second path and multiply the gradient in z by a factor; the last two drop the first path and
add a term of value 0 whose gradient is the score's. One backward pass serves both networks. Shapes in comments:
S samples, B batch, D latent.
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfvae.objectives.bounds import log_mean_exp
from tfvae.objectives.terms import Draw, Terms, counted, grown
from tfvae.seeds import stateless_seed
from tfvae.support.pieces import option, piece
from tfvae.support.rules import FromTwo, checked


@piece("objective")
def stl_elbo(num_samples=1):
    """E_q[log p(x, z) - log q(z|x)] with the gradient d/dz (log p(x, z) - log q(z|x)) dz/dphi: an objective.

    "Sticking the landing": the gradient through log q(z|x)'s parameters is dropped, as E_q[d/dphi log q(z|x)] = 0.
    Unbiased, and without variance where q(z|x) = p(z|x). Roeder et al. (2017, arXiv 1703.09194). ValueError for
    num_samples below 1; at the call, for a q(z|x) whose samples have no gradient.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.stl_elbo()(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """
    return _along_paths(num_samples, _mean_bound, tf.ones_like)


@checked
def stl_iwae(num_samples):
    """`objectives.iwae` with the gradient sum_s w_s d/dz log w_s dz_s/dphi, w normalised: biased for S > 1.

    The gradient that `stl_elbo` drops has mean zero only under equal weights. For comparison with `dreg_iwae`, which
    squares w_s (Tucker et al. 2018, arXiv 1810.04152). Errors as for `stl_elbo`.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.stl_iwae(5)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """
    return _along_paths(num_samples, log_mean_exp, tf.ones_like)


@piece("objective", traits=("growing",), warmup_steps=option(0, "Updates over which samples grow", least=0))
def dreg_iwae(num_samples, *, warmup_steps=0):
    """`objectives.iwae` with the gradient sum_s w_s^2 d/dz log w_s dz_s/dphi, w normalised: an objective.

    The doubly reparameterized gradient: unbiased for every S, and its signal-to-noise ratio does not fall with S, while
    that of `iwae` does. Tucker et al. (2018, arXiv 1810.04152). Only q(z|x)'s gradient differs. Arguments as for
    `iwae`, errors as for `stl_elbo`.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.dreg_iwae(5)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """
    return _along_paths(num_samples, log_mean_exp, _weights, warmup_steps)


@piece("objective", least={"num_samples": 2})
def score_function_elbo(num_samples: FromTwo):
    """E_q[log p(x, z) - log q(z|x)] with the gradient (log w - baseline) d/dphi log q(z|x): an objective.

    No gradient through z is needed, so that latents may be discrete. The baseline of a sample is the mean log w of the
    other samples, which keeps the gradient unbiased; num_samples is at least 2. Williams (1992, "REINFORCE"); Mnih and
    Gregor (2014, arXiv 1402.0030); the baseline: Kool et al. (2019, "Buy 4 REINFORCE samples, get a baseline").

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.score_function_elbo(2)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """

    def weights(log_w):
        others = (tf.reduce_sum(log_w, axis=0) - log_w) / (num_samples - 1)
        return tf.stop_gradient(log_w - others) / num_samples

    return _by_score(num_samples, _mean_bound, weights)


@piece("objective", least={"num_samples": 2})
def wake_phase(num_samples: FromTwo):
    """`objectives.iwae` with the gradient sum_s w_s d/dphi log q(z_s|x), w normalised: an objective.

    Reweighted wake-sleep's wake phase for both networks: p(x, z) climbs the bound, q(z|x) descends
    KL(p(z|x) || q(z|x)), estimated with a bias that vanishes as S grows. No gradient through z is needed. Bornschein
    and Bengio (2014, arXiv 1406.2751). S is at least 2: a single sample's weight is 1, and E_q[d/dphi log q(z|x)] = 0.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.wake_phase(5)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """
    return _by_score(num_samples, log_mean_exp, _weights)


def _along_paths(num_samples, bound, factor, warmup_steps=0):
    """An objective in which q(z|x) gets the bound's gradient in z alone, multiplied by `factor(log_w)`, [S, B]."""

    def objective(vae, x, *, seed, step=None):
        qz_x = vae.encode(x)
        if qz_x.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
            raise ValueError(f"q(z|x) must be reparameterized for a gradient along z, got {qz_x.name}")
        factors: list[tf.Tensor] = []  # filled once log w is known, before the backward pass

        @tf.custom_gradient
        def path(z):
            return tf.identity(z), lambda gradient: gradient * factors[0][..., tf.newaxis]

        z = path(qz_x.sample(grown(num_samples, step, warmup_steps), seed=stateless_seed(seed)))
        # A separate tensor, so that the slope is log q's gradient in z alone, not through the noise a flow cached.
        fixed = tf.stop_gradient(z)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fixed)
            log_q = qz_x.log_prob(fixed)
        slope = tf.stop_gradient(tape.gradient(log_q, fixed))
        log_q = tf.stop_gradient(log_q) + tf.reduce_sum(slope * (z - fixed), axis=-1)
        drawn = Draw(qz_x, vae.prior, z, vae.decode(z).log_prob(x), log_qz_x=log_q, exact_kl=False)
        factors.append(factor(drawn.log_w))
        return Terms(bound(drawn.log_w), drawn.log_likelihood, drawn.kl)

    return counted(objective, num_samples, warmup_steps)


def _by_score(num_samples, bound, weights):
    """An objective in which q(z|x) gets the gradient sum_s weights(log_w)_s dlog q(z_s|x); `weights`: [S, B]."""

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
