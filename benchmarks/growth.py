"""Time of an epoch as one size grows: images, batch, latents, samples of z, width.

    python benchmarks/growth.py                 minutes; writes results/growth.json and results/growth.png

The model is 784-200-200-50 (tanh), batch 128, one sample, 6,400 binarized images; one size changes at a time. Each
point is the least of several trainings of four epochs, divided by four, after one that does not count, XLA off. Prints
the slope between neighbours in log-log: 1 where twice the size takes twice the time, 0 where it costs nothing.
"""

import itertools
import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import matplotlib
import numpy as np
import reports
from throughput import images

SIZES = {
    "images": (800, 1600, 3200, 6400, 12_800, 25_600),
    "batch size": (16, 32, 64, 128, 256, 512, 1024, 2048),
    "latents": (2, 8, 32, 128, 512),
    "samples of z": (1, 2, 4, 8, 16, 32),
    "width": (25, 50, 100, 200, 400, 800, 1600),
}
EPOCHS = 4
BASE = {"images": 6400, "batch size": 128, "latents": 50, "samples of z": 1, "width": 200}


def seconds(grey, rounds, **sizes):
    """Of an epoch."""
    import tf_keras as tfk

    import tfvae
    from tfvae import data, likelihoods, networks, objectives, posteriors, priors

    hidden, latent_size = (sizes["width"],) * 2, sizes["latents"]
    x = grey[: sizes["images"]]
    arrays = data.from_arrays(x, x[:1], validation_size=0, binarize="stochastic")
    vae = tfvae.VAE(
        encoder=posteriors.diagonal_normal(networks.mlp(arrays.event_shape, hidden), latent_size),
        decoder=likelihoods.bernoulli(networks.mlp((latent_size,), hidden), arrays.event_shape),
        prior=priors.standard_normal(latent_size),
    )
    vae.compile(tfk.optimizers.Adam(1e-3), objectives.iwae(sizes["samples of z"]), jit_compile=False)
    train, taken = arrays.train(sizes["batch size"]), []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        vae.fit(train, epochs=EPOCHS, verbose=0)  # of several, as each call takes some time to start
        taken.append((time.perf_counter() - started) / EPOCHS)
    return min(taken[1:])


def slopes(points):
    """Between neighbours, in log-log."""
    return [math.log(b / a) / math.log(n / m) for (m, a), (n, b) in itertools.pairwise(points)]


def plot(report, path):
    """A panel for each size."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from tfvae import plots

    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots(1, len(report["points"]), figsize=(14, 3.2), sharey=True, layout="constrained")
        for axis, (name, points) in zip(axes, report["points"].items(), strict=True):
            sizes, taken = np.transpose(points)
            axis.loglog(sizes, taken, "o-")
            axis.axvline(report["base"][name], color="0.8", zorder=0)
            axis.set_xlabel(name)
        axes[0].set_ylabel("seconds an epoch")
        figure.savefig(path, dpi=120)


@click.command()
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True, help="Trainings of each that count.")
@reports.output_option("growth")
def main(rounds, output):
    """Time of an epoch as one size grows; see the file's head."""
    grey = images().reshape(-1, 28, 28, 1)
    report = reports.head() | {"base": BASE, "points": {}}
    for name, sizes in SIZES.items():
        points = [(size, seconds(grey, rounds, **(BASE | {name: size}))) for size in sizes]
        report["points"][name] = points
        click.echo(f"\n{name:>14} {'s an epoch':>12} {'slope':>7}")
        for (size, taken), slope in zip(points, ["", *(f"{s:.2f}" for s in slopes(points))], strict=True):
            click.echo(f"{size:>14} {taken:>12.3f} {slope:>7}")
    reports.write(output, report)
    plot(report, output.with_suffix(".png"))


if __name__ == "__main__":
    main()
