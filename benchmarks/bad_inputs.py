"""The bad input of `bad_calls.py`: parts, each of (what is called, argument, bad value in words, call)."""

import ast
import contextlib
import copy
import doctest
import functools
import http.server
import importlib.machinery
import importlib.util
import inspect
import io
import json
import pathlib
import pkgutil
import shutil
import sys
import threading

import click.testing
import numpy as np
import tensorflow as tf

import tfvae
import tfvae.cli
from tfvae.support import files

BAD = {
    "None": None,
    "text": "abc",
    "-1": -1,
    "0": 0,
    "0.5": 0.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "2^40": 2**40,
    "True": True,
    "empty": [],
    "dict": {},
    "object": object(),
    "bytes": b"\0",
    "nan array": np.full([2, 8, 8, 1], np.nan, np.float32),
    "wrong shape": np.zeros([2, 3], np.float32),
    "function": lambda *args, **kwargs: None,
}
ROOMS = [name for _, name, _ in pkgutil.iter_modules(tfvae.__path__) if name not in ("cli", "__main__", "notebooks")]


def public():
    """{dotted name: function or class} of all rooms, without the command line and what has no calls."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(f"tfvae.{room}")
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if callable(value) and not (isinstance(value, type) and issubclass(value, Exception)):
                found.setdefault(id(value), (f"{room}.{name}", value))
    return dict(found.values())


def good_call(function):
    """{argument: value} of the first call of a function in its examples that run, or None."""
    names = {"np": np, "tf": tf, "tfvae": tfvae}
    examples = doctest.DocTestParser().get_examples(function.__doc__ or "")
    for example in (one for one in examples if one.exc_msg is None and doctest.SKIP not in one.options):
        for statement in ast.parse(example.source).body:
            for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
                with contextlib.suppress(Exception):
                    if evaluated(call.func, names) is function:
                        args = [evaluated(arg, names) for arg in call.args]
                        kwargs = {keyword.arg: evaluated(keyword.value, names) for keyword in call.keywords}
                        return inspect.signature(function).bind(*args, **kwargs).arguments
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                exec(compile(ast.Module([statement], []), "example", "exec"), names)
    return None


def evaluated(node, names):
    return eval(compile(ast.Expression(node), "example", "eval"), names)


def calls_of(what, function, good, more=()):
    """The good call; then with one argument after the other, and some of its **kwargs, replaced by each bad value."""
    signature = inspect.signature(function)
    yield what, "the good call", "", functools.partial(called, function, signature, good)
    single = [n for n, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for argument in (*single, *more):
        for label, value in BAD.items():
            yield what, argument, label, functools.partial(called, function, signature, good, argument, value)


def called(function, signature, good, argument="", value=None):
    changed = inspect.BoundArguments(signature, dict(good))
    if argument in signature.parameters:
        changed.arguments = {n: {**good, argument: value}[n] for n in signature.parameters if n in (*good, argument)}
        return function(*changed.args, **changed.kwargs)
    return function(*changed.args, **changed.kwargs | ({argument: value} if argument else {}))


def of_room(room):
    """The functions and classes of a room, by their examples; then the methods of its objects."""
    for name, function in public().items():
        if name.split(".")[0] == room and (good := good_call(function)) is not None:
            yield from calls_of(name, function, good)
    for name, method, good, more in METHODS.get(room, list)():
        yield from calls_of(f"{room}.{name}", method, good, more)


class Accepted(BaseException):
    """Raised in place of the work that a call has been accepted for."""


def accepted(*args, **kwargs):
    raise Accepted


def checking(function):
    """The function up to what raises `Accepted`."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        with contextlib.suppress(Accepted):
            return function(*args, **kwargs)

    return call


def small_vae(**options):
    return tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli", latent_size=2, **options))


def vae_methods():
    vae, x = small_vae(), np.zeros([4, 8, 8, 1], np.float32)
    vae.compile()
    keras = ("epochs", "initial_epoch", "validation_data", "validation_split", "steps_per_epoch", "validation_freq")
    yield "encode", vae.encode, {"x": x}, ()
    yield "decode", vae.decode, {"z": np.zeros([3, 2], np.float32)}, ()
    yield "generate", vae.generate, {"n": 2}, ()
    yield "reconstruct", vae.reconstruct, {"x": x}, ()
    yield "check_support", vae.check_support, {"x": x}, ()
    yield "compile", vae.compile, {}, ("jit_compile", "steps_per_execution", "run_eagerly")
    vae.compile()
    yield "fit", vae.fit, {"x": x, "batch_size": 2, "verbose": 0}, (*keras, "sample_weight", "shuffle")
    yield "evaluate", vae.evaluate, {"x": x, "batch_size": 2, "verbose": 0}, ("steps", "sample_weight")
    yield "predict", vae.predict, {"x": x, "batch_size": 2, "verbose": 0}, ("steps",)
    yield "train_on_batch", vae.train_on_batch, {"x": x}, ()
    yield "test_on_batch", vae.test_on_batch, {"x": x}, ()


