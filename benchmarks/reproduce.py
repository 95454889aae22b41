"""Runs every benchmark whose numbers stand in README.md, and writes them there.

    python benchmarks/reproduce.py                  an hour on two cores that do nothing else, and hours for `papers`
    python benchmarks/reproduce.py growth waiting   these alone
    python benchmarks/reproduce.py --tables         README.md anew from what is stored

Each leaves its numbers in results/, with date, command, processor and versions.
"""

import pathlib
import subprocess
import sys

import click
import tables
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
    "waiting": ["waiting.py"],
    "step": ["step.py"],
    "sprites": ["sprites.py"],
    "disentanglement": ["disentanglement.py"],
    "settings": ["settings.py", "--again"],
    "papers": ["papers.py", *tables.PUBLISHED],
    "seeds": ["seeds.py", "--seeds", 10],
    "seeds_constant": ["seeds.py", "--schedule", "constant", "--output", RESULTS / "seeds_constant.json"],
    "calibration": ["calibration.py"],
    "gaps": ["gaps.py"],
    "independent": ["independent.py", "--ours"],
    "spot_checks": ["spot_checks.py"],
    "bad_calls": ["bad_calls.py"],
}  # fmt: skip
START, END = "<!-- numbers: written by reproduce.py -->", "<!-- end of numbers -->"


def with_numbers(text):
    """README.md's text with the stored numbers in their place."""
    before, rest = text.split(START)
    return f"{before}{START}\n\n{tables.numbers()}\n\n{END}{rest.split(END)[1]}"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(COMMANDS))
@click.option("--tables", "only_tables", is_flag=True, help="Run nothing; write the stored numbers into README.md.")
def main(names, only_tables):
    """Reproduce the numbers of README.md; see the file's head."""
    for name in () if only_tables else names or COMMANDS:
        script, *arguments = COMMANDS[name]
        click.echo(f"== {name}")
        subprocess.run([sys.executable, HERE / script, *map(str, arguments)], check=True)
    readme = HERE / "README.md"
    readme.write_text(with_numbers(readme.read_text()))


if __name__ == "__main__":
    main()
