import importlib.util
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tfvae.cli import main
from tfvae.support.fields import FILLED_IN, options

SMALL = [
    "--data",
    "digits",
    "--epochs",
    "2",
    "--hidden-sizes",
    "16",
    "--latent-size",
    "2",
    "--evaluation-samples",
    "20",
]


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Runs the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def test_help_does_not_wait_for_tensorflow():
    code = """
import sys
from click.testing import CliRunner
from tfvae.cli import main
from tfvae.support.fields import FILLED_IN, options
for command in ([], ["train"], ["resume"], ["evaluate"], ["export"]):
    assert CliRunner().invoke(main, [*command, "--help"]).exit_code == 0
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_field_of_a_recipe_has_an_option():
    train = main.commands["train"]
    found = {option.name for option in train.get_params(click.Context(train))}
    assert set(options()) - set(FILLED_IN) <= found


def test_the_whole_way(invoke, tmp_path):
    done = invoke("train", *SMALL)
    assert done.exit_code == 0, done.output
    assert "2,244 parameters" in done.output  # 64 -> 16 -> 2 * 2 and 2 -> 16 -> 64
    assert "ELBO" in done.output and "SavedModel: saved_models/digits/1" in done.output
    assert (tmp_path / "runs" / "digits-1" / "samples.png").exists()
    assert (tmp_path / "saved_models" / "digits" / "1" / "saved_model.pb").exists()
    again = invoke("evaluate", "runs/digits-1", "--num-samples", 20)
    assert again.exit_code == 0
    card = done.output[done.output.index("360 test images") : done.output.index("run:")]
    assert card.strip() in again.output
    assert "SavedModel: saved_models/digits/2" in invoke("export", "runs/digits-1").output
    config = invoke("train", "--config", "runs/digits-1/recipe.json", "--seed", 1, "--no-export", *SMALL[-2:])
    assert config.exit_code == 0 and "into runs/digits-2" in config.output
    assert invoke("resume", "runs/digits-2", "--no-export").exit_code == 0


DIGITS = ["train", "--data", "digits"]
BAD = {
    "latent size": (["train", "--latent-size", "0"], "latent_size must be at least 1, got 0"),
    "unknown data": (["train", "--data", "digit"], "got 'digit' (did you mean digits"),
    "unknown prior": (["train", "--prior", "standard"], "(did you mean standard_normal"),
    "batch size": (["train", "--batch-size", "10000"], "batch_size must be at most the number of training images"),
    "grey bernoulli": (
        ["train", "--binarize", "none", "--likelihood", "bernoulli"],
        "choose binarize static or stochastic",
    ),
    "beta": (["train", "--objective", "beta_elbo", "--beta", "-1"], "beta must be at least 0, got -1.0"),
    "unused beta": (["train", "--beta", "4"], "beta must be 1.0 unless objective is beta_elbo or tc_elbo, got 4.0"),
    "sizes": (["train", "--hidden-sizes", "a,b"], "must be integers between commas"),
    "samples": (["train", "--evaluation-samples", "1"], "1 is not in the range 2<=x<=2147483647"),
    "empty size": (["train", "--hidden-sizes", "8,,8"], "must be integers between commas, such as 256,256; got '8,,8'"),
    "both ways": (["train", "--jit", "--no-jit"], "--jit/--no-jit must be given once"),
    "twice": (["train", "--epochs", "1", "--epochs", "2"], "--epochs must be given once"),
    "no filters": (["train", "--network", "conv", "--filters", ""], "filters must hold at least one size, got ()"),
    "latents": ([*DIGITS, "--latent-size", "10000000"], "one that takes at least 41.0 GB: --force to try"),
    "kernel": (["train", "--network", "conv", "--kernel-size", "100000"], "GB: --force to try"),
    "too many samples": ([*DIGITS, "--num-samples", "1000000000"], "takes at least 32768.0 GB: --force to try"),
    "no config": (
        ["train", "--config", "nowhere.json"],
        "'--config': File 'nowhere.json' does not exist",
    ),
    "no local path": (["resume", "empty", "--export-to", "gs://b/c"], "export_to must be a path on this machine, got"),
    "no local run": (["evaluate", "gs://b/c"], "run must be a path on this machine, got 'gs://b/c'"),
    "a name too long": (["train", "--data", 300 * "x"], "data must hold names of at most 255 bytes, got 'xxx"),
    "no address": (["serve-check", "--url", "abc"], "url and grpc must be http(s)://HOST:PORT or grpc(s)://HOST:PORT"),
    "too many draws": (["train", "--evaluation-samples", "2147483648"], "2147483648 is not in the range 2<=x<="),
    "existing output": (["train", "--output", "full"], "output must be a new or an empty directory, got full"),
    "output in a file": (["train", "--output", "full/kept/run"], "output must be in a folder that can be written"),
    "unwritable models": (["train", "--export-to", "full/kept/models"], "export-to must be in a folder"),
    "no run": (["evaluate", "nowhere"], "run must be a directory of a training run, got nowhere"),
    "empty run": (["resume", "empty"], "empty must hold recipe.json, which is missing"),
    "unknown strategy": (["train", "--distribute", "multiworkers"], "got 'multiworkers' (did you mean multiworker"),
    "no cluster": (["train", "--distribute", "multiworker"], "TF_CONFIG must be set for multiworker"),
    "devices alone": (["resume", "empty", "--devices", "2"], "devices must be given with mirrored alone, got 2"),
    "nothing to go on with": (["train", "--go-on"], "output must be given with --go-on, got none"),
    "unknown option": (["train", "--latent", "3"], "No such option"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line_and_touches_nothing(invoke, tmp_path, case):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("1")
    (tmp_path / "empty").mkdir()
    arguments, message = BAD[case]
    done = invoke(*arguments)
    assert done.exit_code != 0
    last = done.output.strip().splitlines()[-1]
    assert message in last and last.startswith("Error: ")
    assert "Traceback" not in done.output and "training digit" not in done.output
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["empty", "full", "full/kept"]


def test_training_that_explodes_says_so(invoke, tmp_path):
    done = invoke("train", *SMALL, "--learning-rate", 1e20, "--likelihood", "normal", "--output", "run")
    assert done.exit_code == 1
    assert "training turned non-finite at step" in done.output.strip().splitlines()[-1]
    assert not (tmp_path / "run" / "weights.npz").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_without_tensorboard_its_option_says_so(invoke):
    done = invoke("train", "--tensorboard")
    assert done.exit_code == 1
    assert "tensorboard must be installed" in done.output


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "tfvae", "evaluate", "nowhere"],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "Error: run must be a directory of a training run, got nowhere, which does not exist"
