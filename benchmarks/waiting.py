"""How long one waits, from the user's chair: a stopwatch for each thing that a person starts.

    python benchmarks/waiting.py                    minutes; writes results/waiting.json
    python benchmarks/waiting.py --long             also the whole course and the test suite: half an hour more

Each command in a process of its own, twice, one run after the other. What is TensorFlow's own stands beside.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import click
import reports

ROOT = pathlib.Path(__file__).resolve().parents[1]
STANDS_ON = "import tensorflow, tf_keras, tensorflow_probability, sklearn.datasets, sklearn.model_selection; "
STANDS_ON += "import scipy, tqdm, matplotlib.pyplot, tensorflow_serving.apis.predict_pb2; tensorflow_probability.layers"
REQUEST = (
    "import tensorflow as tf; served = tf.saved_model.load('saved_models/mnist10k/1').signatures; print('loaded'); "
)
REQUEST += "served['serving_default'](image=tf.zeros([1, 28, 28, 1]))"
TRAINED = {
    "first line of progress": r"epoch \d+/\d+",
    "end of training": r"epoch (\d+)/\1\b",
    "its card": "^run: ",
    "its export": "^SavedModel",
}
COMMANDS = {  # what, {moment: pattern of a line that marks it}; the end of the process counts too
    "import tensorflow": (["-c", "import tensorflow"], {}),
    "all that the package imports": (["-c", STANDS_ON], {}),
    "import tfvae": (["-c", "import tfvae"], {}),
    "import tfvae, with all rooms": (["-c", "import tfvae; [getattr(tfvae, name) for name in tfvae.__all__]"], {}),
    "tfvae --help": (["-m", "tfvae", "--help"], {}),
    "tfvae train": (["-m", "tfvae", "train", "--output", "{folder}/run", "--export-to", "{folder}/model"], TRAINED),
    "tfvae evaluate": (["-m", "tfvae", "evaluate", "{folder}/run"], {}),
    "tfvae export": (["-m", "tfvae", "export", "{folder}/run", "--to", "{folder}/again"], {}),
    "a served model's first answer": (["-c", REQUEST], {"loading": "^loaded"}),
    "a notebook's first cell": (["-c", "from tfvae.notebooks import setup; setup(seed=0)"], {}),
    "notebook 00": (["-m", "pytest", "-q", "--nbval", "notebooks/00_start_here.ipynb"], {}),
}
LONG = {
    "the course": (["-m", "pytest", "-q", "--nbval", "notebooks"], {}),
    "the test suite": (["-m", "pytest", "-q", "-n", "2", "tests", "notebooks"], {}),
}
ONCE = ("tfvae train", *LONG)


def stopwatch(arguments, marks):
    """Seconds to each mark and to the end of a Python process."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    seconds, started = {}, time.perf_counter()
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, **pipes) as process:
        for line in process.stdout:
            for name, pattern in marks.items():
                if name not in seconds and re.search(pattern, line):
                    seconds[name] = time.perf_counter() - started
    if process.returncode or seconds.keys() != marks.keys():
        raise RuntimeError(f"{arguments} failed, or printed no line for one of {list(marks)}")
    return seconds | {"end": time.perf_counter() - started}


@click.command()
@click.option("--long", is_flag=True, help="The whole course and the test suite, too.")
@reports.output_option("waiting")
def main(long, output):
    """Seconds to each moment; see the file's head."""
    rows = {}
    with tempfile.TemporaryDirectory(prefix="tfvae-waiting-") as folder:
        for name, (arguments, marks) in (COMMANDS | (LONG if long else {})).items():
            filled = [argument.replace("{folder}", folder) for argument in arguments]
            rows[name] = [stopwatch(filled, marks) for _ in range(1 if name in ONCE else 2)]
            times = (", ".join(f"{moment} {s:.1f}" for moment, s in row.items()) for row in rows[name])
            click.echo(f"{name:<34}{'   again: '.join(times)}")
    reports.write(output, reports.head() | {"seconds": rows})


if __name__ == "__main__":
    main()
