"""The candidate terms of a loss: log p(x|z) and KL under each reading of the encoder's and the decoder's outputs.

Shapes: S samples, B batch, D latent, R readings of s.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

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
    "sqrt(softplus(s))": lambda s: tf.sqrt(tf.nn.softplus(s)),
    "0.1 exp(s / 2)": lambda s: 0.1 * tf.exp(s / 2),
    "0.1 exp(s)": lambda s: 0.1 * tf.exp(s),
    "s / 2": lambda s: tf.abs(s) / 2,
}
_OF_SCALE = {"s": tf.identity, "s^2": tf.square, "sqrt(s)": tf.sqrt}


class Terms(NamedTuple):
    """Pairs [2] are a mean over the batch and the variance of that estimate."""

    log_px_z: dict[str, dict[str, tf.Tensor]]  # {likelihood: {reading of s in the sampler: [2]}}
    kl: dict[str, tf.Tensor]  # {reading of s in the KL: [2]}
    outputs: tuple  # the encoder's mean and s, [S or 1, B, D] each; () for a distribution
    in_unit_interval: tf.Tensor  # whether the decoder's outputs lie in [0, 1]


def terms(encoder: Callable, decoder: Callable, prior, training: tuple, more: dict, quiet: bool, x, seed) -> Terms:
    """The terms with encoder and decoder in or out of training mode; `more` readings of s beside the known ones.

    At a `quiet` point, where log p(x|z) does not depend on z, one reading in the sampler stands for all.

    In training mode each sample has its own pass: a batch's statistics, or a layer's noise, are those of one batch.
    """
    encode, decode = (in_mode(piece, mode) for piece, mode in zip((encoder, decoder), training, strict=True))
    num_samples = 32 if quiet or not training[1] else 8  # for each reading, so many passes of the decoder
    samplers, z, kls, outputs = _readings(encode, prior, x, seed, num_samples, training[0], more)
    if quiet:
        samplers, z = samplers[-1:], z[-1:]
    num = len(samplers) * num_samples
    z = tf.reshape(z, [num, len(x), -1])
    if training[1]:
        like = tf.nest.map_structure(tf.TensorSpec.from_tensor, _of_output(decode(z[0]), x))
        values, doubt, outside = tf.map_fn(lambda z: _of_output(decode(z), x), z, fn_output_signature=like)
    else:
        repeated = tf.tile(x, [num] + [1] * (len(x.shape) - 1))
        values, doubt, outside = _of_output(decode(tf.reshape(z, [-1, z.shape[-1]])), repeated)
    log_px_z = {}
    for likelihood, value in values.items():
        pairs = _estimate(tf.reshape(value, [-1, num_samples, len(x)]))
        if likelihood == PROBABILITIES:
            mean_doubt = tf.reduce_mean(tf.reshape(doubt, [len(samplers), -1]), axis=1)
            pairs += tf.stack([tf.zeros_like(mean_doubt), mean_doubt**2], axis=1)
        log_px_z[likelihood] = dict(zip(samplers, tf.unstack(pairs), strict=True))
    return Terms(log_px_z, kls, outputs, tf.logical_not(tf.reduce_any(outside)))


def _of_output(output, x):
    """{likelihood: [B]}, what clipping may take away [B], and whether any output lies outside [0, 1]."""
    values = {name: tf.cast(value, tf.float64) for name, value in _likelihoods(output, x).items()}
    # NaN compares False: a wrong reading, such as the root of a negative number, does not count as outside.
    outside = tf.constant(True) if _is_distribution(output) else tf.reduce_any((output < 0) | (output > 1))
    return values, tf.cast(_clipped_away(output, x), tf.float64), outside


def in_mode(piece: Callable, training: bool) -> Callable:
    """The piece, called with `training` if it takes that."""
    takes = "training" in inspect.signature(getattr(piece, "call", piece)).parameters
    return functools.partial(piece, training=training) if takes else piece


def modes(piece: Callable, example: tf.Tensor) -> list[bool]:
    """[False], or [False, True] if the piece gives something else in training mode."""
    apart, training = (tf.nest.flatten(_numbers(in_mode(piece, mode)(example))) for mode in (False, True))
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(apart, training, strict=True))
    return [False] if same else [False, True]


def _numbers(output):
    if output is None:  # of an encoder it has been refused before
        raise ValueError("decoder must give the shape of x, or a tfd.Distribution, got None")
    return output.sample(seed=[0, 0]) if _is_distribution(output) else output


def depends_on_latents(decoder: Callable, x: tf.Tensor, z: tf.Tensor) -> bool:
    """Whether two draws of z give images of different likelihoods."""
    values = _likelihoods(in_mode(decoder, False)(z[:2]), tf.repeat(x[:1], 2, axis=0))
    first, second = np.transpose([value.numpy() for value in values.values()])
    return not np.array_equal(first, second, equal_nan=True)


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
    """The mean of values [..., S, B] over S and B, and the variance of this mean over S: [..., 2], float64."""
    means = tf.reduce_mean(tf.cast(values, tf.float64), axis=-1)
    variance = tf.math.reduce_variance(means, axis=-1) / max(means.shape[-1] - 1, 1)
    return tf.stack([tf.reduce_mean(means, axis=-1), variance], axis=-1)


def _is_distribution(output):
    return isinstance(output, tfd.Distribution) or hasattr(output, "tensor_distribution")


def _readings(encode, prior, x, seed, num_samples, training, more):
    """The samplers' names [R], their z [R, S, B, D], {reading: the KL and its variance, [2]}, `Terms.outputs`."""
    encoded, outputs = encode(x), tuple[tf.Tensor, ...]()
    if isinstance(encoded, list | tuple):
        outputs = tuple(a[tf.newaxis] for a in encoded[:2])
        if training:
            dtypes = tuple(a.dtype for a in encoded[:2])
            outputs = tf.map_fn(lambda _: tuple(encode(x)[:2]), tf.range(num_samples), fn_output_signature=dtypes)
        (loc, raw), stds = outputs, _OF_OUTPUT | more
    else:
        qz_x = getattr(encoded, "tensor_distribution", encoded)
        base = qz_x.distribution if isinstance(qz_x, tfd.Independent) else qz_x
        if not isinstance(base, tfd.MultivariateNormalDiag | tfd.Normal):
            z = qz_x.sample(num_samples, seed=seed)
            return ["s"], z[tf.newaxis], {"s": _estimate(_kl(qz_x, known(prior, z), z))}, ()
        loc, raw, stds = qz_x.mean()[tf.newaxis], qz_x.stddev()[tf.newaxis], _OF_SCALE
    noise = tf.random.stateless_normal([num_samples, *loc.shape[1:]], seed, dtype=loc.dtype)
    q = tfd.MultivariateNormalDiag(loc, tf.stack([std(raw) for std in stds.values()]))  # batch [R, S or 1, B]
    z = loc + q.stddev() * noise
    kls = tf.unstack(_estimate(_kl(q, known(prior, loc), z)))
    z = tf.concat([z, (loc + 0 * noise)[tf.newaxis]], axis=0)
    return [*stds, "0"], z, dict(zip(stds, kls, strict=True)), outputs


def known(prior, z):
    """The prior, N(0, I) if None; normals as MultivariateNormalDiag, for which TFP has a closed-form KL."""
    if prior is None:
        return tfd.MultivariateNormalDiag(tf.zeros(z.shape[-1], z.dtype), tf.ones(z.shape[-1], z.dtype))
    if isinstance(prior, tfd.Independent) and isinstance(prior.distribution, tfd.Normal):
        return tfd.MultivariateNormalDiag(prior.mean(), prior.stddev())
    return prior


def _kl(qz_x, pz, z):
    """KL(q || p) in closed form [..., S or 1, B], or by draws z, [..., S, B]."""
    try:
        values = tfd.kl_divergence(qz_x, pz)
        return values[tf.newaxis] if values.shape.rank == 1 else values
    except NotImplementedError:
        return qz_x.log_prob(z) - pz.log_prob(z)


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
