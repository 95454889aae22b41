"""Does training in bfloat16 end where training in float32 ends?

    python benchmarks/precision.py                      minutes; writes results/precision.json

MNIST with fresh binarization, 784-200-200-50 (tanh), batch 128, Adam at 1e-3, for each seed once in each precision, in
turns. Prints the validation ELBO (5,000 images binarized once, 10 samples an image) and images a second.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import reports

POLICIES = ("float32", "mixed_bfloat16")


def trained(images, policy, seed, epochs):
    """The ELBO on the validation images, and images a second after the first epoch."""
    import tf_keras as tfk

    from tfvae import diagnostics, recipes

    tfk.mixed_precision.set_global_policy(policy)
    recipe = recipes.Recipe(
        data="mnist", binarize="stochastic", hidden_sizes=(200, 200), latent_size=50, batch_size=128, epochs=epochs,
        learning_rate=1e-3, schedule="constant", seed=seed,
    )  # fmt: skip
    vae = recipes.build(recipe.complete(images))
    recipes.compile(vae, vae.recipe, images.num_images)
    train = images.train(recipe.batch_size)
    vae.fit(train, epochs=1, verbose=0)
    started = time.perf_counter()
    vae.fit(train, initial_epoch=1, epochs=epochs, verbose=0)
    rate = (epochs - 1) * images.num_images / (time.perf_counter() - started)
    elbo = diagnostics.measure(vae, images.x_validation, num_samples=10).elbo
    tfk.mixed_precision.set_global_policy("float32")
    return {"policy": policy, "seed": seed, "elbo": float(elbo.mean()), "images_per_s": rate}


@click.command()
@click.option("--epochs", default=8, type=click.IntRange(2), show_default=True)
@click.option("--seeds", default=3, type=click.IntRange(2), show_default=True)
@reports.output_option("precision")
def main(epochs, seeds, output):
    """The ELBO after training in float32 and in bfloat16; see the file's head."""
    from tfvae import data

    images = data.load("mnist", binarize="stochastic")
    rows = [trained(images, policy, seed, epochs) for seed in range(seeds) for policy in POLICIES]
    summary = {}
    for policy in POLICIES:
        elbos, rates = ([row[key] for row in rows if row["policy"] == policy] for key in ("elbo", "images_per_s"))
        summary[policy] = {
            "elbo_mean": statistics.mean(elbos),
            "elbo_deviation_over_seeds": statistics.stdev(elbos),
            "images_per_s": statistics.median(rates),
        }
        click.echo(
            f"{policy:<16} ELBO {' '.join(f'{elbo:.2f}' for elbo in elbos)}   {statistics.median(rates):.0f} images/s"
        )
    reports.write(output, reports.head() | {"epochs": epochs, "rows": rows, "summary": summary})


if __name__ == "__main__":
    main()
