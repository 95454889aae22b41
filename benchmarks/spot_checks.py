"""Distributions, flows, optimizers and scores against other people's code.

    python benchmarks/spot_checks.py            25 seconds; writes results/spot_checks.json

The other code, in `references/` where it takes more than a line, computes in float64 from the same numbers, rounded as
this package gets them. A check whose library is not installed is named and left out; `requirements.txt` has them all.
"""

import functools
import importlib.metadata
import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import numpy as np
import reports
import spot_scores
import tensorflow as tf
import tf_keras as tfk
from references.likelihoods import log_mass, log_mixture

from tfvae import diagnostics, distributions, likelihoods, networks, posteriors, priors, train
from tfvae.train import adam

if reports.installed("torch"):
    import torch

NUM, LEVELS = 3000, 255  # elements; the highest of their grey levels
rng = np.random.default_rng(0)


def anywhere(most, *shape):
    """Numbers of every size up to `most`, which is there with both signs, as is 0: float32."""
    values = (most * rng.uniform(-1, 1, shape or NUM) ** 3).astype(np.float32)
    values.flat[:3] = -most, 0, most
    return values


def wide(array):
    return torch.tensor(np.asarray(array, np.float64))


def softplus(array):
    return np.logaddexp(0, np.float64(array))


def log_prob(make, params, x):
    """log p(x|z) of images x [N, C] of one pixel, from what the likelihood's linear layer would give: [N, P]."""
    likelihood = make(networks.mlp((1,), [1]), x.shape[1:])
    if isinstance(likelihood, likelihoods.OptimalNormal):
        likelihood.scale.assign(0.125)
    return likelihood.distribution(tf.constant(params)).log_prob(tf.constant(x, tf.float32))


def torch_likelihoods():
    d, made, narrow = torch.distributions, likelihoods, wide(0.125)
    logits, grey, x, loc, raw = anywhere(100), anywhere(20), anywhere(100), anywhere(100), anywhere(30)
    binary, count = rng.integers(0, [2, LEVELS + 1], [NUM, 2]).T
    unit, floored = np.float32(rng.uniform(0, 1, NUM)), wide(softplus(raw) + 1e-2)
    cases = [
        (made.bernoulli, [logits], binary, d.Bernoulli(logits=wide(logits))),
        (made.continuous_bernoulli, [grey], unit, d.ContinuousBernoulli(logits=wide(grey))),
        (functools.partial(made.normal, scale=0.125), [loc], x, d.Normal(wide(loc), narrow)),
        (functools.partial(made.laplace, scale=0.125), [loc], x, d.Laplace(wide(loc), narrow)),
        (made.normal_optimal, [loc], x, d.Normal(wide(loc), narrow)),
        (made.normal_per_image, [loc, raw], x, d.Normal(wide(loc), floored)),
        (made.normal_per_pixel, [loc, raw], x, d.Normal(wide(loc), floored)),
    ]
    for make, params, value, px in cases:
        found = log_prob(make, np.stack(params, axis=-1), value[:, np.newaxis])
        yield f"`{getattr(make, 'func', make).__name__}`", found, px.log_prob(wide(value))
    expected = d.Binomial(LEVELS, logits=wide(logits)).log_prob(wide(count))
    for dtype in (np.float32, np.float64):
        found = made.BinomialProportion(LEVELS, dtype(logits)).log_prob(dtype(count / LEVELS))
        yield f"`BinomialProportion`, {LEVELS} trials", found, expected


def discretized_logistics():
    loc, raw, x = anywhere(2), anywhere(30), rng.integers(0, LEVELS + 1, [NUM, 3]) / LEVELS
    grey, scale = x[:, 0], softplus(raw) + 0.1 / LEVELS
    expected = log_mass(grey, loc, scale)
    found = log_prob(likelihoods.discretized_logistic, np.stack([loc, raw], axis=-1), grey[:, np.newaxis])
    yield "`discretized_logistic`", found, expected
    found = likelihoods.DiscretizedLogistic(LEVELS, np.float64(loc), scale).log_prob(grey)
    yield "`DiscretizedLogistic`", found, expected
    logits, params = anywhere(10, NUM, 5), anywhere(2, NUM, 5, 6)  # five components of three channels
    found = log_prob(likelihoods.logistic_mixture, np.hstack([logits, params.reshape(NUM, 30)]), x)
    yield "`logistic_mixture`", found, log_mixture(x, logits, params[..., :3], softplus(params[..., 3:]) + 0.1 / LEVELS)


def closed_form_kl():
    d, size, network = torch.distributions, 5, networks.mlp((1,), [1])
    pz, zeros = priors.standard_normal(size), wide(np.zeros([NUM, size]))
    params, full = anywhere(30, NUM, 2 * size), posteriors.full_normal(network, size)
    qz_x = distributions.unwrapped(posteriors.diagonal_normal(network, size).distribution(tf.constant(params)))
    other = d.Normal(wide(params[:, :size]), wide(softplus(params[:, size:]) + posteriors.MIN_SCALE))
    expected = d.kl_divergence(d.Independent(other, 1), d.Independent(d.Normal(zeros, torch.ones_like(zeros)), 1))
    yield "KL of `diagonal_normal`", qz_x.kl_divergence(pz), expected
    qz_x = distributions.unwrapped(full.distribution(tf.constant(anywhere(10, NUM, full.params.units))))
    other = d.MultivariateNormal(wide(qz_x.mean()), scale_tril=wide(qz_x.scale_tril))
    expected = d.kl_divergence(other, d.MultivariateNormal(zeros, wide(np.eye(size))))
    yield "KL of `full_normal`", qz_x.kl_divergence(pz), expected


