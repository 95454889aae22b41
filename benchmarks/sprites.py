"""Sprites made as they are read: images a second, and what that costs a training.

    python benchmarks/sprites.py                minutes; writes results/sprites.json

First the images alone, 64 at a time and 1024 at a time, in a plain graph and under XLA. Then trainings on images that
the step makes, beside the same on stored ones: epochs in turn, medians. The large model is that of
recipes/sprites_full.json; its steps give the time that the whole of that recipe takes here.
"""

import os
import pathlib
import statistics
import time

import click
import numpy as np
import reports

FULL = pathlib.Path(__file__).parent / "recipes" / "sprites_full.json"
GRID = (3, 6, 8, 8, 8)


def drawn_per_second(image_size, batch_size, jit, seconds):
    import tensorflow as tf

    from tfvae.data.sprites import Sprites

    sprites = Sprites(image_size)
    draw = tf.function(sprites.gather, jit_compile=jit)
    numbers = tf.constant(np.random.default_rng(0).integers(0, len(sprites), batch_size))
    draw(numbers)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        draw(numbers).numpy()
        count += batch_size
    return count / (time.perf_counter() - started)


def trained_per_second(recipe, steps, rounds):
    """Images a second in training, {"made", "stored": median}."""
    from tfvae import data, recipes

    made = recipe.load_data()
    recipe = recipe.complete(made)
    stored = data.from_factors(made.x_train.astype(np.uint8), made.factors_train, max_level=1)
    runs = {}
    for name, images in {"made": made, "stored": stored}.items():
        vae = recipes.build(recipe)
        recipes.compile(vae, recipe, images.train_size)
        runs[name] = vae, images.train(recipe.batch_size)
    rates = {name: [] for name in runs}
    for _ in range(rounds + 1):  # the first one compiles
        for name, (vae, train) in runs.items():
            started = time.perf_counter()
            vae.fit(train, steps_per_epoch=steps, verbose=0)
            rates[name].append(steps * recipe.batch_size / (time.perf_counter() - started))
    return {name: statistics.median(values[1:]) for name, values in rates.items()}


@click.command()
@click.option("--seconds", default=1.0, help="For each of the first numbers.", show_default=True)
@click.option("--rounds", default=5, type=click.IntRange(1), help="Timed of each training.", show_default=True)
@reports.output_option("sprites")
def main(seconds, rounds, output):
    """Images a second, and their cost in training; see the file's head."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import tensorflow as tf

    from tfvae import recipes, runs

    report = reports.head() | {"drawn": [], "trained": []}
    for image_size in (64, 32):
        for batch_size in (64, 1024):
            for jit in (False, True):
                rate = drawn_per_second(image_size, batch_size, jit, seconds)
                name = f"{image_size} x {image_size}, batch {batch_size}, {'XLA' if jit else 'graph'}"
                click.echo(f"{name:<44}{rate:>10.0f} images/s")
                report["drawn"].append({"what": name, "images_per_s": rate})
    full = runs.read_recipe(FULL).replace(factor_sizes=GRID)
    if not tf.config.list_physical_devices("GPU"):
        full = full.replace(jit=None)  # there XLA takes convolutions forty times as long
    small = recipes.Recipe(data="sprites", image_size=32, factor_sizes=GRID, batch_size=128)
    for name, recipe, steps in (("mlp 256-256, 32 x 32, batch 128", small, 64), ("sprites_full.json", full, 8)):
        rates = trained_per_second(recipe, steps, rounds)
        ratio = rates["made"] / rates["stored"]
        click.echo(
            f"{name:<44}{rates['made']:>10.0f} images/s trained, {rates['stored']:.0f} from stored: ratio {ratio:.2f}"
        )
        report["trained"].append({"what": name, **rates})
    hours = 300_000 * full.batch_size / rates["made"] / 3600
    click.echo(f"{FULL.name}, 300,000 steps: {hours:.1f} hours here")
    report["full_hours"] = hours
    reports.write(output, report)


if __name__ == "__main__":
    main()
