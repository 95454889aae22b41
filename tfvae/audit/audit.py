"""The weights of a loss, measured: `audit_loss` finds unstated betas, doubled KLs, sums mixed with means.

    loss(x) = constant + log_likelihood_weight * -E_q[log p(x|z)] + kl_weight * KL(q(z|x) || p(z))

At many random perturbations of the encoder's and decoder's weights, which change both terms, the terms are measured
(`terms`) and the loss is regressed on them (`fit`). `words` describes the likelihood and the encoder's scale that
explain the loss best, both weights, and, from two batch sizes, what is summed over the batch.
"""

import contextlib
import itertools

import numpy as np
import tensorflow as tf

from tfvae.audit.fit import explanations
from tfvae.audit.terms import latent_size, terms
from tfvae.audit.words import OWN, LossAudit, describe
from tfvae.seeds import fold_in
from tfvae.support import checks


def audit_loss(
    loss, encoder, decoder, x, *, prior=None, beta=1.0, variables=None, num_points=24, num_seeds=32, seed=0
) -> LossAudit:
    """Measures the weights of log-likelihood and KL in a loss; `findings` lists the mistakes.

    The loss is a black box, so that the model may be any. Its weights are perturbed, and restored at the end. A loss
    that is no weighted sum of the two terms, and a term that hardly changes with the weights, are "cannot tell".

    Args:
        loss: `loss(x, seed)`, to be minimised: a number, or [B]; it may ignore the integer `seed`, for its noise.
        encoder: x -> `(mean, s)` or `(mean, s, z)`, where s parameterizes the standard deviation in a way that the
            audit finds out, or a `tfd.Distribution` over [D].
        decoder: z [B, D] -> logits, probabilities or means in the shape of x, or a `tfd.Distribution`.
        x: a batch as the loss takes it, [B, ...] with B at least 4.
        prior: p(z), a `tfd.Distribution`; N(0, I) if None.
        beta: the intended weight of the KL.
        variables: the weights, where encoder and decoder are not Keras models or modules: a list of `tf.Variable`, or a
            pair of lists, (encoder's, decoder's), which separates the two terms better.
        num_points: perturbations, at least 12.
        num_seeds: calls of the loss at each perturbation, and at every second one again on half the batch.
        seed: for perturbations and the terms' noise.

    Raises:
        ValueError: too small a batch, no variables, a loss that is not finite, a prior that does not fit the latents,
            or other outputs of encoder and decoder.

    >>> w, x = tf.Variable(tf.eye(4, 2)), tf.eye(4)
    >>> encoder, decoder = lambda x: (x @ w, x @ w), lambda z: z @ tf.transpose(w)
    >>> loss = lambda x, seed: tf.reduce_sum((x - decoder(encoder(x)[0])) ** 2, axis=1)
    >>> found = tfvae.audit.audit_loss(loss, encoder, decoder, x, variables=[w], num_points=12, num_seeds=2)
    >>> found.right, found.findings[1]
    (False, 'the KL is missing: an autoencoder')
    """
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating or not x.shape.rank or len(x) < 4:
        raise ValueError(f"x must hold floats, [B, ...] with B at least 4, got {x.dtype.name} {list(x.shape)}")
    checks.number("beta", beta, 0)
    checks.count("num_points", num_points, 12)
    checks.count("num_seeds", num_seeds, 2)
    encoded = encoder(x[:1])
    num_latents = latent_size(encoded, prior)
    groups = _variables(encoder, decoder, variables)
    compiled = tf.function(lambda x, seed: terms(encoder, decoder, prior, x, seed))
    x_half, twice = x[: len(x) // 2], [2] + [1] * (len(x.shape) - 1)
    whole, half = [], []
    with contextlib.ExitStack() as restored:
        for v in itertools.chain(*groups, *(getattr(piece, "variables", ()) for piece in (encoder, decoder))):
            restored.callback(v.assign, v.numpy())
        start = [[(v, v.numpy()) for v in group] for group in groups]
        values = loss(x, np.int32(0))
        if (shape := np.shape(values)) not in ((), (len(x),)):
            raise ValueError(f"loss must give a number, or one an example, [{len(x)}], got shape {list(shape)}")
        before = float(np.mean(values, dtype=np.float64))
        if not np.isfinite(before):
            raise ValueError(f"loss must be finite at the weights as they are, got {before}")
        for i in range(num_points):
            _move(start, i, num_points, seed, lambda: abs(_value(loss, x)) < 1e3 * (1 + abs(before)))
            whole.append(_observe(loss, x, compiled(x, fold_in(seed, i)), num_seeds))
            if i % 2:
                # Tiled to the whole batch's shape, so that `compiled` is not retraced.
                half.append(_observe(loss, x_half, compiled(tf.tile(x_half, twice), fold_in(seed, i)), num_seeds))
    candidates = explanations(whole, half)
    if not candidates:
        raise ValueError("loss must be finite at most weights near those given, got too few numbers")
    return describe(candidates, tuple(x.shape), num_latents, beta, _facts(whole, x, encoded))


def _variables(encoder, decoder, variables):
    """The variables to perturb: [encoder's], [decoder's]."""
    if variables is None:
        groups = [list(getattr(piece, "trainable_variables", ())) for piece in (encoder, decoder)]
    else:
        variables = list(variables)
        groups = variables if len(variables) == 2 and not hasattr(variables[0], "assign") else [variables, []]
        if not all(hasattr(v, "assign") for v in itertools.chain(*groups)):
            raise ValueError("variables must be a list of tf.Variable, or a pair of such lists, got something else")
    if not any(groups):
        raise ValueError("variables must be given where encoder and decoder have no trainable_variables, got none")
    return groups


def _move(start, i, num_points, seed, small_enough):
    """Perturbs both networks, the encoder, the decoder, in turn, further with i; less if the loss diverges."""
    rng, reach = np.random.default_rng([seed % 2**64, i]), 0.2 * 10 ** (i / (num_points - 1))
    # Larger steps for the encoder, so that the KL exceeds the noise of the log-likelihood.
    sizes = [(2, 1), (2, 0), (0, 1)][i % 3] if all(start) else (2, 1)
    moved = [(v, value, size) for size, group in zip(sizes, start, strict=True) for v, value in group]
    steps = [size * rng.normal(size=value.shape) * _rms(value) for _, value, size in moved]
    for _ in range(8):
        for (variable, value, _), step in zip(moved, steps, strict=True):
            variable.assign(value + reach * step)
        if small_enough():
            return
        reach /= 2


def _rms(value):
    """The root mean square of a weight; at least 0.5 for biases, which start at 0."""
    size = np.sqrt(np.mean(np.square(value)))
    return size if value.ndim > 1 else max(size, 0.5)


def _observe(loss, x, measured, num_seeds):
    """The loss, its variance and the terms at the current weights, in float64."""
    values = np.array([_value(loss, x, i) for i in range(num_seeds)])
    log_px_z, kl, in_unit_interval = tf.nest.map_structure(lambda t: t.numpy().astype(np.float64), measured)
    return {
        "loss": values.mean(),
        "variance": values.var(ddof=1) / num_seeds,
        "log_px_z": log_px_z,
        "kl": kl,
        "in_unit_interval": bool(in_unit_interval),
    }


def _value(loss, x, seed=0):
    return float(np.mean(loss(x, np.int32(seed)), dtype=np.float64))


def _facts(points, x, encoded):
    return {
        "seedless": all(p["variance"] == 0 for p in points),
        "outputs_in_unit_interval": all(p["in_unit_interval"] for p in points),
        "grey": bool(tf.reduce_any((x != 0) & (x != 1))),
        "tuple": isinstance(encoded, list | tuple),
        "distribution": OWN in points[0]["log_px_z"],
    }
