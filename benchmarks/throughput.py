"""Images a second in training: this package beside others, interleaved on this machine.

    python benchmarks/throughput.py                                 all that is installed: minutes
    python benchmarks/throughput.py --models conv --contenders tfvae_default,torch_eager
    python benchmarks/throughput.py --check                         do all train the same model?

Each contender trains in a process of its own. In each round every contender trains one epoch, in an order
that rotates; medians over the rounds are printed after one round that does not count (it compiles). Who takes ten
times as long as the quickest sits out after the first round that counts. With --output what is stored already stays,
but for the cells and contenders that are measured again, so that parts can be measured one after the other.
"""

import contextlib
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import tempfile
import time

import click
import numpy as np
import reports
from contenders import CONTENDERS, MODELS, operations

HERE = pathlib.Path(__file__).parent
# Seconds that a contender may take for one epoch, compilation included; and how many times as long as the quickest.
PATIENCE, FAR_BEHIND = 300, 10
# In an epoch on a CPU, so that it takes seconds: convolutions take XLA long there.
NUM_IMAGES = {"mlp-400-20": 25_600, "mlp-200-200-50": 25_600, "iwae-50": 2048, "conv": 2048}
PATH = click.Path(dir_okay=False, path_type=pathlib.Path)
COLUMNS = {"us_per_step": "us/step", "of_peak": "of peak", "peak_mb": "MB", "first_epoch_s": "first s"}
COLUMNS |= {"threads": "threads", "busy_cores": "busy"}


class Process:
    """A contender in a process of its own."""

    def __init__(self, *arguments):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (a pipe that nobody reads would block it)
        command = [sys.executable, HERE / "one_contender.py", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )

    def epoch(self):
        """What it measured in one more epoch.

        Raises:
            RuntimeError: it has died, or does not answer.
        """
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        if not ready:
            raise RuntimeError(f"no answer for {PATIENCE} s")
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError((self.errors.read().strip().splitlines() or ["no message"])[-1])
        return json.loads(line)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


def trained(names, arguments, rounds):
    """{name: what it measured in each of `rounds` epochs}, and {name: why} of the broken."""
    broken, results = {}, {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(contextlib.closing(Process(name, *arguments))) for name in names}
        for i in range(rounds):
            least = min((quickest(epochs) for epochs in results.values() if epochs), default=0)
            for name in [*names[i % len(names) :], *names[: i % len(names)]]:
                if name in broken or (i >= 2 and quickest(results[name]) > FAR_BEHIND * least):
                    continue
                try:
                    results[name].append(processes[name].epoch())
                except RuntimeError as error:
                    broken[name] = f"{error}"
                    processes[name].close()
                    click.echo(f"{name} failed: {error}", err=True)
    return {name: epochs for name, epochs in results.items() if name not in broken}, broken


def quickest(epochs):
    return min(epoch["seconds"] for epoch in epochs)


def summary(epochs, model, batch_size, peak):
    rate = statistics.median(r["images"] / r["seconds"] for r in epochs[1:])
    return {
        "images_per_s": rate,
        "us_per_step": 1e6 * batch_size / rate,
        "of_peak": operations(MODELS[model]) * rate / peak,
        "first_epoch_s": epochs[0]["seconds"],
        "busy_cores": statistics.median(r["busy_cores"] for r in epochs[1:]),
        **{key: epochs[-1][key] for key in ("peak_mb", "threads", "loss")},
    }


def show(cell):
    """Rows from the quickest; each is compared with the best of ours in the same precision."""
    click.echo(f"  {'':<20}{'images/s':>10}{'best of ours / it':>19}{''.join(f'{c:>9}' for c in COLUMNS.values())}")
    for name, row in sorted(cell.items(), key=lambda item: -item[1]["images_per_s"]):
        own = [r["images_per_s"] for n, r in cell.items() if n.startswith("tfvae") and precision(n) == precision(name)]
        ratio = max(own, default=float("nan")) / row["images_per_s"]
        formats = {"of_peak": "9.0%", "first_epoch_s": "9.1f", "busy_cores": "9.1f"}
        values = "".join(format(row[key], formats.get(key, "9.0f")) for key in COLUMNS)
        click.echo(f"  {name:<20}{row['images_per_s']:>10.0f}{ratio:>19.2f}{values}")


def precision(name):
    return "bfloat16" if name.endswith("bfloat16") else "float32"


def check(names, models, arguments, rounds, folder):
    """Losses of the first epochs on 5,000 images, side by side."""
    path = folder / "few.npy"
    np.save(path, images()[:5000])
    for model in models:
        click.echo(f"\n{model}: losses in nats, the mean over each epoch of 5,000 images, batch 128")
        results, _ = trained(names, (model, 128, path, *arguments), rounds)
        for name, epochs in results.items():
            losses = (epoch["loss"] for epoch in epochs)
            click.echo(f"  {name:<20}{''.join(f'{loss:>8.1f}' for loss in losses)}")


