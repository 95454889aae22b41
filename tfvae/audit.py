"""What a loss really weighs: `audit_loss` finds unstated betas, KLs counted twice, sums beside means, by measuring.

    loss(x) = constant + log_likelihood_weight * -E_q[log p(x|z)] + kl_weight * KL(q(z|x) || p(z))

A loss is called as it is, under many small changes of the weights of its encoder and decoder, which move both terms;
the terms are measured aside, and the loss is regressed on them. What is read off the fit: both weights with their
errors; which likelihood and which reading of the encoder's scale explain the loss; and, from two batch sizes, what is
summed over the batch. Shapes: N points of the fit, S samples, B batch, D latent.
"""

import contextlib
import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.audit_words import OWN, LossAudit, describe
from tfvae.seeds import fold_in
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


class Candidate(NamedTuple):
    """One explanation of the loss, fitted at the whole batch and at half of it: a [2] array each."""

    likelihood: str
    sampler_std: str
    kl_std: str
    weights: np.ndarray  # [2, 2]: batch size, (log-likelihood, KL)
    errors: np.ndarray  # [2, 2]; NaN where the data cannot tell
    misfit: float  # weighted squares of the residuals
    degrees: int
    unexplained: float  # share of the loss's variance


def audit_loss(
    loss, encoder, decoder, x, *, prior=None, beta=1.0, variables=None, num_points=24, num_seeds=32, seed=0
) -> LossAudit:
    """How a loss weighs log-likelihood and KL, measured: a `LossAudit`, whose `findings` say it in words.

        print(audit_loss(lambda x, seed: my_loss(model, x), model.encoder, model.decoder, x_train[:64]))

    For any model: the loss is only called, never read. Its weights are moved meanwhile and put back.

    Args:
        loss: `loss(x, seed)`, to be minimised: a number, or one an example [B]. `seed` is an integer for its noise; a
            loss may ignore it and draw anew at each call.
        encoder: x -> `(mean, s)` or `(mean, s, z)`, where s says the standard deviation (a log variance, say; which,
            is found out), or a `tfd.Distribution` over [D].
        decoder: z [B, D] -> logits, probabilities or means in the shape of x, or a `tfd.Distribution`.
        x: a batch as the loss takes it, [B, ...] with B at least 4; as varied as the data.
        prior: p(z); N(0, I) if None.
        beta: what the KL is meant to be multiplied with.
        variables: what to move, where encoder and decoder are no Keras models or modules: a list of `tf.Variable`, or
            a pair of lists, (encoder's, decoder's), which separates the two terms better.
        num_points: sets of weights.
        num_seeds: calls of the loss at each.
        seed: of the weights and of the terms' noise.

    Raises:
        ValueError: too small a batch, no variables, outputs that are none of the above.
    """
    x = tf.convert_to_tensor(x)
    for argument, value, least in (("x", len(x), 4), ("num_points", num_points, 8), ("num_seeds", num_seeds, 2)):
        if value < least:
            raise ValueError(f"{argument} must be at least {least}{' examples' * (argument == 'x')}, got {value}")
    groups, kept = _variables(encoder, decoder, variables)
    terms = tf.function(lambda x, seed: _terms(encoder, decoder, prior, x, seed))
    whole, half = [], []
    with _restored(kept):
        start = [[v.numpy() for v in group] for group in groups]
        limit = 1e3 * (1 + abs(np.mean(loss(x, np.int32(0)))))
        for i in range(num_points):
            _move(groups, start, i, num_points, seed, lambda: abs(np.mean(loss(x, np.int32(0)))) < limit)
            whole.append(_observe(loss, terms, x, num_seeds, fold_in(seed, i)))
            if i % 2:
                half.append(_observe(loss, terms, x[: len(x) // 2], num_seeds, fold_in(seed, i)))
    encoded = encoder(x[:1])
    latent_size = (encoded[0] if isinstance(encoded, list | tuple) else encoded.mean()).shape[-1]
    return describe(_explanations(whole, half), tuple(x.shape), latent_size, beta, _facts(whole, x, encoded))


def _variables(encoder, decoder, variables):
    """The variables to move, the encoder's and the decoder's, and all that are to be kept."""
    if variables is None:
        groups = [list(getattr(piece, "trainable_variables", ())) for piece in (encoder, decoder)]
    else:
        variables = list(variables)
        groups = variables if variables and not hasattr(variables[0], "assign") else [variables, []]
    kept = {v.ref(): v for v in itertools.chain(*groups)}
    for piece in (encoder, decoder):
        kept |= {v.ref(): v for v in getattr(piece, "variables", ())}
    if not any(groups):
        raise ValueError("variables must be given where encoder and decoder have no trainable_variables, got none")
    return groups, list(kept.values())


@contextlib.contextmanager
def _restored(variables):
    before = [v.numpy() for v in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _move(groups, start, i, num_points, seed, small_enough):
    """Moves the encoder's weights, the decoder's, or both, in turn, ever further; less where the loss explodes."""
    rng = np.random.default_rng([seed, i])
    which = [(True, True), (True, False), (False, True)][i % 3] if all(groups) else (True, True)
    steps = [
        [move * rng.normal(size=v.shape) * _size(v) for v in values] for move, values in zip(which, start, strict=True)
    ]
    reach = 0.2 * 25 ** (i / (num_points - 1))
    for _ in range(8):
        for variable, value, step in zip(*(itertools.chain(*a) for a in (groups, start, steps)), strict=True):
            variable.assign(value + reach * step)
        if small_enough():
            return
        reach /= 2


def _size(value):
    """How large a weight is; biases start at 0, and are moved all the same."""
    size = np.sqrt(np.mean(np.square(value)))
    return size if value.ndim > 1 else max(size, 0.5)


def _observe(loss, terms, x, num_seeds, seed):
    """The loss, its variance, and the terms as numbers, at the present weights."""
    values = np.array([np.mean(loss(x, np.int32(i))) for i in range(num_seeds)], np.float64)
    log_px_z, kl, in_unit_interval = tf.nest.map_structure(lambda t: t.numpy().astype(np.float64), terms(x, seed))
    return {
        "loss": values.mean(),
        "variance": values.var(ddof=1) / num_seeds,
        "log_px_z": log_px_z,
        "kl": kl,
        "in_unit_interval": bool(in_unit_interval),
    }


def _terms(encoder, decoder, prior, x, seed, num_samples=32):
    """{likelihood: [readings, 2]}, mean and variance of log p(x|z); {reading: KL}; whether outputs lie in [0, 1]."""
    z, kls = _readings(encoder(x), prior, num_samples, seed)  # z: {reading: [S, B, D]}
    output = decoder(tf.concat([tf.reshape(a, [-1, a.shape[-1]]) for a in z.values()], axis=0))
    repeated = tf.tile(x, [len(z) * num_samples] + [1] * (len(x.shape) - 1))
    log_px_z = {}
    for likelihood, values in _likelihoods(output, repeated).items():
        values = tf.cast(tf.reshape(values, [len(z), num_samples, len(x)]), tf.float64)
        variance = tf.reduce_mean(tf.math.reduce_variance(values, axis=1), axis=1) / num_samples / len(x)
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
    noise = tf.random.stateless_normal([num_samples, *loc.shape], seed, dtype=loc.dtype)
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
    if np.prod(output.shape) != np.prod(x.shape):
        raise ValueError(f"decoder must give the shape of x, {list(x.shape)}, or a tfd.Distribution, got {output!r}")
    output = tf.cast(tf.reshape(output, x.shape), x.dtype)
    logits = {"cross-entropy of logits": -_summed(tf.nn.sigmoid_cross_entropy_with_logits(x, output))}
    return _errors(output, x, "") | logits | _errors(tf.sigmoid(output), x, " of sigmoid(output)", cross=False)


def _errors(mean, x, suffix, cross=True):
    mean = tf.cast(mean, x.dtype)
    found = {
        f"squared error{suffix}": -_summed((x - mean) ** 2) / 2,
        f"absolute error{suffix}": -_summed(tf.abs(x - mean)),
    }
    if cross:
        # Clipped as Keras does it; no number where the mean is no probability.
        p = tf.where((mean >= 0) & (mean <= 1), tf.clip_by_value(mean, 1e-7, 1 - 1e-7), np.nan)
        found["cross-entropy of probabilities"] = _summed(x * tf.math.log(p) + (1 - x) * tf.math.log(1 - p))
    return found


def _summed(values):
    return tf.reduce_sum(tf.reshape(values, [len(values), -1]), axis=1)


def _explanations(*observed):
    """Every `Candidate` whose terms are finite at enough points."""
    first = observed[0][0]
    found = []
    for likelihood, kl in itertools.product(first["log_px_z"], first["kl"]):
        for i, sampler in enumerate(_samplers(first)):
            fits = [_fit(_table(points, likelihood, i, kl)) for points in observed]
            if all(fits):
                weights, errors, misfits, degrees, unexplained = (np.array(a) for a in zip(*fits, strict=True))
                measured = (weights, errors, misfits.sum(), degrees.sum(), unexplained.max())
                found.append(Candidate(likelihood, sampler, kl, *measured))
    return found


def _samplers(point):
    """The readings of s in the sampler: those in the KL and, where s is a scale, none at all."""
    names = list(point["kl"])
    return names + ["0"] * (len(point["log_px_z"][next(iter(point["log_px_z"]))]) - len(names))


def _table(points, likelihood, i, kl):
    """[N, 5]: the loss, its variance, log p(x|z), its variance, the KL; points where one explodes are left out."""
    table = np.array([(p["loss"], p["variance"], *p["log_px_z"][likelihood][i], p["kl"][kl]) for p in points])
    return table[np.all(np.isfinite(table) & (np.abs(table) < 1e12), axis=1)]


def _fit(table):
    """Weights, errors, squares of residuals, degrees of freedom, unexplained share: weighted least squares."""
    if len(table) < 6:
        return None
    y, y_variance, log_px_z, log_px_z_variance, kls = table.T
    weight = 0.0
    for _ in range(4):  # the noise of the measured term counts by its weight, which is being found
        rounding = 1e-5 * (np.abs(y) + np.abs(weight * log_px_z)) + 1e-9
        precision = 1 / np.sqrt(y_variance + weight**2 * log_px_z_variance + rounding**2)
        columns = np.stack([np.ones_like(y), -log_px_z, kls], axis=1) * precision[:, np.newaxis]
        solution = np.linalg.lstsq(columns, y * precision, rcond=1e-12)[0]
        weight = solution[1]
    residual = y * precision - columns @ solution
    misfit, degrees = np.sum(residual**2), len(y) - 3
    constant = columns[:, 0] * (columns[:, 0] @ (y * precision)) / np.sum(columns[:, 0] ** 2)
    unexplained = misfit / max(np.sum((y * precision - constant) ** 2), 1e-30)
    spread = np.array([_own_share(columns, j) for j in (1, 2)])
    errors = np.sqrt(max(1.0, misfit / degrees)) / np.where(spread > 0, spread, np.nan)
    return solution[1:], errors, misfit, degrees, unexplained


def _own_share(columns, j):
    """The length of what a column has beyond the others; 0 where that is rounding: its weight cannot be told."""
    others = np.delete(columns, j, axis=1)
    left = columns[:, j] - others @ np.linalg.lstsq(others, columns[:, j], rcond=1e-12)[0]
    return np.linalg.norm(left) if np.linalg.norm(left) > 1e-5 * np.linalg.norm(columns[:, j]) else 0.0


def _facts(points, x, encoded):
    return {
        "seedless": all(p["variance"] == 0 for p in points),
        "outputs_in_unit_interval": all(p["in_unit_interval"] for p in points),
        "grey": bool(tf.reduce_any((x != 0) & (x != 1))),
        "tuple": isinstance(encoded, list | tuple),
        "distribution": OWN in points[0]["log_px_z"],
    }
