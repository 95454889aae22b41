"""How long one waits before anything happens.

    python benchmarks/startup.py                        a minute; writes results/startup.json

Each command in a process of its own, in turns, after a first one that does not count; medians. What the package adds
is the difference between importing all of its public modules and importing what they stand on.
"""

import os
import statistics
import subprocess
import sys
import time

import click
import reports

STANDS_ON = "import tensorflow, tf_keras, tensorflow_probability, sklearn.datasets, sklearn.model_selection; "
STANDS_ON += "import scipy, tqdm, matplotlib.pyplot, requests, tensorflow_serving.apis.predict_pb2; "
STANDS_ON += "tensorflow_probability.layers"
COMMANDS = {
    "help": ["-m", "tfvae", "--help"],
    "tfvae": ["-c", "import tfvae"],
    "stands_on": ["-c", STANDS_ON],
    "all_modules": ["-c", f"{STANDS_ON}; import tfvae; [getattr(tfvae, name) for name in tfvae.__all__]"],
}


@click.command()
@click.option("--rounds", default=7, type=click.IntRange(1), show_default=True)
@reports.output_option("startup")
def main(rounds, output):
    """Seconds to the help text and to an import; see the file's head."""
    taken = {name: [] for name in COMMANDS}
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    for _ in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
            taken[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(times[1:]) for name, times in taken.items()}
    seconds["added"] = statistics.median(a - b for a, b in zip(taken["all_modules"], taken["stands_on"], strict=True))
    for name, value in seconds.items():
        click.echo(f"{name:<12}{value:>7.2f} s")
    reports.write(output, reports.head() | {"seconds": seconds})


if __name__ == "__main__":
    main()
