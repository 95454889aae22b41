"""The command line: `python -m tfvae train`, `resume`, `evaluate`, `encode`, `explore`, `export`, `serve-check`, ...

The commands import TensorFlow when they run, so that `--help` does not wait for it.
"""

import importlib
import itertools
import pathlib
import runpy
import signal
from typing import Any

import click

from tfvae import __version__
from tfvae.support import files
from tfvae.support.fields import FILLED_IN, help_of, options
from tfvae.support.pieces import data_piece, of_kind, stem
from tfvae.support.quiet import quiet


def sizes(text):
    try:
        return tuple(int(size) for size in text.split(",")) if text.strip() else ()
    except ValueError:
        raise click.BadParameter(f"must be integers between commas, such as 256,256; got {text!r}") from None


class _Path(click.Path):
    """A path on this machine; an error names the option."""

    def convert(self, value, param, ctx):
        try:
            return super().convert(str(files.local(param.name, value)), param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Command(click.Command):
    """Turns expected errors and interruptions into one line on stderr and an exit code, without a traceback."""

    def invoke(self, ctx):
        # By default the signal would leave what is half written.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.ClickException("interrupted: `resume RUN` goes on from the last finished epoch") from None
        except (ValueError, OSError, FloatingPointError) as error:
            raise click.ClickException(" ".join(str(error).split())) from None
        finally:
            signal.signal(signal.SIGTERM, before)


class _Train(_Command):
    """It has an option for each field of a recipe, except those that the data fill in."""

    def parse_args(self, ctx, args):
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for parameter in given:
            if isinstance(parameter, click.Option) and given.count(parameter) > 1:
                raise click.UsageError(f"{'/'.join(parameter.opts + parameter.secondary_opts)} must be given once", ctx)
        return super().parse_args(ctx, args)

    def get_params(self, ctx):
        *own, help_option = super().get_params(ctx)
        return [*own, *(_recipe_option(*item) for item in options().items() if item[0] not in FILLED_IN), help_option]


def _recipe_option(name, one):
    flag, text = f"--{name.replace('_', '-')}", help_of(name)
    if one.of is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=text)
    defaults = {"": one.default} | {f"{data}: ": p.defaults.get(name) for data, p in of_kind("data").items()}
    if shown := "; ".join(f"{of}{_shown(value)}" for of, value in defaults.items() if value not in (None, ())):
        text += f" [{shown}]"
    return click.Option([flag], type=sizes if one.of is tuple else one.of, help=text)


def _shown(default):
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tfvae")
@click.option("--pieces", type=_Path(exists=True, dir_okay=False), help="A Python file that declares your pieces.")
def main(pieces):
    """Variational autoencoders: train, measure, export.

    Without options, `train` fits a VAE to 10,000 handwritten digits of MNIST in about three minutes.
    """
    if pieces:
        with quiet():
            runpy.run_path(pieces, run_name="pieces")


main.command_class = _Command
_RUN = click.argument("run", type=_Path())
_DIRECTORY = _Path(file_okay=False)


def _training_options(command):
    """What `train` and `resume` share."""
    for option in (
        click.option("--devices", type=int, help="With mirrored: splits the CPU into this many, to try it out."),
        click.option(
            "--distribute",
            help="mirrored: all devices of this machine; multiworker: of all machines that TF_CONFIG names.",
        ),
        click.option(
            "--evaluation-samples",
            type=click.IntRange(2, 2**31 - 1),
            help="The card's samples of z per image [5000; fewer for more than 400 images].",
        ),
        click.option("--no-export", is_flag=True, help="Write no SavedModel."),
        click.option("--export-to", type=_DIRECTORY, help="The model's directory [default: saved_models/DATA]."),
    ):
        command = option(command)
    return command


@main.command(cls=_Train)
@click.option(
    "--config",
    type=_Path(exists=True, dir_okay=False),
    help="A recipe in JSON (a run's recipe.json); options win.",
)
@click.option("--output", type=_DIRECTORY, help="The run's new directory [default: runs/DATA-N].")
@_training_options
@click.option("--tensorboard", is_flag=True, help="Log curves and pictures to the run's tensorboard/.")
@click.option("--go-on", is_flag=True, help="If --output holds a run of this recipe, resume it.")
@click.option("--force", is_flag=True, help="Try a recipe that the memory seems not to hold.")
def train(
    config, output, export_to, no_export, evaluation_samples, tensorboard, distribute, devices, go_on, force, **choices
):
    """Train a VAE, measure it, draw it, export it."""
    if go_on and output is None:
        raise ValueError("output must be given with --go-on, got none")
    strategy = _strategy(distribute, devices)
    recipes, runs, strategies = _modules("recipes", "runs", "train.strategies")
    values = {name: None if value == "none" else value for name, value in choices.items() if value is not None}
    values |= dict.fromkeys(FILLED_IN)  # from the data, which an option may have changed
    recipe = runs.read_recipe(config).replace(**values) if config else recipes.Recipe(**values)
    name = _name(recipe.data)
    new = (files.local("data", f"runs/{name}-{number}") for number in itertools.count(1))
    output = pathlib.Path(output) if output else next(path for path in new if not path.exists())
    export_to = None if no_export else pathlib.Path(export_to or f"saved_models/{name}")
    callbacks = []
    if strategies.is_chief(strategy):
        if export_to is not None:
            files.check_writable(export_to, "export-to")
        if tensorboard:
            callbacks.append(_modules("train.tensorboard")[0].Curves(output / "tensorboard"))
        line = f"training {recipe.data} into {output}{_number_of_replicas(strategy)}"
        begin = importlib.import_module("tf_keras").callbacks.LambdaCallback()
        begin.on_train_begin = lambda logs: click.echo(f"{line}: {_costs(recipes, begin)}")
        callbacks.append(begin)
    options = {"num_samples": evaluation_samples, "callbacks": callbacks}
    result = runs.start(recipe, output, strategy=strategy, go_on=go_on, force=force, **options)
    if result is not None:
        _finish(result, output, export_to)