def images():
    """MNIST's training images, bytes [55000, 784]; noise of the same mean where there is no MNIST."""
    from tfvae import data

    try:
        return data.load("mnist").images["train"].reshape(-1, 784)
    except OSError:
        click.echo("no MNIST here: noise in its place", err=True)
        return np.random.default_rng(0).integers(0, 68, size=(55_000, 784)).astype(np.uint8)


def stored_cells(output):
    """{name: cell} of an earlier run into the same file."""
    if output is None or not output.exists():
        return {}
    return json.loads(output.read_text())["cells"]


def choose_device(device):
    """Sets what this process and the contenders see, before any framework is imported."""
    if device == "cpu":
        os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    # They share the GPU: none may take all of its memory.
    os.environ |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    if device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise click.ClickException("--device gpu needs a GPU that TensorFlow finds")


def peak_flops(dtype, size):
    """Multiply-adds a second, twice, of a matrix product: the best of ten."""
    import tensorflow as tf

    a = tf.cast(tf.random.normal([size, size]), dtype)
    multiply = tf.function(lambda: tf.matmul(a, a)[0, 0])
    multiply()
    best = np.inf
    for _ in range(10):
        started = time.perf_counter()
        multiply().numpy()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def chosen(context, parameter, value):
    """A list between commas, each of which must be known; without a value, all contenders that are installed."""
    known = {"models": MODELS, "contenders": CONTENDERS}[parameter.name]
    if value is None:
        return [name for name, contender in CONTENDERS.items() if reports.installed(contender.needs)]
    names = value.split(",")
    for name in names:
        if name not in known:
            raise click.BadParameter(f"must be among {', '.join(known)}, got {name!r}")
    return names


@click.command()
@click.option("--models", default=",".join(MODELS), callback=chosen, help=f"Between commas [{','.join(MODELS)}].")
@click.option("--batch-sizes", default="128,1024", help="Between commas [128,1024].")
@click.option("--contenders", callback=chosen, help="Between commas [all that are installed].")
@click.option("--binarization", default="stochastic", type=click.Choice(["stochastic", "static"]), show_default=True)
@click.option("--device", default="cpu", type=click.Choice(["cpu", "gpu"]), show_default=True)
@click.option("--cores", type=click.IntRange(1), help="Pin all to so many cores [those that are there].")
@click.option("--rounds", default=3, type=click.IntRange(1), help="Epochs of each that count.", show_default=True)
@click.option("--check", "only_check", is_flag=True, help="Losses of these epochs on 5,000 images; no times.")
@click.option("--output", type=PATH, help="Write the numbers as JSON too.")
def main(models, batch_sizes, contenders, binarization, device, cores, rounds, only_check, output):
    """Images a second, and their ratio to this package's; see the file's head."""
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])  # the contenders inherit it
    choose_device(device)
    arguments = [*(["--static"] if binarization == "static" else []), *(["--gpu"] if device == "gpu" else [])]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if only_check:
            check(contenders, models, arguments, rounds, folder)
            return
        every = images()
        peaks = {dtype: peak_flops(dtype, 8192 if device == "gpu" else 2048) for dtype in ("float32", "bfloat16")}
        report = reports.head() | {"device": device, "binarization": binarization, "cells": stored_cells(output)}
        click.echo(", ".join(f"{package} {version}" for package, version in report["versions"].items()))
        click.echo(f"{report['processor']}, {report['cores']} cores; threads set: {report['threads'] or 'none'}")
        for dtype, peak in peaks.items():
            click.echo(f"matrix product on the {device}: {peak / 1e9:.0f} GFLOP/s in {dtype}")
        for model in models:
            for batch_size in (int(size) for size in batch_sizes.split(",")):
                few = every if device == "gpu" else every[: NUM_IMAGES[model]]
                np.save(folder / "images.npy", few)
                click.echo(f"\n{model}, batch {batch_size}, {binarization} binarization, {len(few)} images an epoch")
                results, broken = trained(
                    contenders, (model, batch_size, folder / "images.npy", *arguments), rounds + 1
                )
                cell = {n: summary(epochs, model, batch_size, peaks[precision(n)]) for n, epochs in results.items()}
                show(cell)
                known = report["cells"].get(f"{model}, {batch_size}", {"contenders": {}})
                report["cells"][f"{model}, {batch_size}"] = {
                    "model": model,
                    "batch_size": batch_size,
                    "date": report["date"],
                    "matrix_product_flops": peaks,
                    "contenders": known["contenders"] | cell,
                    "broken": broken,
                }
                if output:
                    reports.write(output, report)


if __name__ == "__main__":
    main()
