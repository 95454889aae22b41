"""The papers' rows of one layer, evaluated a second time by code that shares nothing with `tfvae.diagnostics`.

    python benchmarks/independent.py --ours       six minutes; writes results/independent.json
    python benchmarks/independent.py vae-1        this row alone, without `diagnostics.laplace_log_evidence` beside it

NumPy and SciPy read the stored weights and test images, in float64; only `--ours` imports tfvae, after all else is
done. log p(x) is by importance sampling: half of the draws are of Student's t at the modes of log p(x, z) that L-BFGS
finds, with the Gauss-Newton Hessian J' diag(p (1 - p)) J + I, where J is the Jacobian of the logits; half are of
q(z|x), because the t alone miss some mass. The density of the mixture weighs them all.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # on a shared machine several threads wait for each other

import click
import numpy as np
import reports
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal, multivariate_t
from tables import paper_rows

DRAWS = {"bound": 5000, "log_evidence": 20_000, "tfvae_log_evidence": 5000}  # an image; the stored bound has 5,000
DEGREES = 10  # of freedom of Student's t
RECIPE = {"posterior": "diagonal_normal", "prior": "standard_normal", "likelihood": "bernoulli", "activation": "tanh"}
STORED = {name: found for name, found in paper_rows().items() if RECIPE.items() <= found["recipe"].items()}
PRIOR = multivariate_normal(np.zeros(50))


def mlp(layers, h):
    """The output of each layer; tanh after all but the last."""
    outputs = []
    for i, (kernel, bias) in enumerate(layers, 1):
        h = h @ kernel + bias
        outputs.append(h := np.tanh(h) if i < len(layers) else h)
    return outputs


def log_bernoulli(x, logits):
    return logits @ x - (np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))).sum(axis=-1)


def log_likelihood(decoder, x, z):
    return np.concatenate([log_bernoulli(x, mlp(decoder, few)[-1]) for few in np.split(z, range(500, len(z), 500))])


def energy(z, decoder, x):
    """-log p(x, z) without its constant, and its gradient in z."""
    *hidden, logits = mlp(decoder, z)
    gradient = expit(logits) - x
    for (kernel, _), h in zip(decoder[:0:-1], hidden[::-1], strict=True):
        gradient = (kernel @ gradient) * (1 - h**2)
    return z @ z / 2 - log_bernoulli(x, logits), decoder[0][0] @ gradient + z


def gauss_newton(z, decoder):
    *hidden, logits = mlp(decoder, z)
    jacobian = decoder[0][0]  # [latents, units]
    for (kernel, _), h in zip(decoder[1:], hidden, strict=True):
        jacobian = (jacobian * (1 - h**2)) @ kernel
    return (jacobian * expit(logits) * expit(-logits)) @ jacobian.T + np.eye(len(z))


def log_mean(log_w):
    """log mean w, its standard error by the delta method, and the effective number of draws."""
    value = logsumexp(log_w) - np.log(len(log_w))
    w = np.exp(log_w - value)
    return value, w.std(ddof=1) / np.sqrt(len(w)), len(w) / np.mean(w**2)


def modes_of(starts, decoder, x):
    """A Student's t at each distinct mode of log p(x, z), and Laplace's log evidence of each."""
    fitted, laplace = [], []
    for start in starts:
        end = minimize(energy, start, args=(decoder, x), jac=True, method="L-BFGS-B", options={"maxiter": 500})
        precision = gauss_newton(end.x, decoder)
        # Two ascents have found the same mode if they end within a third of a standard deviation of each other.
        if all((end.x - t.loc) @ precision @ (end.x - t.loc) > 0.1 for t in fitted):
            fitted.append(multivariate_t(end.x, np.linalg.inv(precision), DEGREES))
            laplace.append(-end.fun - np.linalg.slogdet(precision)[1] / 2)
    return fitted, np.array(laplace)


def image(encoder, decoder, x, rng):
    """An image's ELBO, bound and log p(x), each with its standard error; the effective draws of the last."""
    loc, raw = np.split(mlp(encoder, x)[-1], 2)
    scale = np.logaddexp(0, raw) + 1e-5
    q = multivariate_normal(loc, np.diag(scale**2))
    z = q.rvs(DRAWS["bound"], rng)
    log_px_z = log_likelihood(decoder, x, z)
    kl = 0.5 * np.sum(loc**2 + scale**2 - 1 - 2 * np.log(scale))
    elbo = log_px_z.mean() - kl, log_px_z.std(ddof=1) / np.sqrt(len(z))
    bound = log_mean(log_px_z + PRIOR.logpdf(z) - q.logpdf(z))[:2]
    fitted, laplace = modes_of([loc, *q.rvs(3, rng), *PRIOR.rvs(4, rng)], decoder, x)
    # A part of the draws is spread evenly over the modes, in case Laplace's evidence misjudges one.
    weights = np.append(0.45 * np.exp(laplace - logsumexp(laplace)) + 0.05 / len(fitted), 0.5)
    counts, proposals = rng.multinomial(DRAWS["log_evidence"], weights / weights.sum()), [*fitted, q]
    z = np.concatenate([one.rvs(n, rng).reshape(n, -1) for one, n in zip(proposals, counts, strict=True) if n])
    log_r = logsumexp([np.log(w) + one.logpdf(z) for one, w in zip(proposals, weights, strict=True)], axis=0)
    return *elbo, *bound, *log_mean(log_likelihood(decoder, x, z) + PRIOR.logpdf(z) - log_r)


