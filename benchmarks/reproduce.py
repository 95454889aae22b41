"""Runs every benchmark whose numbers stand in README.md, and writes them there.

    python benchmarks/reproduce.py                  half an hour on two cores that do nothing else
    python benchmarks/reproduce.py growth startup   these alone
    python benchmarks/reproduce.py --tables         README.md anew from what is stored

Each leaves its numbers in results/, with date, command, processor and versions.
"""

import json
import pathlib
import statistics
import subprocess
import sys

import click
from reports import RESULTS

HERE = pathlib.Path(__file__).parent
COMMANDS = {
    "throughput": ["throughput.py", "--output", RESULTS / "throughput.json"],
    "throughput_static": [
        "throughput.py", "--binarization", "static", "--models", "mlp-400-20", "--output",
        RESULTS / "throughput_static.json",
    ],
    "precision": ["precision.py"],
    "evidence": ["evidence.py"],
    "growth": ["growth.py"],
    "scaling": ["scaling.py"],
    "streaming_memory": ["streaming_memory.py", "--output", RESULTS / "streaming_memory.json"],
    "startup": ["startup.py"],
}  # fmt: skip
START, END = "<!-- numbers: written by reproduce.py -->", "<!-- end of numbers -->"


def table(head, rows):
    """Markdown; the first column is text."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def origin(report):
    """Where numbers come from, in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return f"`{report['command']}`, {report['date']}, {report['processor']}, {report['cores']} cores; {versions}."


def throughput(report):
    """Images a second, a column for each cell; in brackets, the best of this package in that precision over it."""
    cells = report["cells"].values()
    names = list(dict.fromkeys(name for cell in cells for name in cell["contenders"]))
    rows = [[name, *(rate(cell, name) for cell in cells)] for name in names]
    peaks = {
        dtype: statistics.median(cell["matrix_product_flops"][dtype] for cell in cells)
        for dtype in ("float32", "bfloat16")
    }
    share = [f"{max(of_peak(cell, 'float32')):.0%}" for cell in cells]
    text = [
        f"Images a second in training, {report['binarization']} binarization; in brackets, this package's best in the "
        "same precision over it. Last row: the share of what a large matrix product reaches here "
        f"({peaks['float32'] / 1e9:.0f} GFLOP/s in float32, {peaks['bfloat16'] / 1e9:.0f} in bfloat16), best of this "
        "package in float32.",
        table(["", *(f"{cell['model']}, {cell['batch_size']}" for cell in cells)], [*rows, ["share of peak", *share]]),
    ]
    return "\n\n".join(text)


def rate(cell, name):
    row = cell["contenders"].get(name)
    if row is None:
        return "failed"
    own = [r["images_per_s"] for n, r in cell["contenders"].items() if of_ours(n, name.endswith("bfloat16"))]
    return f"{row['images_per_s']:,.0f} ({max(own) / row['images_per_s']:.2f})"


def of_ours(name, bfloat16):
    return name.startswith("tfvae") and name.endswith("bfloat16") == bfloat16


def of_peak(cell, precision):
    rows = cell["contenders"].items()
    return [row["of_peak"] for name, row in rows if of_ours(name, precision == "bfloat16")]


def precision(report):
    rows = [
        [policy, f"{row['elbo_mean']:.2f}", f"{row['elbo_deviation_over_seeds']:.2f}", f"{row['images_per_s']:,.0f}"]
        for policy, row in report["summary"].items()
    ]
    seeds = len({row["seed"] for row in report["rows"]})
    text = f"Validation ELBO after {report['epochs']} epochs of MNIST, nats an image, over {seeds} seeds."
    return f"{text}\n\n{table(['', 'ELBO', 'deviation over seeds', 'images/s'], rows)}"


