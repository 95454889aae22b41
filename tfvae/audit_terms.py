"""What a loss may be made of, for `audit`: log p(x|z) and KL, under each reading of the encoder and the decoder.

Shapes: S samples, B batch, D latent.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tfvae.audit_words import LOGITS, OWN, PROBABILITIES, SQUARED
from tfvae.terms import kl_divergence

tfd = tfp.distributions

# What z's standard deviation may be, given the encoder's second output s, or the s of its distribution.
_OF_OUTPUT = {
    "exp(s / 2)": lambda s: tf.exp(s / 2),
    "exp(s)": tf.exp,
    "softplus(s)": tf.nn.softplus,
    "s": tf.abs,
    "sqrt(s)": tf.sqrt,
}
_OF_SCALE = {"s": tf.identity, "s^2": tf.square, "sqrt(s)": tf.sqrt}


def terms(encoder, decoder, prior, x, seed, num_samples=32):
    """{likelihood: [readings, 2]}, mean and variance of log p(x|z); {reading: KL}; whether outputs lie in [0, 1]."""
    z, kls = _readings(encoder(x), prior, num_samples, seed)  # z: {reading: [S, B, D]}
    output = decoder(tf.concat([tf.reshape(a, [-1, a.shape[-1]]) for a in z.values()], axis=0))
    repeated = tf.tile(x, [len(z) * num_samples] + [1] * (len(x.shape) - 1))
    log_px_z = {}
    for likelihood, values in _likelihoods(output, repeated).items():
        values = tf.cast(tf.reshape(values, [len(z), num_samples, len(x)]), tf.float64)
        variance = tf.reduce_mean(tf.math.reduce_variance(values, axis=1), axis=1) / num_samples / len(x)
        if likelihood == PROBABILITIES:
            doubt = tf.reshape(_clipped_away(output, repeated), [len(z), -1])
            variance += tf.cast(tf.reduce_mean(doubt, axis=1) ** 2, tf.float64)
        log_px_z[likelihood] = tf.stack([tf.reduce_mean(values, axis=[1, 2]), variance], axis=1)
    inside = not _is_distribution(output) and tf.reduce_all((output >= 0) & (output <= 1))
    return log_px_z, {name: tf.reduce_mean(kl) for name, kl in kls.items()}, tf.convert_to_tensor(inside)


def _is_distribution(output):
    return isinstance(output, tfd.Distribution) or hasattr(output, "tensor_distribution")


def _readings(encoded, prior, num_samples, seed):
    """{reading: z [S, B, D]}, {reading: KL [B]}."""
    if isinstance(encoded, list | tuple):
        (loc, raw), stds = encoded[:2], _OF_OUTPUT
    elif _is_distribution(encoded):
        qz_x = getattr(encoded, "tensor_distribution", encoded)
        if not _is_diagonal_normal(qz_x):
            z = qz_x.sample(num_samples, seed=seed)
            return {"s": z}, {"s": kl_divergence(qz_x, prior or _standard_normal(z), z)}
        loc, raw, stds = qz_x.mean(), qz_x.stddev(), _OF_SCALE
    else:
        raise ValueError(f"encoder must give (mean, s), (mean, s, z) or a tfd.Distribution, got {encoded!r}")
    noise = tf.random.stateless_normal(tf.concat([[num_samples], tf.shape(loc)], axis=0), seed, dtype=loc.dtype)
    qs = {name: tfd.MultivariateNormalDiag(loc, std(raw)) for name, std in stds.items()}
    samplers = {name: loc + q.stddev() * noise for name, q in qs.items()}
    pz = prior or _standard_normal(loc)
    kls = {name: kl_divergence(q, pz, samplers[name]) for name, q in qs.items()}
    return samplers | {"0": loc + 0 * noise}, kls


def _is_diagonal_normal(qz_x):
    base = qz_x.distribution if isinstance(qz_x, tfd.Independent) else qz_x
    return isinstance(base, tfd.MultivariateNormalDiag | tfd.Normal)


def _standard_normal(z):
    return tfd.MultivariateNormalDiag(tf.zeros(z.shape[-1], z.dtype), tf.ones(z.shape[-1], z.dtype))


def _likelihoods(output, x):
    """{name: log p(x|z) up to a constant, [B]} for all that a loss may make of the decoder's output."""
    if _is_distribution(output):
        own = {OWN: _summed(output.log_prob(x))}
        try:
            mean = output.mean()
        except NotImplementedError:
            return own
        return own | _errors(mean, x, "")
    if np.prod(output.shape[1:]) != np.prod(x.shape[1:]):
        raise ValueError(f"decoder must give the shape of x, {list(x.shape)}, or a tfd.Distribution, got {output!r}")
    output = tf.cast(tf.reshape(output, tf.shape(x)), x.dtype)
    logits = {LOGITS: -_summed(tf.nn.sigmoid_cross_entropy_with_logits(x, output))}
    return _errors(output, x, "") | logits | _errors(tf.sigmoid(output), x, " of sigmoid(output)", cross=False)


def _errors(mean, x, suffix, cross=True):
    mean = tf.cast(mean, x.dtype)
    found = {
        f"{SQUARED}{suffix}": -_summed((x - mean) ** 2) / 2,
        f"absolute error{suffix}": -_summed(tf.abs(x - mean)),
    }
    if cross:
        # Clipped as Keras clips; no number where the mean is no probability.
        by_pixel = tf.where((mean >= 0) & (mean <= 1), tfk.backend.binary_crossentropy(x, mean), np.nan)
        found[PROBABILITIES] = -_summed(by_pixel)
    return found


def _clipped_away(output, x):
    """How much of the cross-entropy lies beyond p = 1e-5, [B]: each code clips elsewhere, so that much is unsure."""
    p = tf.reshape(output.mean() if _is_distribution(output) else output, tf.shape(x))
    clipped = tf.clip_by_value(p, 1e-5, 1 - 1e-5)
    return _summed(tfk.backend.binary_crossentropy(x, p) - tfk.backend.binary_crossentropy(x, clipped))


def _summed(values):
    return tf.reduce_sum(tf.reshape(values, [len(values), -1]), axis=1)
