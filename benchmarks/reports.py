"""What the benchmarks store beside their numbers: when, by which command, where, with which versions."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import sys

import click

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def output_option(name):
    """The command line's `--output`, results/NAME.json unless told."""
    kind = click.Path(dir_okay=False, path_type=pathlib.Path)
    return click.option("--output", default=RESULTS / f"{name}.json", type=kind, help="Where the numbers go, as JSON.")


def write(path, report):
    """The report as JSON."""
    path.write_text(json.dumps(report, indent=2) + "\n")


def head():
    """What stands at the head of every stored result: when, by which command, where, with what."""
    script, *arguments = sys.argv
    repository = f"{RESULTS.parent.parent}/"
    command = " ".join(["python", f"benchmarks/{pathlib.Path(script).name}", *arguments]).replace(repository, "")
    return {"date": f"{datetime.date.today()}", "command": command, **machine()}


def machine():
    threads = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    found = {"processor": processor(), "cores": cores, "threads": threads, "versions": versions()}
    return {**found, "accelerator": name} if (name := accelerator()) else found


def accelerator():
    """The name of the GPU that TensorFlow trains on, if there is one."""
    if (tf := sys.modules.get("tensorflow")) is None or not (gpus := tf.config.list_physical_devices("GPU")):
        return None
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def versions():
    found = {"python": platform.python_version()}
    for package in ("tensorflow", "tf_keras", "keras", "torch", "jax", "numpy"):
        if installed(package):
            found[package] = importlib.metadata.version(package)
    return found


def installed(package):
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
