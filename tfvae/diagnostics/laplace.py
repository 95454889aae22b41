"""log p(x) by importance sampling from a mixture that is fitted to p(z|x) of each x: Student's t at its modes.

    r(z) = sum_k w_k t(z; m_k, A_k^-1),   log p(x) = log E_r[p(x, z) / r(z)]

m_k is a mode of log p(x, z), found by ascent, A_k minus the Hessian there, and w_k in proportion to Laplace's evidence
p(x, m_k) |A_k|^(-1/2) (Kuk 1999, "Laplace importance sampling"; Geweke 1989, section 3, for the tails of t). One more
component has the moments of q(z|x), for what lies far from the modes. Where the encoder misses a mode or fits it badly,
r does not. Shapes: K starts, M components, S samples, B batch, D latent.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.diagnostics.ascent import ascend
from tfvae.diagnostics.blocks import blocks, compiled, counts_of
from tfvae.diagnostics.importance import Evidence, evidence_of
from tfvae.seeds import fold_in
from tfvae.support.rules import FromTwo, checked

tfd = tfp.distributions

DEGREES = 8.0  # of freedom: lighter tails miss wider parts of p(z|x), heavier ones waste draws where D is large
_MAX_MODES = 8
_TRIED = 16
_OF_MOMENTS = 100  # draws of q(z|x) for its moments, which a flow has in no other way
_SHARE_OF_Q = 0.1
_FITTING, _WEIGHING = 0, 1


@checked
def laplace_log_evidence(
    vae,
    x: np.ndarray,
    num_samples: FromTwo = 2000,
    *,
    num_starts: FromTwo = 16,
    num_steps: int = 100,
    seed: int = 0,
    progress: bool = False,
) -> Evidence:
    """Importance-sampled log p(x) of each example, from a mixture of Student's t at the modes of p(z|x).

    Its draws fit each image where those of q(z|x) fit the images on average, so that fewer of them give a smaller
    error, and `Evidence` says by its diagnostics where they do not fit.

    Args:
        x: [N, *event_shape], in the likelihood's support.
        num_samples: S, at least 2.
        num_starts: K, at least 2: half of the ascents start at draws of q(z|x), half at draws of p(z).
        num_steps: of each ascent, by Adam with cosine decay.
        progress: shows a progress bar.

    Raises:
        ValueError: a number out of range, or bad x.

    >>> model = tfvae.linear.LinearGaussian(np.eye(3, 2), np.zeros(3), 0.5)
    >>> vae = tfvae.VAE(lambda x: model.posterior(x + 1), model.likelihood, model.prior)  # q(z|x) is far off
    >>> found = tfvae.diagnostics.laplace_log_evidence(vae, np.eye(3), 1000)
    >>> bool(np.all(abs(found.value - model.evidence.log_prob(np.eye(3))) < 4 * found.standard_error))
    True
    """
    x = vae.check_support(x)
    fit, weigh = compiled(vae, _fit), compiled(vae, _log_weights)
    size, latents = int(np.prod(vae.event_shape)), vae.latent_size
    each = max(size, _MAX_MODES * latents)  # floats for each draw
    counts = counts_of(num_samples, each)
    found: Any = []
    for first, part, block in blocks(vae, x, num_starts * max(size, latents**2), "log p(x)", progress):
        ends = fit(part, block, fold_in(seed, first, _FITTING), num_starts=num_starts, num_steps=num_steps)
        mixture = _mixture(*(np.asarray(a) for a in ends))
        for row, one, images in blocks(part, block, counts[0] * each, "", progress=False):
            fitted = [tf.constant(a[row : row + len(images)]) for a in mixture]
            seeds = [fold_in(seed, first + row, _WEIGHING, i) for i in range(len(counts))]
            log_w = [weigh(one, images, tf.constant(n), s, *fitted) for n, s in zip(counts, seeds, strict=True)]
            found.append(evidence_of(np.concatenate(log_w)))
    return Evidence(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _fit(vae, x, seed, *, num_starts, num_steps):
    """For `_mixture`: the ends of the ascents [K, B, D], F [K, B, D, D] with F F^T = A^-1 there, Laplace's log p(x)
    [K, B], and mean and deviation of q(z|x) [B, D]."""
    from_prior = num_starts // 2
    qz_x = vae.encode(x)
    loc, variance = tf.nn.moments(qz_x.sample(_OF_MOMENTS, seed=fold_in(seed, 2)), axes=[0])

    def log_joint(z):
        return vae.decode(z).log_prob(x) + vae.prior.log_prob(z)

    draws = vae.prior.sample([from_prior * _TRIED, len(x)], seed=fold_in(seed, 1))
    best = tf.argmax(tf.reshape(log_joint(draws), [from_prior, _TRIED, len(x)]), axis=1)  # [K/2, B]
    draws = tf.transpose(tf.reshape(draws, [from_prior, _TRIED, len(x), -1]), [0, 2, 1, 3])
    draws = tf.gather(draws, best, batch_dims=2)
    z = tf.concat([qz_x.sample(num_starts - from_prior, seed=fold_in(seed, 0)), draws], axis=0)
    scale = tf.math.reduce_std(z, axis=0)

    def gradients_of(params, _):
        return [tfp.math.value_and_gradient(log_joint, tf.identity(params[0]))[1]]

    [z] = ascend(gradients_of, [z], num_steps, [0.1 * scale])
    z = tf.identity(z)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(z)
        value, gradient = tfp.math.value_and_gradient(log_joint, z)

    def row(i):
        with outer:  # to see the loop take `gradient` in, but not the loop, whose own derivatives would be traced
            entry = gradient[..., i]
        return outer.gradient(entry, z)

    # In a loop: traced once, it takes half the time of D gradients in one graph (50 latents, 50 images).
    rows = tf.map_fn(row, tf.range(z.shape[-1]), fn_output_signature=z.dtype)  # [D, K, B, D]
    hessian = tf.transpose(rows, [1, 2, 0, 3])
    values, vectors = tf.linalg.eigh(-(hessian + tf.linalg.matrix_transpose(hessian)) / 2)
    # An ascent may end on a saddle or a kink: no direction is taken as flatter than a tenth of the median curvature.
    values = tf.abs(values)
    values = tf.maximum(values, 0.1 * tf.sort(values, axis=-1)[..., values.shape[-1] // 2, tf.newaxis])
    laplace = value - tf.reduce_sum(tf.math.log(values), axis=-1) / 2
    # Where q is narrower than rounding, all its draws are one.
    deviation = tf.maximum(tf.sqrt(variance), 1e-6 * (1 + tf.abs(loc)))
    return z, vectors * tf.math.rsqrt(values)[..., tf.newaxis, :], laplace, loc, deviation


def _mixture(modes, factors, laplace, loc, scale):
    """The distinct modes of each image, then q(z|x): m [B, M, D], F and its inverse [B, M, D, D], log w and log det F
    [B, M]."""
    order = np.argsort(-laplace, axis=0)
    modes, factors, laplace = (_rows(a, order) for a in (modes, factors, laplace))
    whiten = np.linalg.inv(factors)
    distinct = np.zeros(laplace.shape, bool)
    for k in range(len(modes)):
        # Two ends are one mode if they are within one standard deviation of each other, by the narrower of the two.
        apart = modes[k] - modes[:k]
        squares = [
            np.sum(np.einsum("...de,...e->...d", w, apart) ** 2, axis=-1) for w in (whiten[:k], whiten[k : k + 1])
        ]
        near = (np.maximum(*squares) < 1) & distinct[:k]
        distinct[k] = ~near.any(axis=0) & (distinct[:k].sum(axis=0) < _MAX_MODES)
    share = np.exp(laplace - laplace[0]) * distinct
    # A tenth is shared alike, as Laplace's evidence is wrong for modes that are not normal.
    share = 0.9 * share / share.sum(axis=0) + 0.1 * distinct / distinct.sum(axis=0)
    log_share = np.log(np.maximum((1 - _SHARE_OF_Q) * share, 1e-30)).astype(modes.dtype)
    log_det = np.linalg.slogdet(factors)[1]
    kept = np.argsort(~distinct, axis=0, kind="stable")[: distinct.sum(axis=0).max()]
    of_modes = (_rows(a, kept) for a in (modes, factors, whiten, log_share, log_det))
    axes = scale[..., np.newaxis] * np.eye(scale.shape[-1], dtype=scale.dtype)
    of_q = loc, axes, np.linalg.inv(axes), np.full_like(log_share[0], np.log(_SHARE_OF_Q)), np.log(scale).sum(axis=-1)
    return [np.moveaxis(np.concatenate([a, b[np.newaxis]]), 0, 1) for a, b in zip(of_modes, of_q, strict=True)]


def _rows(a, index):
    """a [K, B, ...] in the order of index [M, B]: [M, B, ...]."""
    return np.take_along_axis(a, index.reshape(*index.shape, *[1] * (a.ndim - 2)), axis=0)


def _log_weights(vae, x, num_samples, seed, modes, factors, whiten, log_share, log_det):
    """log p(x, z) - log r(z) of draws z ~ r: [S, B].

    TFP's `MultivariateStudentTLinearOperator` would copy each factor S times to solve with it.
    """
    size, dtype = modes.shape[-1], modes.dtype
    normal = tf.random.stateless_normal([num_samples, len(x), size], fold_in(seed, 0), dtype=dtype)
    squares = tfd.Chi2(tf.constant(DEGREES, dtype)).sample([num_samples, len(x)], seed=fold_in(seed, 1))
    noise = normal * tf.sqrt(DEGREES / squares)[..., tf.newaxis]
    of_each = modes + tf.einsum("bmde,sbe->sbmd", factors, noise)  # a draw of every component, [S, B, M, D]
    component = tfd.Categorical(logits=log_share).sample(num_samples, seed=fold_in(seed, 2))
    z = tf.gather(of_each, component, batch_dims=2)  # [S, B, D]
    apart = tf.einsum("bmde,sbme->sbmd", whiten, z[:, :, tf.newaxis] - modes)
    log_t = (
        math.lgamma((DEGREES + size) / 2) - math.lgamma(DEGREES / 2) - size / 2 * math.log(DEGREES * math.pi)
        - log_det - (DEGREES + size) / 2 * tf.math.log1p(tf.reduce_sum(apart**2, axis=-1) / DEGREES)
    )  # fmt: skip
    log_r = tf.reduce_logsumexp(log_share + log_t, axis=-1)
    return vae.decode(z).log_prob(x) + vae.prior.log_prob(z) - log_r
