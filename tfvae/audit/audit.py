"""The weights of a loss, measured: `audit_loss` finds unstated betas, doubled KLs, sums mixed with means.

    loss(x) = constant + log_likelihood_weight * -E_q[log p(x|z)] + kl_weight * KL(q(z|x) || p(z))

At many random perturbations of the encoder's and decoder's weights (`moves`), which change both terms, the terms are
measured (`terms`), in and out of training mode, and the loss is regressed on them (`fit`). `words` describes the
likelihood and the encoder's scale that explain the loss best, both weights, and, from two batch sizes, what is summed
over the batch.
"""

import contextlib
import functools
import itertools
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.audit.fit import CLEAN, badness, explanations, own_scale
from tfvae.audit.moves import Moves
from tfvae.audit.terms import depends_on_latents, known, latent_size, modes, terms
from tfvae.audit.words import OWN, LossAudit, describe
from tfvae.seeds import fold_in
from tfvae.support import checks
from tfvae.support.rules import AnySeed, checked

tfd = tfp.distributions


_Points = Annotated[int, functools.partial(checks.count, least=12, most=10_000)]


@checked
def audit_loss(
    loss,
    encoder,
    decoder,
    x,
    *,
    prior=None,
    beta=1.0,
    variables=None,
    num_points: _Points = 24,
    num_seeds=32,
    seed: AnySeed = 0,
) -> LossAudit:
    """Measures the weights of log-likelihood and KL in a loss; `findings` lists the mistakes.

    The loss is a black box, so that the model may be any. Its weights are perturbed, and restored at the end. Encoder
    and decoder are called with `training` if they take it, as the loss may. A loss that is no weighted sum of the two
    terms, to within noise, and a term that hardly changes with the weights, are "cannot tell".

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
    encoded = encoder(x[:1])
    num_latents = latent_size(encoded, prior)
    pieces = encoder, decoder
    groups = _variables(encoder, decoder, variables)
    moved = {id(v) for v in itertools.chain(*groups)}
    others = [v for piece in pieces for v in getattr(piece, "variables", ()) if id(v) not in moved]
    moves = Moves(groups, others, num_points, seed)
    with contextlib.ExitStack() as restored:
        restored.callback(moves.restore)
        values = loss(x, np.int32(0))
        if (shape := np.shape(values)) not in ((), (len(x),)):
            raise ValueError(f"loss must give a number, or one an example, [{len(x)}], got shape {list(shape)}")
        before = float(np.mean(values, dtype=np.float64))
        if not np.isfinite(before):
            raise ValueError(f"loss must be finite at the weights as they are, got {before}")
        dtype = encoded[0].dtype if isinstance(encoded, list | tuple) else encoded.dtype
        z = tf.random.stateless_normal([len(x), num_latents], [0, 0], dtype=dtype)
        moves.silence(lambda: depends_on_latents(decoder, x, z))
        whole, half = _losses(loss, moves, x, num_seeds, encoder, before)
        measure = functools.partial(_measure, pieces, prior, moves, seed, len(x), {})
        training, more = list(itertools.product(modes(encoder, x), modes(decoder, z))), dict[str, Any]()
        if quiet := {i: whole[i] for i in whole if moves.quiet(i)}:
            for mode in sorted(training, key=lambda mode: mode[0] != mode[1]):
                measure([mode], more, x, quiet)
                if _fits(list(quiet.values()), mode):
                    training = [mode]
                    break
            else:
                training, more = _own_scale(list(quiet.values()), prior, num_latents)
        measure(training, more, x, whole)
        measure(training, more, x[: len(x) // 2], half)
    candidates = explanations(list(whole.values()), list(half.values()))
    if not candidates:
        raise ValueError("loss must be finite at most weights near those given, got too few numbers")
    return describe(candidates, tuple(x.shape), num_latents, beta, _facts(list(whole.values()), x, encoded))


def _losses(loss, moves, x, num_seeds, encoder, before):
    """{i: the loss and its variance} at each perturbation, on the whole and on half the batch."""
    whole, half, start = {}, {}, _scales(encoder, x)
    for i in range(len(moves.reach)):
        for _ in range(8):
            moves.at(i)
            near = np.sqrt(np.mean((_scales(encoder, x) - start) ** 2)) < 2
            if near and abs(_value(loss, x)) < 1e3 * (1 + abs(before)):
                break
            moves.reach[i] /= 2
        whole[i] = _observe(loss, x, num_seeds)
        # Quiet points are enough where they are free of noise.
        if moves.quiet(i) or (i % 2 and not (moves.kernels and _noiseless(whole[0]))):
            half[i] = _observe(loss, x[: len(x) // 2], num_seeds)
    return whole, half


def _scales(encoder, x):
    """The numbers whose moves are kept moderate: the encoder's mean and s, or its distribution's."""
    encoded = encoder(x)
    if not isinstance(encoded, list | tuple):
        try:
            qz_x = getattr(encoded, "tensor_distribution", encoded)
            encoded = qz_x.mean(), tf.math.log(qz_x.stddev())
        except NotImplementedError:
            return np.zeros(1)
    return np.stack(encoded[:2])


def _measure(pieces, prior, moves, seed, size, compiled, training, more, x, points):
    """Adds the terms, in each of the modes, to the points {i: ...}; `compiled` keeps what is traced."""
    for mode, (i, point) in itertools.product(training, points.items()):
        if mode in point.setdefault("terms", {}) and not more:
            continue
        moves.at(i)
        # Half a batch is tiled to the whole one's shape, and not traced again, where a batch has no statistics.
        tiled = x if any(mode) else tf.concat([x] * (size // len(x)), axis=0)
        if (kept := (mode, *more)) not in compiled:
            compiled[kept] = tf.function(functools.partial(terms, *pieces, prior, mode, more))
        measured = compiled[kept](moves.quiet(i), tiled, fold_in(seed, i))
        point["terms"][mode] = tf.nest.map_structure(lambda t: t.numpy(), measured)


def _fits(quiet, mode):
    """Whether a known reading of s explains the quiet points in this mode."""
    return any(badness(c) < CLEAN for c in explanations(quiet) if c.training == mode)


def _own_scale(quiet, prior, num_latents):
    """[Mode], {name: reading} of the family that explains quiet points; else the mode that fits best, and {}."""
    pz = known(prior, tf.zeros([1, num_latents]))
    if isinstance(pz, tfd.MultivariateNormalDiag):
        mode, more = own_scale(quiet, (pz.mean().numpy(), pz.stddev().numpy()))
        if more:
            return [mode], more
    best = min(explanations(quiet), key=badness, default=None)
    return [best.training] if best else list(quiet[0]["terms"])[:1], {}


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


def _observe(loss, x, num_seeds):
    """The loss and its variance at the current weights, in float64; two calls where both give the same."""
    values = [_value(loss, x, i) for i in range(2)]
    if abs(values[0] - values[1]) > 1e-6 * abs(values[0]):
        values += [_value(loss, x, i) for i in range(2, num_seeds)]
    return {"loss": np.mean(values), "variance": np.var(values, ddof=1) / len(values)}


def _noiseless(point):
    return point["variance"] <= (1e-6 * point["loss"]) ** 2


def _value(loss, x, seed=0):
    return float(np.mean(loss(x, np.int32(seed)), dtype=np.float64))


def _facts(points, x, encoded):
    return {
        "seedless": all(map(_noiseless, points)),
        "outputs_in_unit_interval": all(t.in_unit_interval for p in points for t in p["terms"].values()),
        "grey": bool(tf.reduce_any((x != 0) & (x != 1))),
        "tuple": isinstance(encoded, list | tuple),
        "distribution": any(OWN in t.log_px_z for t in points[0]["terms"].values()),
    }
