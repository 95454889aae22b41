"""Images a second in training: this package beside others, interleaved on this machine.

    python benchmarks/throughput.py                                 all that is installed: minutes
    python benchmarks/throughput.py --models mlp-400-20 --contenders tfvae_default,torch_eager

Each contender trains in a process of its own. In each round every contender trains one epoch, in an order
that rotates; medians over the rounds are printed after one round that does not count (it compiles).
"""

import datetime
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import click
import numpy as np

HERE = pathlib.Path(__file__).parent
NEEDED = {"tfvae": "tensorflow", "tf": "tf_keras", "torch": "torch", "jax": "jax"}
# Multiply-adds of one image, forwards, in the layers of the encoder and, for each sample, of the decoder.
LAYERS = {
    "mlp-400-20": (784 * 400 + 400 * 40, 20 * 400 + 400 * 784),
    "mlp-200-200-50": (784 * 200 + 200 * 200 + 200 * 100, 50 * 200 + 200 * 200 + 200 * 784),
    "iwae-50": (784 * 200 + 200 * 200 + 200 * 100, 50 * (50 * 200 + 200 * 200 + 200 * 784)),
}


class Contender:
    def __init__(self, name, model, batch_size):
        command = [sys.executable, HERE / "contenders.py", name, model, str(batch_size)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def epoch(self):
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read()[-500:])
        return json.loads(line)

    def close(self):
        self.process.kill()
        self.process.wait()


def peak_flops():
    """Multiply-adds a second, twice, of this machine's float32 matrix product: the best of ten."""
    import tensorflow as tf

    a = tf.random.normal([2048, 2048])
    multiply = tf.function(lambda: tf.matmul(a, a)[0, 0])
    multiply()
    best = np.inf
    for _ in range(10):
        started = time.perf_counter()
        multiply().numpy()
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best


def measured(names, model, batch_size, rounds):
    contenders, broken = {name: Contender(name, model, batch_size) for name in names}, {}
    results = {name: [] for name in names}
    for i in range(rounds + 1):
        for name in [*names[i % len(names) :], *names[: i % len(names)]]:
            if name in broken:
                continue
            try:
                results[name].append(contenders[name].epoch())
            except RuntimeError as error:
                broken[name] = f"{error}".strip().splitlines()[-1:]
                click.echo(f"{name} failed: {broken[name]}", err=True)
    for contender in contenders.values():
        contender.close()
    return {
        name: {
            "images_per_s": statistics.median(r["images"] / r["seconds"] for r in epochs[1:]),
            "first_epoch_s": epochs[0]["seconds"],
            "peak_mb": epochs[-1]["peak_mb"],
            "loss": epochs[-1]["loss"],
        }
        for name, epochs in results.items()
        if len(epochs) > 1
    }


def installed(name):
    try:
        importlib.metadata.version(NEEDED[name.split("_")[0]])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@click.command()
@click.option("--models", default="mlp-400-20,mlp-200-200-50,iwae-50", help="Between commas.")
@click.option("--batch-sizes", default="128,1024", help="Between commas.")
@click.option("--contenders", help="Between commas [all that are installed].")
@click.option("--rounds", default=3, help="Epochs of each that count.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write the numbers as JSON too.")
def main(models, batch_sizes, contenders, rounds, output):
    """Images a second, and their ratio to this package's; see the file's head."""
    from contenders import CONTENDERS

    names = contenders.split(",") if contenders else [name for name in CONTENDERS if installed(name)]
    peak = peak_flops()
    click.echo(f"matrix product: {peak / 1e9:.0f} GFLOP/s in float32")
    report = {"date": f"{datetime.date.today()}", "command": " ".join(["python", *sys.argv]), "cells": []}
    report |= {"processor": processor(), "cores": os.cpu_count(), "matrix_product_flops": peak, "versions": versions()}
    for model in models.split(","):
        for batch_size in (int(size) for size in batch_sizes.split(",")):
            cell = measured(names, model, batch_size, rounds)
            own = max((r["images_per_s"] for n, r in cell.items() if n.startswith("tfvae")), default=float("nan"))
            click.echo(f"\n{model}, batch {batch_size}")
            columns = "".join(f"{c:>9}" for c in ("us/step", "of peak", "MB", "first s"))
            click.echo(f"  {'':<20}{'images/s':>10}{'best of ours / it':>19}{columns}")
            for name, row in sorted(cell.items(), key=lambda item: -item[1]["images_per_s"]):
                rate = row["images_per_s"]
                row |= {"us_per_step": 1e6 * batch_size / rate, "of_peak": 6 * sum(LAYERS[model]) * rate / peak}
                click.echo(
                    f"  {name:<20}{rate:>10.0f}{own / rate:>19.2f}{row['us_per_step']:>9.0f}{row['of_peak']:>9.0%}"
                    f"{row['peak_mb']:>9.0f}{row['first_epoch_s']:>9.1f}"
                )
            report["cells"].append({"model": model, "batch_size": batch_size, "contenders": cell})
            if output:
                pathlib.Path(output).write_text(json.dumps(report, indent=2) + "\n")


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def versions():
    found = {"python": platform.python_version()}
    for package in ("tensorflow", "tf_keras", "torch", "jax", "numpy"):
        if importlib.util.find_spec(package):
            found[package] = importlib.metadata.version(package)
    return found


if __name__ == "__main__":
    main()