@main.command()
@_RUN
@_training_options
def resume(run, export_to, no_export, evaluation_samples, distribute, devices):
    """Resume an interrupted RUN, to the weights of an uninterrupted one."""
    strategy = _strategy(distribute, devices)
    (runs,) = _modules("runs")
    result = runs.resume(run, strategy=strategy, num_samples=evaluation_samples)
    if result is not None:
        _finish(result, run, None if no_export else export_to or f"saved_models/{result[1].name}")


@main.command()
@_RUN
@click.option("--num-samples", type=click.IntRange(2), help="Samples of z per image [5000; fewer for more than 400].")
@click.option("--seed", type=int, default=0, help="Seed of the noise [default: 0].")
def evaluate(run, num_samples, seed):
    """Measure a finished RUN on its test set and print the card."""
    diagnostics, runs = _modules("diagnostics", "runs")
    vae, data = runs.load(run), runs.load_data(run)
    card = diagnostics.evaluation_card(vae, data, num_samples, seed, progress=True)
    click.echo(diagnostics.format_card(card))


@main.command()
@_RUN
@click.option("--to", type=_DIRECTORY, help="The model's directory [default: saved_models/DATA].")
@click.option("--num-samples", type=click.IntRange(1), default=100, help="S of `elbo` and `log_evidence` [100].")
@click.option("--keep", type=click.IntRange(1), help="Keep this many versions, the newest; remove the others.")
@click.option("--licence", help="The model's licence, for its card.")
@click.option("--false-alarm-rate", type=float, default=0.05, help="Of the signature `anomaly` [0.05].")
def export(run, to, **options):
    """Write a finished RUN as the next version of a SavedModel, with its card."""
    (runs,) = _modules("runs")
    vae, data, card = runs.load(run), runs.load_data(run), pathlib.Path(run) / runs.CARD
    evaluation = files.read_json(card) if card.exists() else None
    _export(vae, data, evaluation, to or f"saved_models/{data.name}", **options)


@main.command()
@_RUN
@click.option("--to", type=_Path(dir_okay=False), required=True, help="The new file: .csv or .npz.")
@click.option("--data", help="Other data than the run's: folder:PATH, npz:FILE, ... [default: the run's].")
@click.option("--split", type=click.Choice(["train", "validation", "test", "all"]), default="test", show_default=True)
def encode(run, to, data, split):
    """Write where a RUN's encoder puts each example: means and scales of q(z|x), its label, its bound on log p(x)."""
    (runs,) = _modules("runs")
    click.echo(f"{to}: {runs.encode(run, to, data, split)} examples, a row each")


@main.command()
@_RUN
@click.option("-o", "--output", type=_Path(dir_okay=False), help="The page [default: RUN/explore.html].")
def explore(run, output):
    """Write a RUN's latent space as one HTML page to walk on, without a network or a kernel."""
    page, runs = _modules("explore", "runs")
    vae, data = runs.load(run), runs.load_data(run)
    path = page.write(vae, output or pathlib.Path(run) / "explore.html", data, title=data.name)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser")


@main.command()
@click.argument("path", metavar="VERSION", type=_Path())
@click.option("--to", type=_Path(dir_okay=False), required=True, help="The new file, such as digits.tflite.")
def litert(path, to):
    """Write an exported VERSION as one LiteRT file, for phones and small devices."""
    (serving,) = _modules("serving")
    differences = serving.to_litert(path, to)
    size = pathlib.Path(to).stat().st_size / 1e6
    click.echo(f"{to}: {', '.join(differences)}, {size:.1f} MB; largest difference {max(differences.values()):.1e}")


@main.command()
@click.argument("path", metavar="VERSION", type=_Path())
@click.option("--to", type=_Path(dir_okay=False), required=True, help="The file, such as openapi.json.")
@click.option("--model", help="The model's name on the server [the folder that holds VERSION].")
def openapi(path, to, model):
    """Write the OpenAPI document of an exported VERSION's REST interface."""
    (serving,) = _modules("serving")
    document = serving.openapi_document(path, model)
    files.write_json(files.local("to", to), document)
    click.echo(f"{to}: {next(iter(document['paths']))}")