def evidence(report):
    seconds = report["seconds_an_image"]
    names = {"log_evidence": "log p(x)", "matrix_products": "its matrix products at peak", "softplus": "one softplus"}
    rows = [[text, f"{1000 * seconds[name]:.1f}"] for name, text in names.items()]
    minutes = 10_000 * seconds["log_evidence"] / 60
    text = f"log p(x) with 5,000 samples an image: 10,000 images take {minutes:.1f} minutes, of which "
    text += f"{seconds['of_floor']:.0%} is the floor. Milliseconds an image:"
    return f"{text}\n\n{table(['', 'ms'], rows)}"


def growth(report):
    rows = [
        [name, ", ".join(f"{size}: {seconds:.2f}" for size, seconds in points)]
        for name, points in report["points"].items()
    ]
    base = ", ".join(f"{name} {size}" for name, size in report["base"].items())
    text = f"Seconds of an epoch as one size grows from {base}."
    return f"{text}\n\n{table(['', 'size: seconds'], rows)}\n\n![growth](results/growth.png)"


def scaling(report):
    ways = {"memory": "one process", "pipeline": "one, reading as workers must", "workers": "two, sharing each batch"}
    rows = [[text, f"{1000 * report['measured'][name]['seconds']:.2f}"] for name, text in ways.items()]
    efficiency = report["weak_scaling_efficiency_of_two"]
    text = f"Milliseconds a step of {report['batch_size']} images a process, a core each, {report['parameters']:,} "
    text += f"parameters. Weak scaling efficiency of two: {efficiency['memory']:.0%}, of the same pipeline "
    text += f"{efficiency['pipeline']:.0%}. Below, what the formula in `scaling.py` expects of a ring."
    expected = [[name, *(f"{v:.1%}" for v in row.values())] for name, row in report["predicted_efficiency"].items()]
    counts = [f"{n} devices" for n in next(iter(report["predicted_efficiency"].values()))]
    return f"{text}\n\n{table(['', 'ms'], rows)}\n\n{table(['', *counts], expected)}"


def streaming_memory(report):
    rows = [
        [row["data_mb"], f"{row['images']:,}", f"{row['peak_mb']:.0f}", f"{row['images_per_s']:,.0f}"]
        for row in report["rows"]
    ]
    text = "Reading TFRecords of 64 x 64 x 3 bytes; peak memory above what the imports hold."
    return f"{text}\n\n{table(['data, MB', 'images', 'peak, MB', 'images/s'], rows)}"


def startup(report):
    words = {
        "help": "`python -m tfvae --help`",
        "tfvae": "`import tfvae`",
        "added": "all modules, beside their imports",
    }
    return table(["", "seconds"], [[text, f"{report['seconds'][name]:.2f}"] for name, text in words.items()])


SECTIONS = {
    "throughput": ("Training", throughput),
    "throughput_static": ("Training, binarized once", throughput),
    "precision": ("Mixed precision", precision),
    "evidence": ("log p(x)", evidence),
    "growth": ("Growth", growth),
    "scaling": ("Several machines", scaling),
    "streaming_memory": ("Data larger than memory", streaming_memory),
    "startup": ("Start-up", startup),
}


def numbers():
    """The part of README.md that is made of results/."""
    parts = []
    for name, (title, section) in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            report = json.loads(path.read_text())
            parts.append(f"## {title}\n\n{section(report)}\n\n{origin(report)}")
    return "\n\n".join(parts)


def with_numbers(text):
    """README.md's text with the stored numbers in their place."""
    before, rest = text.split(START)
    return f"{before}{START}\n\n{numbers()}\n\n{END}{rest.split(END)[1]}"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(COMMANDS))
@click.option("--tables", is_flag=True, help="Run nothing; write the stored numbers into README.md.")
def main(names, tables):
    """Reproduce the numbers of README.md; see the file's head."""
    for name in () if tables else names or COMMANDS:
        script, *arguments = COMMANDS[name]
        click.echo(f"== {name}")
        subprocess.run([sys.executable, HERE / script, *map(str, arguments)], check=True)
    readme = HERE / "README.md"
    readme.write_text(with_numbers(readme.read_text()))


if __name__ == "__main__":
    main()
