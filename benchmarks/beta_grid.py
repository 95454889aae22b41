"""Beta against latent size on MNIST and Fashion-MNIST: numbers and pictures of a grid of small models.

    python benchmarks/beta_grid.py                                  about ten minutes a data set on one core
    python benchmarks/beta_grid.py --latent-sizes 2 --betas 1,150   a part of it; what is there already is not repeated

One epoch each is enough to see what beta does, and far from what a model can reach; `--epochs` says otherwise. Numbers
go to results/beta_grid.json: nats per image on the first test images, `log_evidence` from so many samples. Pictures go
to results/beta_grid_pictures.npz, bytes [n, 28, 28]: under "DATA/LATENTS/BETA/samples" and ".../reconstructions", and
under "DATA/images" the test images that are reconstructed; notebook 12 draws them. A stop loses one model.
"""

import json
import os
import time

import click
import numpy as np
from reports import RESULTS, head
from training import trained

NUMBERS, PICTURES = RESULTS / "beta_grid.json", RESULTS / "beta_grid_pictures.npz"
NUM_IMAGES, NUM_SAMPLES, NUM_PICTURES = 500, 50, 9


def recipe_of(name, latent_size, beta, epochs):
    """Of one cell."""
    from tfvae import recipes

    return recipes.Recipe(
        data=name,
        binarize="stochastic",
        latent_size=latent_size,
        hidden_sizes=(256,),
        activation="relu",
        objective="beta_elbo",
        beta=beta,
        epochs=epochs,
        batch_size=128,
        learning_rate=2e-3,
    )


def cell(name, latent_size, beta, epochs):
    """The numbers of one model, and its pictures as bytes."""
    from tfvae import diagnostics

    started = time.perf_counter()
    vae, images = trained(recipe_of(name, latent_size, beta, epochs))
    measured = diagnostics.measure(vae, images.x_test[:NUM_IMAGES], NUM_SAMPLES)
    shown = images.x_test[:NUM_PICTURES]
    numbers = {key: float(getattr(measured, key).mean()) for key in ("elbo", "log_likelihood", "kl", "log_evidence")}
    numbers["active_units"] = int(diagnostics.active_units(vae, images.x_test).sum())
    pictures = {"samples": vae.generate(NUM_PICTURES, seed=0), "reconstructions": vae.reconstruct(shown)}
    numbers |= {"data": name, "latent_size": latent_size, "beta": beta, "epochs": epochs}
    numbers["seconds"] = time.perf_counter() - started
    return numbers, {key: as_bytes(x) for key, x in pictures.items()}, as_bytes(shown)


def as_bytes(x):
    return np.round(255 * np.asarray(x)[..., 0]).astype(np.uint8)


def numbers_between_commas(context, parameter, value):
    return [float(number) for number in value.split(",")]


@click.command()
@click.option("--data", default="mnist,fashion_mnist", help="Between commas.", show_default=True)
@click.option("--latent-sizes", default="1,2,4,8,16", callback=numbers_between_commas, show_default=True)
@click.option("--betas", default="1,3,4,10,80,150", callback=numbers_between_commas, show_default=True)
@click.option("--epochs", default=1, type=click.IntRange(1), show_default=True)
@click.option("--again", is_flag=True, help="Forget what is stored.")
@click.option("--seconds", default=float("inf"), help="Start no model after so many.")
def main(data, latent_sizes, betas, epochs, again, seconds):
    """Train, measure and draw the grid; see the file's head."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfvae.support import files

    rows = json.loads(NUMBERS.read_text())["rows"] if NUMBERS.exists() and not again else []
    pictures = files.read_arrays(PICTURES) if PICTURES.exists() and not again else {}
    done = {(row["data"], row["latent_size"], row["beta"], row["epochs"]) for row in rows}
    started = time.perf_counter()
    for name in data.split(","):
        for key in [(name, int(size), beta, epochs) for size in latent_sizes for beta in betas]:
            if key in done:
                continue
            if time.perf_counter() - started > seconds:
                return
            try:
                numbers, drawn, shown = cell(*key)
            except OSError as error:
                click.echo(f"{name} is left out: {error}", err=True)
                break
            prefix = f"{name}/{numbers['latent_size']}/{numbers['beta']:g}"
            pictures |= {f"{prefix}/{what}": x for what, x in drawn.items()} | {f"{name}/images": shown}
            # One model, one row: an older one of other epochs goes.
            rows = [row for row in rows if (row["data"], row["latent_size"], row["beta"]) != key[:3]] + [numbers]
            rows.sort(key=lambda row: (row["data"], row["latent_size"], row["beta"]))
            files.write_arrays(PICTURES, pictures)
            measured = {"num_test_images": NUM_IMAGES, "num_samples": NUM_SAMPLES, "seed": 0}
            files.write_json(NUMBERS, head() | measured | {"rows": rows})
            click.echo("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items()))


if __name__ == "__main__":
    main()
