"""What bad input does: calls with one bad argument, command lines, files and servers' answers, and how each ends.

    python benchmarks/bad_calls.py                    all, in results/bad_calls.json; `reproduce.py --tables` shows them
    python benchmarks/bad_calls.py --only data --show the calls of one part that end in another way than they should

Outcomes: refused by name (ValueError, TypeError, OSError or the like, whose message holds the name of the argument, the
option or the file); refused without it; another error; accepted; not finite (accepted, with NaN or infinity in what is
returned); hangs (20 s); crash (of the process). A part is walked in a process of its own, whose memory is bounded.
"""

import contextlib
import functools
import io
import json
import os
import pathlib
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import types
import warnings

import click
import numpy as np
from reports import head, output_option, write

MEMORY = 12 * 2**30  # bytes of address space beyond what TensorFlow has taken
SECONDS = 20  # of a call; a process that says nothing for twice as long is ended
STARTING = 600  # seconds until the first call
OUTCOMES = ("refused by name", "refused without the name", "another error", "accepted", "not finite", "hangs", "crash")
REFUSALS = (ValueError, TypeError, OSError, FloatingPointError, NotImplementedError, ImportError)


class OutOfTime(BaseException):
    """Not a TimeoutError, which is an OSError, and so may be caught by what is called."""


def outcome_of(call, argument):
    """One of OUTCOMES, and the error."""

    def stop(*_):
        raise OutOfTime

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            result = call()
            numbers = floats(next(result) if isinstance(result, types.GeneratorType) else result)
    except OutOfTime:
        return "hangs", ""
    except REFUSALS as error:
        named = re.search(rf"(?<!\w){re.escape(argument)}(?!\w)", str(error))
        return ("refused by name" if named else "refused without the name"), f"{type(error).__name__}: {error}"
    except Exception as error:
        return "another error", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return ("accepted" if all(np.isfinite(n).all() for n in numbers) else "not finite"), ""


def floats(result):
    """The arrays of floats in what a call returned."""
    import tensorflow as tf

    from tfvae import diagnostics

    if isinstance(result, diagnostics.Evidence):
        result = result._replace(pareto_k=None)  # of fewer than 25 weights it is NaN, as it says

    with contextlib.suppress(Exception):
        leaves = tf.nest.flatten(result, expand_composites=False)
        arrays = [np.asarray(leaf) for leaf in leaves if isinstance(leaf, tf.Tensor | np.ndarray | float)]
        return [array for array in arrays if array.dtype.kind == "f"]
    return []


def walk(part, first):
    """Two lines of JSON for each call from the first on: [what, argument, bad value], and [outcome, error]."""
    import bad_inputs
    import tensorflow as tf

    tf.zeros([])
    taken = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY,) * 2)
    say = functools.partial(print, file=os.fdopen(os.dup(1), "w"), flush=True)
    for i, (what, argument, label, call) in enumerate(bad_inputs.PARTS[part]()):
        if i >= first:
            say(json.dumps([what, argument, label]))
            # In a copy of the folder: what a call writes must not be there at the next.
            with tempfile.TemporaryDirectory() as new, contextlib.chdir(shutil.copytree(".", f"{new}/copy")):
                say(json.dumps(outcome_of(call, argument)))


def walked(part):
    """[[what, argument, bad value, outcome, error], ...]: `walk` in a process that is started again where it ends."""
    calls: list = []
    script, path = str(pathlib.Path(__file__).resolve()), os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"}
    while True:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, script, "--walk", part, "--first", str(len(calls))]
            how = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
            process = subprocess.Popen(command, cwd=folder, env=environment, **how)
            pending, end = followed(process, calls)
            process.kill()
            process.wait()
        if pending is None:
            if end:
                raise RuntimeError(f"{part}: the walk did not start")
            return calls
        calls.append([*pending, end, ""])


def followed(process, calls):
    """Adds a process's calls; gives the one in which it ended, or None, and how it ended."""
    lines: queue.Queue = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in (*process.stdout, None)], daemon=True).start()
    pending, wait = None, STARTING
    with contextlib.suppress(queue.Empty):
        while (line := lines.get(timeout=wait)) is not None:
            found, wait = json.loads(line), 2 * SECONDS
            if pending is None:
                pending = found
            else:
                calls.append([*pending, *found])
                pending = None
        return pending, "crash" if process.wait() else ""
    return pending, "hangs"


def count(calls):
    """{outcome: number} of calls."""
    return {outcome: sum(call[3] == outcome for call in calls) for outcome in OUTCOMES}


@click.command()
@click.option("--only", multiple=True, help="Only these parts; the others' numbers stay as they are stored.")
@click.option("--show", is_flag=True, help="Show the calls that end in another way than they should.")
@click.option("--walk", "child", hidden=True)
@click.option("--first", type=int, default=0, hidden=True)
@output_option("bad_calls")
def main(only, show, child, first, output):
    """Try bad input of every kind, and count what happens."""
    if child:
        return walk(child, first)
    import bad_inputs

    stored = json.loads(output.read_text())["parts"] if only and output.exists() else {}
    for part in only or bad_inputs.PARTS:
        calls = walked(part)
        stored[part] = count(calls)
        click.echo(f"{part:<16}" + "  ".join(f"{outcome} {number}" for outcome, number in stored[part].items()))
        wrong = [call for call in calls if call[3] not in ("refused by name", "accepted")]
        for what, argument, label, outcome, error in wrong if show else ():
            click.echo(f"    {outcome:<26}{what}({argument}={label})  {' '.join(error[:150].split())}")
        parts = {name: stored[name] for name in bad_inputs.PARTS if name in stored}
        write(output, {**head(), "parts": parts})


if __name__ == "__main__":
    main()