def over_images(values, errors):
    return {"value": float(np.mean(values)), "standard_error": float(np.linalg.norm(errors) / np.size(errors))}


def compared(own, theirs):
    """Two means with their errors; how far the first is above the second, in nats and in standard errors."""
    above, error = own["value"] - theirs["value"], np.hypot(own["standard_error"], theirs["standard_error"])
    return own | {f"tfvae_{key}": v for key, v in theirs.items()} | {"above": above, "z": float(above / error)}


def shown(found):
    for name in ("elbo", "bound", "log_evidence"):
        click.echo(f"{found['row']:<14}{name:<14}" + "  ".join(f"{key} {v:.3f}" for key, v in found[name].items()))
    return found


def row(name, seed):
    """A row's numbers beside the stored ones, with the noise of the draws."""
    images = np.unpackbits(np.load(reports.RESULTS / "test_images.npz")["binary"], axis=1).astype(np.float64)
    arrays = [array.astype(np.float64) for _, array in sorted(np.load(reports.RESULTS / f"{name}.npz").items())]
    layers, rng = list(zip(arrays[::2], arrays[1::2], strict=True)), np.random.default_rng(seed)
    *columns, effective = np.transpose([image(layers[:3], layers[3:], x, rng) for x in images])
    elbo, bound, value = (over_images(*columns[i : i + 2]) for i in (0, 2, 4))
    stored = STORED[name]["first_images"]
    return {
        "row": name,
        "elbo": compared(elbo, elbo | {"value": stored["elbo"]}),  # its error is alike, as it has as many draws
        "bound": compared(bound, {"value": -stored["nll"], "standard_error": stored["mc_standard_error"]}),
        "log_evidence": value,
        "effective_draws": {"median": float(np.median(effective)), "least": float(effective.min())},
    }


def beside_ours(found):
    """The row with `diagnostics.laplace_log_evidence` beside its log p(x)."""
    import papers  # which imports tfvae and TensorFlow

    (vae, stored), num_samples = papers.stored(found["row"]), DRAWS["tfvae_log_evidence"]
    ours = papers.diagnostics.laplace_log_evidence(vae, papers.first_test_images(stored["row"]), num_samples)
    return found | {"log_evidence": compared(found["log_evidence"], over_images(*ours[:2]))}


@click.command()
@click.argument("rows", nargs=-1, type=click.Choice(STORED))
@click.option("--ours", is_flag=True, help="Also run diagnostics.laplace_log_evidence.")
@click.option("--seed", default=0, type=click.IntRange(0), show_default=True)
@reports.output_option("independent")
def main(rows, ours, seed, output):
    """Evaluate the stored ROWS again [all that are of one layer]; see the file's head."""
    found = [shown(row(name, seed)) for name in rows or STORED]
    found = [shown(beside_ours(one)) for one in found] if ours else found
    reports.write(output, reports.head() | {"draws": DRAWS, "seed": seed, "rows": found})


if __name__ == "__main__":
    main()
