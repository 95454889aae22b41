"""What a richer posterior, prior, likelihood or bound gives on the digits, over seeds: the models of pages 08 to 10.

    python benchmarks/seeds.py                          minutes; writes results/seeds.json
    python benchmarks/seeds.py --schedule constant      with a rate that does not fall: trained further, in effect

Each model is trained as on its page and measured on the 360 test images by two rulers: the bound of 260 draws of q, and
(on every sixth image) log p(x) by a proposal that is fitted to each image. Prints each model's gain over the plain one
of the same seed, mean and deviation over seeds.
"""

import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import reports

PLAIN = {"data": "digits", "hidden_sizes": (128,), "batch_size": 64, "learning_rate": 4e-3, "epochs": 50}
FLOW = {"flow_steps": 2, "flow_hidden_sizes": (64,)}
LAYERS = {"prior": "hierarchical", "latent_sizes": (8, 4), "layer_hidden_sizes": (64,)}
RULERS = ("elbo", "bound", "log_px")
MODELS = {
    "plain": {},
    "full covariance": {"posterior": "full_normal"},
    "coupling flow": {"posterior": "coupling", **FLOW},
    "IAF": {"posterior": "iaf", **FLOW},
    "mixture prior": {"prior": "normal_mixture"},
    "VampPrior": {"prior": "vamp", "num_pseudo_inputs": 50},
    "flow prior": {"prior": "flow", **FLOW},
    "two layers, bottom-up": {"posterior": "bottom_up", **LAYERS},
    "two layers, top-down": {"posterior": "top_down", **LAYERS},
    "plain, wide": {"hidden_sizes": (560,)},
    "discretized logistic": {"likelihood": "discretized_logistic"},
    "logistic mixture": {"likelihood": "logistic_mixture", "likelihood_components": 3},
    "IWAE-5": {"objective": "dreg_iwae", "num_samples": 5},
    "IWAE-5, its own gradient": {"objective": "iwae", "num_samples": 5},
}
MODELS |= {f"logistic mixture + {name}": MODELS["logistic mixture"] | MODELS[name] for name in ("VampPrior", "IWAE-5")}


def measured(images, fields, seed):
    """Of a trained model, nats an image: ELBO, bound, and log p(x) by the fitted proposal, as a mean over images."""
    from tfvae import diagnostics, recipes

    recipe = recipes.Recipe(**fields, seed=seed).complete(images)
    vae = recipes.build(recipe)
    recipes.compile(vae, recipe, images.num_images)
    vae.fit(images.train(recipe.batch_size), epochs=recipe.epochs, verbose=0)
    found = diagnostics.measure(vae, images.x_test, num_samples=260)
    x = images.x_test[::6]
    fitted = diagnostics.laplace_log_evidence(vae, x, 300, num_starts=8, num_steps=60).value
    bound = found.log_evidence.mean()
    log_px = bound + (fitted - found.log_evidence[::6]).mean()
    return {"elbo": float(found.elbo.mean()), "bound": float(bound), "log_px": float(log_px)}


def gains(rows):
    """{model: {ruler: (mean, deviation over seeds)}} over the plain model of the same seed."""
    by = {(row["model"], row["seed"]): row for row in rows}
    found = {}
    for name in MODELS:
        seeds = [seed for model, seed in by if model == name]
        for ruler in RULERS:
            over = [by[name, seed][ruler] - by["plain", seed][ruler] for seed in seeds]
            found.setdefault(name, {})[ruler] = statistics.mean(over), statistics.stdev(over)
    return found


@click.command()
@click.option("--seeds", default=5, type=click.IntRange(2), show_default=True)
@click.option("--schedule", default="cosine", type=click.Choice(["cosine", "constant"]), show_default=True)
@reports.output_option("seeds")
def main(seeds, schedule, output):
    """Gains over seeds; see the file's head."""
    from tfvae import data

    images = data.load("digits", validation_size=157)  # as on the pages
    plain, rows = PLAIN | {"schedule": schedule}, []
    for seed in range(seeds):
        for name, fields in MODELS.items():
            rows.append({"model": name, "seed": seed, **measured(images, plain | fields, seed)})
            click.echo(f"seed {seed}  {name:<24}" + "".join(f"{rows[-1][r]:9.2f}" for r in RULERS))
    reports.write(output, reports.head() | {"plain": plain, "rows": rows, "gains": gains(rows)})
    for name, of_one in gains(rows).items():
        click.echo(f"{name:<24}" + "".join(f"{mean:+9.2f} +- {deviation:.2f}" for mean, deviation in of_one.values()))


if __name__ == "__main__":
    main()
