"""What bad arguments do: every public function is called as in its example, with one argument after the other replaced.

    python benchmarks/bad_calls.py                    all rooms, some thousand calls
    python benchmarks/bad_calls.py --room data --show the calls of a room that end in another way than they should

Outcomes: refused by name (a ValueError, TypeError, OSError or the like, whose message holds the argument's name);
refused without the name; another error; accepted; not finite (accepted, with NaN or infinity in what is returned);
hangs. A room is walked in a process of its own, whose memory is bounded; one that dies counts as a crash. Functions
without a call in their example are counted too.
"""

import ast
import collections
import contextlib
import doctest
import importlib
import inspect
import io
import json
import os
import pathlib
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import types
import warnings

import click
import numpy as np

MEMORY = 12 * 2**30  # bytes of address space beyond what TensorFlow has taken
SECONDS = 20  # of a call
OUTCOMES = ("refused by name", "refused without the name", "another error", "accepted", "not finite", "hangs")
BAD = {
    "None": None,
    "text": "abc",
    "-1": -1,
    "0": 0,
    "0.5": 0.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "2^40": 2**40,
    "empty": [],
    "dict": {},
    "object": object(),
    "bytes": b"\0",
    "nan array": np.full([2, 8, 8, 1], np.nan, np.float32),
    "wrong shape": np.zeros([2, 3], np.float32),
    "function": lambda *args, **kwargs: None,
}


def public():
    """{dotted name: function or class} of all rooms, without the command line."""
    import tfvae

    found = {}
    rooms = [
        name for _, name, _ in pkgutil.iter_modules(tfvae.__path__) if name not in ("cli", "__main__", "notebooks")
    ]
    for room in rooms:
        module = importlib.import_module(f"tfvae.{room}")
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if callable(value) and not (isinstance(value, type) and issubclass(value, Exception)):
                found.setdefault(id(value), (f"{room}.{name}", value))
    return dict(found.values())


def good_call(function):
    """(args, kwargs) of the first call of a function in its examples, or None."""
    import tensorflow as tf

    import tfvae

    names = {"np": np, "tf": tf, "tfvae": tfvae}
    for example in doctest.DocTestParser().get_examples(function.__doc__ or ""):
        for statement in ast.parse(example.source).body:
            for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
                with contextlib.suppress(Exception):
                    if evaluated(call.func, names) is function:
                        args = [evaluated(arg, names) for arg in call.args]
                        kwargs = {keyword.arg: evaluated(keyword.value, names) for keyword in call.keywords}
                        return args, kwargs
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                exec(compile(ast.Module([statement], []), "example", "exec"), names)
    return None


def evaluated(node, names):
    return eval(compile(ast.Expression(node), "example", "eval"), names)


def outcome_of(function, args, kwargs, argument):
    """One of OUTCOMES, and the error."""

    def stop(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            result = function(*args, **kwargs)
            numbers = flat(next(result) if isinstance(result, types.GeneratorType) else result)
    except TimeoutError:
        return "hangs", ""
    except (ValueError, TypeError, OSError, FloatingPointError, NotImplementedError) as error:
        named = argument in str(error)
        return ("refused by name" if named else "refused without the name"), f"{type(error).__name__}: {error}"
    except Exception as error:
        return "another error", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return ("accepted" if all(np.isfinite(n).all() for n in numbers) else "not finite"), ""


def flat(result):
    """The arrays of floats in what a function returned."""
    import tensorflow as tf

    with contextlib.suppress(Exception):
        leaves = tf.nest.flatten(result, expand_composites=False)
        arrays = [np.asarray(leaf) for leaf in leaves if isinstance(leaf, tf.Tensor | np.ndarray | float)]
        return [array for array in arrays if array.dtype.kind == "f"]
    return []


def walk(room):
    """[function, argument, bad value, outcome, error] of a room's calls, a line of JSON each."""
    import tensorflow as tf

    tf.zeros([])
    taken = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY,) * 2)
    for name, function in public().items():
        if name.split(".")[0] != room:
            continue
        call = good_call(function)
        if call is None:
            print(json.dumps([name, "", "", "no example", ""]), flush=True)
            continue
        bound = inspect.signature(function).bind(*call[0], **call[1])
        for argument, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            for label, value in BAD.items():
                arguments = {**bound.arguments, argument: value}
                bad = inspect.BoundArguments(
                    bound.signature,
                    collections.OrderedDict(
                        (key, arguments[key]) for key in bound.signature.parameters if key in arguments
                    ),
                )
                print(
                    json.dumps([name, argument, label, *outcome_of(function, bad.args, bad.kwargs, argument)]),
                    flush=True,
                )


def walked(room):
    """The calls of `walk` in a process of its own, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        script, path = str(pathlib.Path(__file__).resolve()), os.pathsep.join(p for p in sys.path if p)
        environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"}
        found = subprocess.run(
            [sys.executable, script, "--walk", room], cwd=folder, env=environment, capture_output=True, text=True
        )
    return [json.loads(line) for line in found.stdout.splitlines() if line.startswith("[")], found.returncode


@click.command()
@click.option("--room", "only", multiple=True, help="Only these rooms.")
@click.option("--show", is_flag=True, help="Show the calls that end in another way than they should.")
@click.option("--walk", "child", hidden=True)
def main(only, show, child):
    """Call every public function with bad arguments, and count what happens."""
    if child:
        return walk(child)
    rows = {}
    for room in only or sorted({name.split(".")[0] for name in public()}):
        calls, code = walked(room)
        count = collections.Counter(call[3] for call in calls)
        rows[room] = {"calls": sum(count[outcome] for outcome in OUTCOMES), **{o: count[o] for o in OUTCOMES}}
        rows[room] |= {"crashes": int(code != 0), "functions without a call": count["no example"]}
        click.echo(f"{room:<16}" + "  ".join(f"{key} {number}" for key, number in rows[room].items()))
        for name, argument, label, outcome, error in calls if show else ():
            if outcome not in ("refused by name", "accepted"):
                click.echo(f"    {outcome:<26}{name}({argument}={label})  {error[:150]}")


if __name__ == "__main__":
    main()