def conditional_methods():
    vae, x, labels = (
        small_vae(conditional=True, num_classes=3),
        np.zeros([4, 8, 8, 1], np.float32),
        np.array([0, 1, 2, 0]),
    )
    vae.compile()
    z = np.zeros([4, 2], np.float32)
    yield "given", vae.given, {"labels": labels}, ()
    yield "encode", vae.encode, {"x": x, "labels": labels}, ()
    yield "decode", vae.decode, {"z": z, "labels": labels}, ()
    yield "generate", vae.generate, {"labels": labels}, ()
    yield "reconstruct", vae.reconstruct, {"x": x, "labels": labels}, ()
    yield "predict", vae.predict, {"x": x, "labels": labels, "verbose": 0}, ()
    yield "fit", vae.fit, {"x": x, "y": labels, "verbose": 0}, ()


def data_methods():
    digits, factors = tfvae.data.load("digits"), np.argwhere(np.ones([3, 5]))
    bars = tfvae.data.from_factors(np.zeros([15, 4, 4], np.uint8), factors)
    tfvae.data.to_tfrecords(np.full([6, 4, 4, 1], 51, np.uint8), "of_stream")
    stream = tfvae.data.from_tfrecords("of_stream/*", (4, 4, 1), test="of_stream/*", count=True)
    for name, data in {"ImageData": digits, "Stream": stream}.items():
        for split in ("train", "test"):
            yield f"{name}.{split}", getattr(data, split), {"batch_size": 2}, ()
    yield "FactorData.images", bars.images, {"factors": factors[:2]}, ()
    yield "FactorData.sample_factors", bars.sample_factors, {"n": 2}, ()
    yield "FactorData.sample_given_factors", bars.sample_given_factors, {"n": 2, "given": {"factor_0": 1}}, ()
    yield "Batches.take", digits.train(100).take, {"count": 2}, ()
    yield "Batches.map", digits.train(100).map, {"function": lambda x: x}, ()
    yield "Batches.from_epoch", digits.train(100).from_epoch, {"first": 0}, ()


def linear_methods():
    model = tfvae.linear.LinearGaussian(np.eye(3, 2), np.zeros(3), 0.5)
    yield "posterior", model.posterior, {"x": np.eye(3)}, ()
    yield "likelihood", model.likelihood, {"z": np.zeros([3, 2])}, ()


def recipe_methods():
    recipe = tfvae.Recipe()
    fields = tuple(recipe.to_dict())
    yield "Recipe", tfvae.Recipe, {}, fields
    yield "Recipe.from_dict", lambda recipe: tfvae.Recipe.from_dict(recipe), {"recipe": {}}, ()


def runs_methods():
    run, options = "run", {"num_samples": 2, "verbose": False}
    np.savez("tiny.npz", x=np.full([40, 8, 8], 51, np.uint8))
    recipe = tfvae.Recipe(data="npz:tiny.npz", epochs=1, batch_size=20, latent_size=2, hidden_sizes=(4,))
    tfvae.runs.start(recipe, run, **options)
    tfvae.VAE.fit = accepted
    more = ("num_samples", "verbose", "callbacks")
    yield "start", checking(tfvae.runs.start), {"recipe": recipe, "output": "new", "options": options}, more
    yield "resume", tfvae.runs.resume, {"run": run, "options": options}, more
    yield "load", tfvae.runs.load, {"run": run}, ()
    yield "load_data", tfvae.runs.load_data, {"run": run}, ()
    yield "read_recipe", tfvae.runs.read_recipe, {"path": f"{run}/recipe.json"}, ()
    yield "encode", tfvae.runs.encode, {"run": run, "to": "latents.csv"}, ()


def train_methods():
    if importlib.util.find_spec("tensorboard") is None:  # which Curves asks for, and does not use before training
        spec = importlib.machinery.ModuleSpec("tensorboard", None)
        sys.modules["tensorboard"] = importlib.util.module_from_spec(spec)
    yield "Curves", tfvae.train.Curves, {"directory": "logs"}, ()