@main.command("serve-check")
@click.option("--url", help="REST [http://localhost:8501, unless --grpc is given].")
@click.option("--grpc", help="gRPC: HOST:PORT.")
@click.option("--model", default="digits", help="The model's name on the server [digits].")
@click.option("--export", type=_Path(), help="The version's directory, to compare the server's numbers with.")
@click.option("--timeout", type=float, default=10.0, help="Seconds for each call, retries included [10].")
def serve_check(url, grpc, model, export, timeout):
    """Check a running TF Serving against the whole contract, over REST, gRPC or both."""
    if export is not None:
        files.exported("export", export)
    addresses = [url or "http://localhost:8501"] if url or not grpc else []
    addresses += [f"grpc://{grpc.removeprefix('grpc://')}"] if grpc else []
    (serving,) = _modules("serving")
    try:
        clients = [serving.Client(address, model, timeout=timeout) for address in addresses]
    except ValueError as error:
        raise ValueError(str(error).replace("address must", "url and grpc must")) from None
    findings = []
    for client in clients:
        click.echo(f"{client.address}, model {model}")
        for finding in serving.check(client, export):
            word = {True: "ok", False: "FAIL", None: "--"}[finding.passed]
            click.echo(f"  {word:<5}{finding.about:<66}{' '.join(finding.detail.split())[:200]}")
            findings.append(finding.passed)
    click.echo(f"{findings.count(True)} checks passed, {findings.count(False)} failed")
    if False in findings:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("directory", type=_DIRECTORY)
def notebooks(directory):
    """Copy the course, the notebooks and what they read and link to, into a new DIRECTORY."""
    from tfvae import notebooks as course

    path = course.copy(directory)
    click.echo(f"{path}: {len(list(path.glob('notebooks/*.ipynb')))} notebooks; jupyter lab {path / 'notebooks'}")


def _finish(result, run, export_to):
    (diagnostics,) = _modules("diagnostics")
    vae, data, card = result
    click.echo(diagnostics.format_card(card))
    click.echo(f"run: {run}  (weights, history, card; pictures: reconstructions.png, samples.png, ...)")
    if export_to is not None:
        _export(vae, data, card, export_to)
    click.echo("next:")
    click.echo(f"  python -m tfvae evaluate {run} --seed 1    measure again with other noise")
    click.echo("  python -m tfvae train --latent-size 2    change one thing; --help lists them all")
    here = pathlib.Path("notebooks").is_dir()
    click.echo(f"  {'jupyter lab notebooks' if here else 'python -m tfvae notebooks course'}    read why it works")


def _export(vae, data, evaluation, directory, **options):
    (serving,) = _modules("serving")
    path = serving.export(vae, directory, data, evaluation=evaluation, **options)
    differences = serving.verify(path, vae.for_labels(data.y_test).rows(slice(10)), data.x_test[:10])
    click.echo(f"SavedModel: {path}  (loaded again: largest difference {max(differences.values()):.1e})")


def _name(data):
    _, path = data_piece(data)
    return stem(path) if path else data.replace(":", "-")


def _strategy(name, num_devices):
    """The strategy of --distribute; made first, as TensorFlow fixes devices and workers at its first operation."""
    if num_devices is not None and name != "mirrored":
        raise ValueError(f"devices must be given with mirrored alone, got {num_devices} with {name}")
    if name is None:
        return None
    with quiet():
        return importlib.import_module("tfvae.train.strategies").named(name, num_devices)


def _costs(recipes, callback):
    """What a training takes at least, of a Keras callback when it begins."""
    vae, steps = callback.model, callback.params["steps"]
    number = _modules("support.weights")[0].num_parameters(vae)
    memory = recipes.least_memory(vae.recipe, number) / 1e6
    epochs = vae.recipe.epochs - int(vae.optimizer.iterations.numpy()) // steps  # of a resumed run, those that are left
    an_epoch = max(1, steps - 1) * vae.recipe.batch_size  # the last batch may be small
    examples = epochs * an_epoch // vae.distribute_strategy.num_replicas_in_sync
    time = _duration(recipes.least_seconds(vae, max(1, examples)))
    return f"{number:,} parameters; at least {time} and {memory:,.0f} MB beside TensorFlow's own"


def _duration(seconds):
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def _number_of_replicas(strategy):
    number = strategy and strategy.num_replicas_in_sync
    return {None: "", 1: ", one replica: this is as without --distribute"}.get(number, f", {number} replicas")


def _modules(*names) -> list[Any]:
    """Modules of the package that need TensorFlow, without the log lines of its import and first operation."""
    with quiet():
        importlib.import_module("tensorflow").zeros([])
        return [importlib.import_module(f"tfvae.{name}") for name in names]
