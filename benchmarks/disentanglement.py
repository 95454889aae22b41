"""Does beta disentangle? Beta 1, 2, 4, 8 and beta-TCVAE on a reduced grid of sprites, several seeds each.

    python benchmarks/disentanglement.py                      about 20 minutes on one core
    python benchmarks/disentanglement.py --seeds 0,2,4        a part of it, beside which another process runs the rest

A run that is finished is not done again. Each leaves a file in --runs; all that are there are gathered into
results/disentanglement.json (every number) and disentanglement.npz (traversals of the first seed's models), and a table
over seeds is printed: rate, distortion and ELBO in nats an image of the 1000 test images, scores of all 11,520.
"""

import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import numpy as np
from reports import RESULTS, head

SETTINGS = {
    "beta 1": {"objective": "beta_elbo", "beta": 1.0},
    "beta 2": {"objective": "beta_elbo", "beta": 2.0},
    "beta 4": {"objective": "beta_elbo", "beta": 4.0},
    "beta 8": {"objective": "beta_elbo", "beta": 8.0},
    "TC 6": {"objective": "tc_elbo", "beta": 6.0},
}
SEEDS = (0, 1, 2, 3, 4)
# Orientations are 72 degrees apart, so that no shape looks the same in two of them.
FACTOR_NAMES, FACTOR_SIZES = ("shape", "scale", "orientation", "x", "y"), (3, 3, 5, 16, 16)
MODEL = {
    "data": "sprites",
    "image_size": 32,
    "factor_sizes": FACTOR_SIZES,
    "validation_size": 0,
    "latent_size": 6,
    "hidden_sizes": (256, 128),
    "activation": "relu",
    "epochs": 40,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "schedule": "cosine",
}
DRAWS = 3
REACH = np.linspace(-2, 2, 9)


class Codes:
    """Sprites with, in place of images, their numbers: an encoder of them looks up what was encoded once."""

    def __init__(self, sprites):
        self.factor_sizes, self.categorical = FACTOR_SIZES, sprites.categorical
        self.sample_factors = sprites.sample_factors

    def images(self, factors):
        return np.ravel_multi_index(tuple(factors.T), FACTOR_SIZES)


def trained(fields, seed):
    """A model and its data."""
    from tfvae import recipes

    recipe = recipes.Recipe(**MODEL, **fields, seed=seed)
    sprites = recipe.load_data()
    recipe = recipe.complete(sprites)
    vae = recipes.build(recipe)
    recipes.compile(vae, recipe, sprites.train_size)
    vae.fit(sprites.train(recipe.batch_size), epochs=recipe.epochs, verbose=0)
    return vae, sprites


def measured(vae, sprites):
    """Rate and distortion in nats an image, what each latent carries, and every score with its spread over draws."""
    from tfvae import diagnostics, disentanglement

    factors = np.indices(FACTOR_SIZES).reshape(len(FACTOR_SIZES), -1).T
    codes, encode = Codes(sprites), disentanglement.means(vae)
    z = np.concatenate([encode(sprites.images(block)).numpy() for block in np.array_split(factors, 10)])
    found = disentanglement.spread(
        lambda seed: disentanglement.scores(lambda number: z[number], codes, seed=seed), range(DRAWS)
    )
    test = diagnostics.measure(vae, sprites.x_test, num_samples=100)
    return {
        "elbo": float(test.elbo.mean()),
        "rate": float(test.kl.mean()),
        "distortion": -float(test.log_likelihood.mean()),
        "active_units": int(diagnostics.active_units(vae, sprites.x_test).sum()),
        "scores": {name: list(score) for name, score in found.items()},
        "mutual_information": disentanglement.mutual_information(z, factors).tolist(),
    }


def traversals(vae, sprites):
    """Each latent of a heart in the middle from -2 to 2, the others where q(z|x) has them: uint8 [D, 9, 32, 32]."""
    loc = vae.encode(sprites.images(np.array([[2, 2, 0, 8, 8]]))).mean().numpy()
    z = np.tile(loc, (vae.latent_size, len(REACH), 1))
    for latent in range(vae.latent_size):
        z[latent, :, latent] = REACH
    return np.round(255 * vae.decode(z).mean().numpy()[..., 0]).astype(np.uint8)


def gathered(files):
    """All runs in one report, and the first seed's traversals in one file of arrays."""
    reports = [json.loads(file.read_text()) for file in files]
    report = head() | {"command": "python benchmarks/disentanglement.py", "cores": "one for each process"}
    report |= {"factor_names": FACTOR_NAMES, "model": MODEL, "settings": SETTINGS, "score_draws": DRAWS}
    report |= {"reach": REACH.tolist(), "runs": reports}
    (RESULTS / "disentanglement.json").write_text(json.dumps(report) + "\n")
    pictures = {run["setting"]: np.load(f.with_suffix(".npy")) for run, f in zip(reports, files, strict=True)
                if run["seed"] == SEEDS[0]}  # fmt: skip
    np.savez_compressed(RESULTS / "disentanglement.npz", **pictures)
    return reports


def table(reports):
    """Means over seeds, plus or minus the standard deviation over seeds."""
    columns = ["elbo", "rate", "distortion", "active_units", *reports[0]["scores"]]
    lines = ["| | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for setting in SETTINGS:
        runs = [run | {n: s[0] for n, s in run["scores"].items()} for run in reports if run["setting"] == setting]
        if len(runs) < 2:
            continue
        cells = [np.array([run[name] for run in runs]) for name in columns]
        digits = [1] * 4 + [2] * len(reports[0]["scores"])
        shown = [f"{c.mean():.{d}f} +- {c.std(ddof=1):.{d}f}" for c, d in zip(cells, digits, strict=True)]
        lines.append(f"| {setting} | {len(runs)} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--seeds", default=",".join(map(str, SEEDS)), help="Which of them this process trains.")
@click.option("--runs", default="runs/disentanglement", type=click.Path(path_type=pathlib.Path))
@click.option("--seconds", default=1e9, help="Begin no run after so many.")
def main(seeds, runs, seconds):
    """Train, score and store what is not there yet; see the file's head."""
    runs.mkdir(parents=True, exist_ok=True)
    files = {(s, seed): runs / f"{s.replace(' ', '-')}-{seed}.json" for seed in SEEDS for s in SETTINGS}
    started = time.perf_counter()
    for (setting, seed), file in files.items():
        if file.exists() or str(seed) not in seeds.split(","):
            continue
        if time.perf_counter() - started > seconds:
            break
        begun = time.perf_counter()
        vae, sprites = trained(SETTINGS[setting], seed)
        ended = time.perf_counter()
        report = {"setting": setting, "seed": seed, **measured(vae, sprites)}
        report |= {"seconds": ended - begun, "score_seconds": time.perf_counter() - ended}
        np.save(file.with_suffix(".npy"), traversals(vae, sprites))
        file.write_text(json.dumps(report))
        brief = {name: round(report[name], 1) for name in ("elbo", "rate", "distortion", "seconds", "score_seconds")}
        click.echo(f"{setting} seed {seed}: {brief} MIG {report['scores']['mig'][0]:.3f}")
    click.echo(table(gathered([file for file in files.values() if file.exists()])))
    if not all(file.exists() for file in files.values()):
        sys.exit("not finished: run the same command again")


if __name__ == "__main__":
    main()