def serving_methods():
    vae, x = small_vae(), np.zeros([2, 8, 8, 1], np.float32)
    tfvae.serving.export(vae, "exported", num_samples=1)
    yield "export", tfvae.serving.export, {"vae": vae, "directory": "models", "num_samples": 1}, ()
    yield "openapi_document", tfvae.serving.openapi_document, {"path": "exported/1", "model": "digits"}, ()
    yield "verify", tfvae.serving.verify, {"path": "exported/1", "vae": vae, "x": x}, ()
    by_row = [{"image": [0.0, 1.0], "score": [1.0]}, {"image": [0.5, 0.5], "score": [2.0]}]
    answers = ANSWERS | {f"{_MODEL}:predict": ANSWERS[f"{_MODEL}:predict"] | {"predictions": by_row}}
    with contextlib.closing(tfvae.serving.Client(server(lambda path: answers[path]), "digits", retries=0)) as client:
        good = {"signature": "decode", "inputs": {"latent": np.zeros([2, 3], np.float32)}}
        yield "Client.predict", client.predict, good, ("latent",)


METHODS = {
    "vae": vae_methods,
    "conditional": conditional_methods,
    "data": data_methods,
    "linear": linear_methods,
    "recipes": recipe_methods,
    "runs": runs_methods,
    "train": train_methods,
    "serving": serving_methods,
}


def command_lines():
    """Every option of every command, with bad words; no training is run, no model written, no server asked."""

    recipe = tfvae.Recipe(data="digits", likelihood="bernoulli", binarize="static", latent_size=2)
    vae = tfvae.build(recipe.complete(recipe.load_data()))
    tfvae.save(vae, "run")
    tfvae.serving.export(vae, "model", num_samples=1)
    files.write_json("run/evaluation_card.json", tfvae.diagnostics.evaluation_card(vae, recipe.load_data(), 2))
    tfvae.VAE.fit = tfvae.serving.savedmodel.signatures = tfvae.serving.check = accepted
    tfvae.diagnostics.card.measure = accepted
    words = (
        "",
        "abc",
        "-1",
        "0",
        "0.5",
        "nan",
        "1e400",
        "1099511627776",
        "8,,8",
        "null",
        "gs://b/c",
        "x" * 300,
    )
    commands = {"train": [], "resume": ["run"], "evaluate": ["run", "--num-samples", "2"], "export": ["run"]}
    commands |= {"encode": ["run", "--to", "latents.csv"], "explore": ["run"], "serve-check": []}
    commands["litert"] = ["model/1", "--to", "model.tflite"]
    for name, arguments in commands.items():
        command = tfvae.cli.main.commands[name]
        yield name, "the good call", "", functools.partial(checking(run), "", [name, *arguments])
        for option in command.get_params(click.Context(command)):
            for word in () if getattr(option, "is_flag", False) or option.is_eager else words:
                line = [name, *with_word(arguments, option, word)]
                yield name, option.name.replace("_", "-"), word, functools.partial(checking(run), option.name, line)


def with_word(arguments, option, word):
    """The arguments of a command with a word for one of its options, or for its own argument, which comes first."""
    if isinstance(option, click.Argument):
        return [*arguments[1:], "--", word]
    flag = option.opts[0]
    at = arguments.index(flag) if flag in arguments else len(arguments)
    return [*arguments[:at], flag, word, *arguments[at + 2 :]]


def run(argument, line):
    """An invocation; its refusal as a ValueError, in which the option stands as it is written."""
    result = click.testing.CliRunner().invoke(tfvae.cli.main, line)
    if isinstance(result.exception, SystemExit) and result.exit_code:
        raise ValueError(result.output.replace(argument, argument.replace("_", "-")) if argument else result.output)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception


def broken_files():
    """Files of every kind, damaged in many ways, as their readers take them."""
    vae, x = small_vae(seed=1), np.zeros([2, 8, 8, 1], np.float32)
    tfvae.save(vae, "run")
    tfvae.serving.export(vae, "exported")
    tfvae.data.to_tfrecords(np.full([6, 4, 4, 1], 51, np.uint8), "records")
    tf.io.write_file("pictures/a.png", tf.io.encode_png(np.full([16, 8, 3], 51, np.uint8)))
    tf.io.write_file("photos/a.jpg", tf.io.encode_jpeg(np.full([16, 8, 3], 51, np.uint8)))
    classes = np.argwhere(np.ones([1, 3, 2, 2, 2, 2]))
    pathlib.Path("sprites").mkdir()
    np.savez("sprites/small.npz", imgs=np.zeros([48, 64, 64], np.uint8), latents_classes=classes)
    records = "images-00000-of-00001.tfrecord"

    def read(stream, batch_size=1):
        return list(stream.train(batch_size))

    readers = {
        "run/recipe.json": tfvae.load,
        "run/weights.npz": tfvae.load,
        "exported/1/model_card.json": lambda path: tfvae.serving.verify(f"{path}/1", vae, x),
        f"records/{records}": lambda path: read(tfvae.data.from_tfrecords(f"{path}/*", (4, 4, 1), count=True)),
        "pictures/a.png": lambda path: read(tfvae.data.from_image_folder(path, (4, 4, 3))),
        "photos/a.jpg": lambda path: read(tfvae.data.from_image_folder(path, (4, 4, 3))),
        "sprites/small.npz": lambda path: tfvae.data.dsprites(f"{path}/small.npz"),
    }
    for place, reader in readers.items():
        folder, name = place.split("/", 1)
        content = pathlib.Path(place).read_bytes()
        for label, damaged in damages(content):
            # A reader of whatever files a folder holds cannot name one that is not there: its user typed the folder.
            absent = label in ("missing", "a folder") and folder in ("records", "pictures", "photos")
            word = "damaged" if absent else name.split("/")[-1]
            yield place, word, label, functools.partial(read_damaged, folder, name, damaged, reader)


