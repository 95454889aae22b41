"""The candidate terms of a loss: log p(x|z) and KL under each reading of the encoder's and the decoder's outputs.

Shapes: S samples, B batch, D latent.
"""

import contextlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tfvae.audit.words import LOGITS, OWN, PROBABILITIES, SQUARED

tfd = tfp.distributions

# Candidates for z's standard deviation, given the encoder's second output s, or its distribution's scale s.
_OF_OUTPUT = {
    "exp(s / 2)": lambda s: tf.exp(s / 2),
    "exp(s)": tf.exp,
    "softplus(s)": tf.nn.softplus,
    "s": tf.abs,
    "sqrt(s)": tf.sqrt,
}
_OF_SCALE = {"s": tf.identity, "s^2": tf.square, "sqrt(s)": tf.sqrt}
_NUM_SAMPLES = 32


def terms(encoder: Callable, decoder: Callable, prior, x: tf.Tensor, seed: tf.Tensor) -> tuple:
    """{likelihood: {reading in the sampler: [2]}}, {reading in the KL: [2]}, whether outputs lie in [0, 1].

    Pairs are the batch mean of log p(x|z), or of the KL, and the variance of that estimate.
    """
    z, kls = _readings(encoder(x), prior, seed)  # z: {reading: [S, B, D]}
    output = decoder(tf.concat([tf.reshape(a, [-1, a.shape[-1]]) for a in z.values()], axis=0))
    repeated = tf.tile(x, [len(z) * _NUM_SAMPLES] + [1] * (len(x.shape) - 1))
    log_px_z = {}
    for likelihood, values in _likelihoods(output, repeated).items():
        mean, variance = _estimate(tf.reshape(values, [len(z), _NUM_SAMPLES, len(x)]))
        if likelihood == PROBABILITIES:
            doubt = tf.reshape(_clipped_away(output, repeated), [len(z), -1])
            variance += tf.cast(tf.reduce_mean(doubt, axis=1) ** 2, tf.float64)
        log_px_z[likelihood] = dict(zip(z, tf.unstack(tf.stack([mean, variance], axis=1)), strict=True))
    # NaN compares False: a wrong reading, such as the root of a negative number, does not count as outside.
    outside = _is_distribution(output) or tf.reduce_any((output < 0) | (output > 1))
    return log_px_z, kls, tf.logical_not(outside)


def latent_size(encoded, prior: tfd.Distribution | None) -> int:
    """D of the encoder's output; ValueError for unknown outputs and priors that are not over [D]."""
    if isinstance(encoded, list | tuple) and len(encoded) > 1:
        shape = encoded[0].shape[1:]
    elif _is_distribution(encoded):
        qz_x = getattr(encoded, "tensor_distribution", encoded)
        shape = qz_x.batch_shape[1:] if isinstance(qz_x, tfd.Normal) else qz_x.event_shape
    else:
        raise ValueError(f"encoder must give (mean, s), (mean, s, z) or a tfd.Distribution, got {encoded!r}")
    if len(shape) != 1:
        raise ValueError(f"encoder must give one vector of latents [D] an example, got shape {list(shape)}")
    of_latents = isinstance(prior, tfd.Distribution) and (prior.event_shape, prior.batch_shape) == (shape, [])
    if prior is not None and not of_latents:
        raise ValueError(f"prior must be a tfd.Distribution over {list(shape)}, without a batch shape, got {prior}")
    return shape[0]


def _estimate(values):
    """The mean of values [..., S, B] over S and B, and the Monte Carlo variance of this mean: [...] each, float64."""
    values = tf.cast(values, tf.float64)
    variance = tf.reduce_mean(tf.math.reduce_variance(values, axis=-2), axis=-1)
    return tf.reduce_mean(values, axis=[-2, -1]), variance / np.prod(values.shape[-2:])


def _is_distribution(output):
    return isinstance(output, tfd.Distribution) or hasattr(output, "tensor_distribution")