def flows():
    from references.flows import composed, log_det

    kinds, num, size = {"iaf": distributions.InverseAutoregressive, "coupling": distributions.Coupling}, 200, 6
    for (name, kind), dtype in itertools.product(kinds.items(), ("float32", "float64")):
        tfk.backend.set_floatx(dtype)
        flow = distributions.stacked(kind, size, 4, 3, [24, 16], "tanh", 0, posteriors.loc_scale)
        for v in flow.trainable_variables:  # the masked entries, which are 0, stay 0
            v.assign(rng.normal(0, 0.3, v.shape) * ((v.numpy() != 0) | (v.shape.rank == 1)))
        context, z, eps = (rng.normal(size=(num, n)).astype(dtype) for n in (2 * size + 4, size, size))
        loc, raw_scale, features = wide(context).split([size, size, 4], dim=-1)
        steps = [zuko_step(step, features, size) for step in flow.steps]
        push, log_q = composed(loc, torch.nn.functional.softplus(raw_scale) + posteriors.MIN_SCALE, steps)
        pushed, found = flow.push(tf.constant(eps), tf.constant(context))
        yield f"`{name}`: z of eps", pushed, push(wide(eps))
        yield f"`{name}`: log det dz/deps; there by the full Jacobian", found, log_det(push, wide(eps))
        found = distributions.Pushforward(flow, size, tf.constant(context)).log_prob(z)
        yield f"`{name}`: log q(z|x) of any z", found, log_q(wide(z))
    tfk.backend.set_floatx("float32")


def zuko_step(step, context, size):
    from references.flows import coupling, inverse_autoregressive

    if isinstance(step, distributions.InverseAutoregressive):
        return inverse_autoregressive([wide(w) for w in step.network.weights], context, size)
    *layers, of_context = ([wide(w) for w in layer.weights] for layer in (*step.layers, step.of_context))
    return coupling(layers, of_context, context, size, step.reverse)


def walked(optimizer, gradients):
    """Where an optimizer takes a variable from 0."""
    variable = tf.Variable(tf.zeros_like(gradients[0]))
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    return variable.numpy()


def optimizers():
    """Five steps of rate 1, so that differences are in units of the rate."""
    from references import optimizers as by_torch

    matrix, vector = anywhere(10, 5, 60, 30), anywhere(10, 5, NUM)
    cast, exact = (by_torch.muon(wide(matrix), in_bfloat16=rounded) for rounded in (True, False))
    for dtype in (np.float32, np.float64):
        yield "`Muon`; torch without its cast to bfloat16", walked(train.Muon(1.0), dtype(matrix)), exact
    yield "`Muon`; torch as it is", walked(train.Muon(1.0), matrix), cast
    yield "torch's Muon as it is; without its cast to bfloat16", cast, exact
    expected = by_torch.adam(wide(vector))
    for dtype in (np.float32, np.float64):
        found = walked(adam.fused(tfk.optimizers.Adam(1.0)), dtype(vector))
        yield "Adam, fused", found, expected


def pareto_k():
    from arviz_stats.base import array_stats

    log_w = rng.standard_t(5, [2500, 100]) * np.linspace(0.1, 3, 100)  # 2500: both take 150 of them for the tail
    yield "Pareto k of `evidence_of`", diagnostics.evidence_of(log_w).pareto_k, array_stats.psislw(-log_w, axis=0)[1]


CHECKS = {
    torch_likelihoods: "torch",
    discretized_logistics: "scipy",
    closed_form_kl: "torch",
    flows: "zuko",
    optimizers: "torch",
    pareto_k: "arviz-stats",
}


def compared(what, found, expected):
    """The largest difference, and the largest over max(1, |value|)."""
    found, expected = np.asarray(found), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape} and {expected.shape}"
    gap = np.abs(found - expected)
    largest = {"difference": gap.max(), "relative": (gap / np.maximum(1, np.abs(expected))).max()}
    return {"what": what, "values": found.size, "dtype": found.dtype.name} | {k: float(v) for k, v in largest.items()}


def shown(row):
    click.echo("  ".join(f"{cell:.2g}" if isinstance(cell, float) else f"{cell}" for cell in row.values()))
    return row


@click.command()
@reports.output_option("spot_checks")
def main(output):
    """Hold distributions, flows, optimizers and scores against other people's code; see the file's head."""
    rows, missing = [], []
    for check, package in CHECKS.items():
        if reports.installed(package):
            version = f"{package} {importlib.metadata.version(package)}"
            rows += [shown(compared(*one) | {"by": version}) for one in check()]
        else:
            missing.append(f"{check.__name__}, because {package} is not installed")
            click.echo(f"left out: {missing[-1]}")
    found = spot_scores.compared()
    scores = [shown({"what": what, "tfvae": ours, "formula": float(formula)}) for what, ours, formula in found]
    reports.write(output, reports.head() | {"left_out": missing, "rows": rows, "scores": scores})


if __name__ == "__main__":
    main()