def damages(content):
    rng, size = np.random.default_rng(0), len(content)
    yield from {"missing": None, "empty": b"", "a folder": "folder", "text": b"hello\n", "zeros": bytes(size)}.items()
    yield from {"twice": content * 2, "null": b"null", "a list": b"[]", "deep": b"[" * 100_000}.items()
    yield "a number of 400 digits", b"9" * 400
    for i in range(1, 16):
        yield f"cut at {i}/16", content[: size * i // 16]
    for i in range(25):
        changed = bytearray(content)
        changed[place := int(rng.integers(size))] ^= 1 << int(rng.integers(8))
        yield f"bit {i} turned, at {place}", bytes(changed)
    for i in range(10):
        yield f"noise {i}", content[: size // 2] + rng.bytes(size - size // 2)


def read_damaged(folder, name, content, reader):
    shutil.rmtree("damaged", ignore_errors=True)
    shutil.copytree(folder, "damaged")
    path = pathlib.Path("damaged") / name
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    reader("damaged")


def server(answer):
    """The address of a server of JSON: `answer(path)` gives a value, or (status, bytes)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = answer(self.path)
            status, content = found if isinstance(found, tuple) else (200, json.dumps(found).encode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{found.server_port}"


def _spec(size):
    return {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": size}]}, "name": "n:0"}


_SIGNATURE = {"inputs": {"latent": _spec("3")}, "outputs": {"image": _spec("2"), "score": _spec("1")}}
_MODEL = "/v1/models/digits"
ANSWERS = {
    _MODEL: {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]},
    f"{_MODEL}/metadata": {"metadata": {"signature_def": {"signature_def": {"decode": _SIGNATURE}}}},
    f"{_MODEL}:predict": {"outputs": {"image": [[0.0, 1.0], [0.5, 0.5]], "score": [[1.0], [2.0]]}},
}


def broken_answers():
    """A server's answers, each node of which is replaced by each bad value; and what is no JSON."""
    bad = {
        "null": None,
        "text": "abc",
        "-1": -1,
        "NaN": float("nan"),
        "2^70": 2**70,
        "[]": [],
        "{}": {},
        "[[1]]": [[1]],
    }
    raw = {"nothing": b"", "no JSON": b"<html>", "half": b'{"outputs', "deep": b"[" * 100_000, "no text": b"\xff\xfe"}
    now = dict(ANSWERS)
    address = server(lambda path: now[path])
    asked = {_MODEL: "status", f"{_MODEL}/metadata": "signatures", f"{_MODEL}:predict": "predict"}

    def ask(path, answer, method):
        now.update(ANSWERS)
        now[path] = answer
        latent = {"signature": "decode", "latent": np.zeros([2, 3], np.float32)} if method == "predict" else {}
        with tfvae.serving.Client(address, "digits", retries=0, timeout=5.0) as client:
            try:
                return getattr(client, method)(**latent)
            except tfvae.serving.ServingError as error:
                raise ValueError(f"answer: {error}") from None

    for path, method in asked.items():
        for place in places(ANSWERS[path]):
            for label, value in bad.items():
                answer = replaced(ANSWERS[path], place, value)
                yield method, "answer", f"{place} {label}", functools.partial(ask, path, answer, method)
        for label, content in raw.items():
            for status in (200, 204, 302, 404, 500):
                yield method, "answer", f"{status} {label}", functools.partial(ask, path, (status, content), method)


def places(value, place=()):
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from places(part, (*place, key))


def replaced(value, place, by):
    if not place:
        return by
    found = copy.copy(value)
    found[place[0]] = replaced(found[place[0]], place[1:], by)
    return found


_OF_ROOMS = {name.split(".")[0] for name in public()} | set(METHODS)
PARTS = {room: functools.partial(of_room, room) for room in sorted(_OF_ROOMS)}
PARTS |= {"command line": command_lines, "files": broken_files, "answers": broken_answers}