def _readings(encoded, prior, seed):
    """{reading: z [S, B, D]}, {reading: the KL and its variance, [2]}."""
    if isinstance(encoded, list | tuple):
        (loc, raw), stds = encoded[:2], _OF_OUTPUT
    else:
        qz_x = getattr(encoded, "tensor_distribution", encoded)
        base = qz_x.distribution if isinstance(qz_x, tfd.Independent) else qz_x
        if not isinstance(base, tfd.MultivariateNormalDiag | tfd.Normal):
            z = qz_x.sample(_NUM_SAMPLES, seed=seed)
            return {"s": z}, {"s": _kl(qz_x, _known(prior, z), z)}
        loc, raw, stds = qz_x.mean(), qz_x.stddev(), _OF_SCALE
    noise = tf.random.stateless_normal(tf.concat([[_NUM_SAMPLES], tf.shape(loc)], axis=0), seed, dtype=loc.dtype)
    qs = {name: tfd.MultivariateNormalDiag(loc, std(raw)) for name, std in stds.items()}
    samplers = {name: loc + q.stddev() * noise for name, q in qs.items()}
    kls = {name: _kl(q, _known(prior, loc), samplers[name]) for name, q in qs.items()}
    return samplers | {"0": loc + 0 * noise}, kls


def _known(prior, z):
    """The prior, N(0, I) if None; normals as MultivariateNormalDiag, for which TFP has a closed-form KL."""
    if prior is None:
        return tfd.MultivariateNormalDiag(tf.zeros(z.shape[-1], z.dtype), tf.ones(z.shape[-1], z.dtype))
    if isinstance(prior, tfd.Independent) and isinstance(prior.distribution, tfd.Normal):
        return tfd.MultivariateNormalDiag(prior.mean(), prior.stddev())
    return prior


def _kl(qz_x, pz, z):
    """The batch mean of KL(q || p) and its Monte Carlo variance, 0 where TFP has a closed form: [2]."""
    try:
        kl = tf.cast(tf.reduce_mean(tfd.kl_divergence(qz_x, pz)), tf.float64)
        return tf.stack([kl, tf.zeros_like(kl)])
    except NotImplementedError:
        return tf.stack(_estimate(qz_x.log_prob(z) - pz.log_prob(z)))


def _likelihoods(output, x):
    """{name: log p(x|z) up to a constant, [B]} for each reading of the decoder's output."""
    if _is_distribution(output):
        found = {OWN: _summed(output.log_prob(tf.cast(x, output.dtype) if output.dtype.is_floating else x))}
        with contextlib.suppress(NotImplementedError):
            found |= _errors(output.mean(), x) | _cross_entropy(output.mean(), x)
        return found
    if np.prod(output.shape[1:]) != np.prod(x.shape[1:]):
        raise ValueError(f"decoder must give the shape of x, {list(x.shape)}, or a tfd.Distribution, got {output!r}")
    output = tf.cast(tf.reshape(output, tf.shape(x)), x.dtype)
    logits = {LOGITS: -_summed(tf.nn.sigmoid_cross_entropy_with_logits(x, output))}
    of_sigmoid = _errors(tf.sigmoid(output), x, " of sigmoid(output)")
    return _errors(output, x) | _cross_entropy(output, x) | logits | of_sigmoid


def _errors(mean, x, suffix=""):
    mean = tf.cast(mean, x.dtype)
    return {f"{SQUARED}{suffix}": -_summed((x - mean) ** 2) / 2, f"absolute error{suffix}": -_summed(tf.abs(x - mean))}


def _cross_entropy(mean, x):
    """Clipped as in Keras; NaN where the mean is not a probability."""
    mean = tf.cast(mean, x.dtype)
    valid = (mean >= 0) & (mean <= 1)
    return {PROBABILITIES: -_summed(tf.where(valid, tfk.backend.binary_crossentropy(x, mean), np.nan))}


def _clipped_away(output, x):
    """The share of the cross-entropy beyond p = 1e-5, [B]: uncertain, as codes clip at different values."""
    p = tf.cast(tf.reshape(output.mean() if _is_distribution(output) else output, tf.shape(x)), x.dtype)
    clipped = tf.clip_by_value(p, 1e-5, 1 - 1e-5)
    return _summed(tfk.backend.binary_crossentropy(x, p) - tfk.backend.binary_crossentropy(x, clipped))


def _summed(values):
    return tf.reduce_sum(tf.reshape(values, [len(values), -1]), axis=1)
