"""log p(x) by importance sampling with 5,000 samples an image: how far from what its arithmetic takes at least?

    python benchmarks/evidence.py                       a minute; writes results/evidence.json

The model is 784-200-200-50, untrained, as the time does not depend on its weights. The floor is the time of the
decoder's matrix products alone, at the rate of a large product; beside it stands what one pass of softplus over the
logits takes, which no log-likelihood of a Bernoulli goes without.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import numpy as np
import reports
from throughput import images, peak_flops

NUM_SAMPLES = 5000
PRODUCTS = 2 * (50 * 200 + 200 * 200 + 200 * 784) * NUM_SAMPLES  # floating-point operations an image


def timed(call, times):
    """Median seconds of a call, after one that does not count."""
    call()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


@click.command()
@click.option("--num-images", default=100, type=click.IntRange(1), show_default=True)
@reports.output_option("evidence")
def main(num_images, output):
    """Seconds of log p(x) an image, and of its parts; see the file's head."""
    import tensorflow as tf

    from tfvae import data, diagnostics, recipes

    recipe = recipes.Recipe(data="mnist", binarize="static", hidden_sizes=(200, 200), latent_size=50)
    grey = images().reshape(-1, 28, 28, 1)
    arrays = data.from_arrays(grey[:1000], grey[:num_images], validation_size=0, binarize="static")
    vae = recipes.build(recipe.complete(arrays))
    logits = tf.random.stateless_normal([NUM_SAMPLES, 784], [0, 1])
    softplus = tf.function(lambda: tf.reduce_sum(tf.nn.softplus(logits), axis=-1))
    row = {
        "log_evidence": timed(lambda: diagnostics.log_evidence(vae, arrays.x_test, NUM_SAMPLES), 3) / num_images,
        "matrix_products": PRODUCTS / peak_flops("float32", 2048),
        "softplus": timed(lambda: np.asarray(softplus()), 5),
    }
    row["of_floor"] = row["matrix_products"] / row["log_evidence"]
    click.echo(f"milliseconds an image, {NUM_SAMPLES} samples each, of {num_images} images")
    for name in ("log_evidence", "matrix_products", "softplus"):
        click.echo(f"  {name.replace('_', ' '):<18}{1000 * row[name]:>8.2f}")
    click.echo(
        f"  the products' share{row['of_floor']:>7.0%}   10,000 images: {10_000 * row['log_evidence'] / 60:.1f} minutes"
    )
    reports.write(output, reports.head() | {"num_images": num_images, "seconds_an_image": row})


if __name__ == "__main__":
    main()
