"""What the settings of a training give: 784-200-200-50 on MNIST for a few epochs, judged on held-out images.

    python benchmarks/settings.py               about 45 minutes on one core; what is there already is not repeated
    python benchmarks/settings.py --list        what is stored

The data are those of papers.py, but for 5,000 training images held out. Each row changes in the first what it
names; the rate falls to a hundredth along a cosine. Numbers go to results/settings.json: the negative log-likelihood of
the first 1,000 held-out images by 300 importance samples, in nats per image, and the minutes of a processor.
"""

import time

import click
import numpy as np
import reports
import tensorflow as tf
from papers import ROWS
from training import trained

from tfvae import diagnostics
from tfvae.support import files

OUTPUT = reports.RESULTS / "settings.json"
BASE = ROWS["vae-1-adam"].replace(validation_size=5000, epochs=20, learning_rate=4e-3)
MUON = {"optimizer": "muon", "learning_rate": 8e-3}
IWAE_5 = MUON | {"batch_size": 400, "objective": "iwae", "num_samples": 5}
DREG_5 = IWAE_5 | {"objective": "dreg_iwae"}
TWO_LAYERS = {name: getattr(ROWS["2l-vae-1"], name) for name in ("posterior", "prior", "latent_sizes")}
SETTINGS = {
    "rate 4e-3, batch 100, output bias from the data": {},
    "output bias 0": {"mean_bias": False},
    "rate 1e-3": {"learning_rate": 1e-3},
    "rate 2e-3": {"learning_rate": 2e-3},
    "rate 8e-3": {"learning_rate": 8e-3},
    "rate 1e-3, constant": {"learning_rate": 1e-3, "schedule": "constant"},
    "batch 20, rate 1e-3": {"batch_size": 20, "learning_rate": 1e-3},
    "batch 50, rate 2e-3": {"batch_size": 50, "learning_rate": 2e-3},
    "batch 200, rate 8e-3": {"batch_size": 200, "learning_rate": 8e-3},
    "mean of the weights of the last 4 epochs": {"averaged_epochs": 4},
    "beta from 0 to 1 in 5 epochs": {"objective": "beta_elbo", "warmup_steps": 2750},
    "binarized once": {"binarize": "static"},
    "Muon, rate 4e-3, batch 100": MUON | {"learning_rate": 4e-3},
    "Muon, rate 8e-3, batch 200": MUON | {"batch_size": 200},
    "Muon, rate 8e-3, batch 400": MUON | {"batch_size": 400},
    "Muon, rate 5e-3, batch 400": MUON | {"batch_size": 400, "learning_rate": 5e-3},
    "Muon, rate 16e-3, batch 400": MUON | {"batch_size": 400, "learning_rate": 16e-3},
    "two layers of latents": TWO_LAYERS,
    "two layers of latents, Muon, rate 8e-3, batch 400": TWO_LAYERS | MUON | {"batch_size": 400},
    "batches of 50, then of 200": {"batch_sizes": (50, 200)},
    "Muon, rate 8e-3, batches of 100, then of 400": MUON | {"batch_sizes": (100, 400)},
    "Muon, rate 4e-3, batches of 100, then of 400": MUON | {"learning_rate": 4e-3, "batch_sizes": (100, 400)},
    "iwae 5, Muon, rate 8e-3, batch 400": IWAE_5,
    "dreg_iwae 5, Muon, rate 8e-3, batch 400": DREG_5,
    "dreg_iwae 5, Muon, rate 4e-3, batch 400": DREG_5 | {"learning_rate": 4e-3},
    "dreg_iwae 1 to 5, Muon, rate 8e-3, batch 400": DREG_5 | {"warmup_steps": 2484},
    "dreg_iwae 1 to 50, Muon, rate 8e-3, batch 400": DREG_5 | {"num_samples": 50, "warmup_steps": 2484},
    "two layers of latents, iwae 5, Muon, rate 8e-3, batch 400": TWO_LAYERS | IWAE_5,
    "two layers of latents, dreg_iwae 5, Muon, rate 8e-3, batch 400": TWO_LAYERS | DREG_5,
    "half the epochs": {"epochs": 10},
    "twice the epochs": {"epochs": 40},
}
NUM_IMAGES, NUM_SAMPLES = 1000, 300
NUMBERS = ("nll", "elbo", "active_units", "processor_minutes")


def row(setting):
    """The numbers of one setting."""
    started = time.process_time()
    changed = dict(SETTINGS[setting])
    batch_sizes = changed.pop("batch_sizes", ())
    vae, data = trained(BASE.replace(**changed), batch_sizes)
    minutes = (time.process_time() - started) / 60
    x = data.x_validation[:NUM_IMAGES]
    found = diagnostics.measure(vae, x, NUM_SAMPLES)
    return {
        "setting": setting,
        "nll": -float(np.mean(found.log_evidence)),
        "elbo": float(np.mean(found.elbo)),
        "active_units": int(diagnostics.active_units(vae, x).sum()),
        "processor_minutes": round(minutes, 2),
        "processor": reports.processor(),
    }


def show(result):
    numbers = "".join(f"  {name} {value:.4g}" for name, value in result.items() if name in NUMBERS)
    click.echo(f"{result['setting']:<64}{numbers}")


@click.command()
@click.option("--again", is_flag=True, help="Forget what is stored.")
@click.option("--list", "only_list", is_flag=True, help="Show what is stored.")
def main(again, only_list):
    """Train, measure and store what is not there yet; see the file's head."""
    known = OUTPUT.exists() and not again
    report = files.read_json(OUTPUT) if known else reports.head() | {"recipe": BASE.to_dict(), "rows": []}
    for result in report["rows"]:
        show(result)
    if only_list:
        return
    for setting in SETTINGS:
        if setting not in [result["setting"] for result in report["rows"]]:
            report["rows"].append(row(setting))
            show(report["rows"][-1])
            reports.write(OUTPUT, report)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
