import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tf_keras as tfk
from conftest import StopAt, small_recipe, small_vae

import tfvae
from tfvae import data, runs, serving
from tfvae.support import files

RECIPE = small_recipe(
    epochs=6, prior="normal_mixture", num_components=3, binarize="stochastic", averaged_epochs=4, mean_bias=True
)
COMMAND = [sys.executable, "-m", "tfvae"]


class StopAtTheEnd(tfk.callbacks.Callback):
    """Breaks a training after its last epoch."""

    def on_train_end(self, logs=None):
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run that was never interrupted."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    runs.start(RECIPE, path, num_samples=20, verbose=False)
    return path


def assert_equal_runs(first, second):
    weights = [files.read_arrays(path / runs.WEIGHTS) for path in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    for name in (runs.HISTORY, runs.CARD, runs.RECIPE, runs.DATA):
        assert files.read_json(first / name) == files.read_json(second / name)


def test_a_run_holds_what_it_should(whole_run):
    names = {path.name for path in whole_run.iterdir()}
    pictures = {"reconstructions", "samples", "traversals", "training_curves", "latent_scatter", "manifold"}
    assert names == {runs.RECIPE, runs.DATA, runs.WEIGHTS, runs.HISTORY, runs.CARD} | {f"{p}.png" for p in pictures}
    history = files.read_json(whole_run / runs.HISTORY)
    assert {len(values) for values in history.values()} == {6}
    assert {"loss", "elbo", "log_likelihood", "kl", "val_elbo"} <= history.keys()


def interrupt(go_on, path, stop):
    with pytest.raises(KeyboardInterrupt):
        go_on(path, num_samples=20, verbose=False, callbacks=[stop])
    assert not (path / runs.WEIGHTS).exists()


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """A run of the same recipe, interrupted before its first checkpoint and after its second one."""
    path = tmp_path_factory.mktemp("runs") / "stopped"
    interrupt(lambda path, **options: runs.start(RECIPE, path, **options), path, StopAt(0, 3))
    assert not (path / runs.CHECKPOINT).exists()
    interrupt(runs.resume, path, StopAt(2, 0))
    return path


def test_a_run_that_was_interrupted_four_times_ends_with_the_same_weights(whole_run, stopped_run, tmp_path):
    """The third time at the end of an epoch, the fourth after the last one: any of them would be seen in the end."""
    path = tmp_path / "run"
    shutil.copytree(stopped_run, path)
    for stop in (StopAt(4, 20), StopAtTheEnd()):
        interrupt(runs.resume, path, stop)
    runs.resume(path, num_samples=20, verbose=False)
    assert_equal_runs(path, whole_run)


class Copy(tfk.callbacks.Callback):
    """Copies what the disk has after the first epoch, as if the run were stopped there."""

    def __init__(self, path, to):
        super().__init__()
        self.path, self.to = path, to

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            shutil.copytree(self.path, self.to)


def test_a_run_with_more_state_goes_on_to_the_same_weights(tmp_path):
    """A discriminator with its optimizer, and Muon's momenta: were either lost, the weights would differ."""
    fields = {"objective": "factor_elbo", "discriminator_sizes": (8,), "optimizer": "muon"}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    quiet = {"num_samples": 2, "verbose": False}
    runs.start(small_recipe(**fields, batch_size=256), whole, **quiet, callbacks=[Copy(whole, stopped)])
    runs.resume(stopped, **quiet)
    assert_equal_runs(stopped, whole)


def test_a_run_that_died_before_its_card_gets_it(whole_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(whole_run, path)
    (path / runs.CARD).unlink()
    runs.resume(path, num_samples=20, verbose=False)
    assert_equal_runs(path, whole_run)


def test_save_and_load_give_the_same_model(digits, tmp_path):
    vae = small_vae(digits, likelihood="normal", prior="normal_mixture")
    vae.fit(digits.train(64), epochs=1, verbose=0)
    tfvae.save(vae, tmp_path / "model")
    loaded = tfvae.load(tmp_path / "model")
    for a, b in zip(vae.trainable_variables, loaded.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(vae.reconstruct(digits.x_test), loaded.reconstruct(digits.x_test))
    assert loaded.recipe == vae.recipe


def test_a_loaded_run_is_the_trained_model(whole_run):
    vae = runs.load(whole_run)
    data = vae.recipe.load_data()
    card = tfvae.diagnostics.evaluation_card(vae, data, num_samples=20)
    assert card == files.read_json(whole_run / runs.CARD)


def test_a_model_without_a_recipe_is_not_saved(linear_vae, tmp_path):
    with pytest.raises(ValueError, match=r"vae must come from tfvae.build\(recipe\)"):
        tfvae.save(linear_vae, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def broken(whole_run, path, name, change):
    shutil.copytree(whole_run, path)
    content = (path / name).read_bytes()
    (path / name).unlink()
    if change is not None:
        (path / name).write_bytes(change(content))
    return path


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (runs.RECIPE, None, r"must hold recipe.json, which is missing"),
        (runs.WEIGHTS, None, r"must hold weights.npz, which is missing"),
        (runs.RECIPE, lambda b: b[:50], r"recipe.json must hold JSON, but is corrupt"),
        (
            runs.RECIPE,
            lambda b: b.replace(b'"latent_size"', b'"latent_dim"'),
            r"recipe.json must hold a recipe: recipe",
        ),
        (
            runs.RECIPE,
            lambda b: b.replace(b'"latent_size": 2', b'"latent_size": 3'),
            r"weights.npz must hold what was written for the recipe.json beside it",
        ),
        (
            runs.RECIPE,
            lambda b: b.replace(b'"activation": "tanh"', b'"activation": "relu"'),
            r"weights.npz must hold what was written for the recipe.json beside it",
        ),
        (runs.WEIGHTS, lambda b: b[:500], r"weights.npz must hold arrays, but is corrupt"),
        (runs.WEIGHTS, lambda b: b"", r"weights.npz must hold arrays, but is corrupt"),
    ],
)
def test_broken_runs_are_refused(whole_run, tmp_path, name, change, message):
    path = broken(whole_run, tmp_path / "run", name, change)
    with pytest.raises((ValueError, OSError), match=message):
        runs.load(path)


def test_weights_belong_to_their_recipe(tmp_path):
    """Also if another's have the same shapes; files from before there was a digest load without one."""
    recipe = small_recipe(event_shape=(8, 8, 1), likelihood="bernoulli", hidden_sizes=(4, 4))
    tfvae.save(tfvae.build(recipe), tmp_path / "a")
    tfvae.save(tfvae.build(tfvae.Recipe(**(recipe.to_dict() | {"seed": 1}))), tmp_path / "b")
    path, rule = tmp_path / "a" / runs.WEIGHTS, "weights.npz must hold what was written for the recipe.json beside it"
    arrays = files.read_arrays(path)
    biases = [name for name, array in arrays.items() if array.shape == (4,)]
    kernel = next(name for name, array in arrays.items() if array.shape == (4, 4))
    swapped = arrays | {biases[0]: arrays[biases[1]] + 1}
    for changed in (files.read_arrays(tmp_path / "b" / runs.WEIGHTS), swapped, arrays | {kernel: arrays[kernel].T}):
        files.write_arrays(path, changed)
        with pytest.raises(ValueError, match=rule):
            tfvae.load(tmp_path / "a")
    del arrays["digest"]
    files.write_arrays(path, arrays)
    assert tfvae.load(tmp_path / "a").recipe == recipe
    (tmp_path / "a" / runs.RECIPE).write_text(json.dumps(recipe.to_dict(), indent=7, sort_keys=True))
    files.write_arrays(path, files.read_arrays(path) | {kernel: np.full((4, 4), np.inf, np.float32)})
    with pytest.raises(ValueError, match=r"weights.npz must hold arrays, but is corrupt: .* is not finite"):
        tfvae.load(tmp_path / "a")


def test_paths_of_other_machines_are_refused():
    recipe = small_recipe(event_shape=(8, 8, 1), likelihood="bernoulli")
    for call in (
        runs.load,
        runs.resume,
        runs.read_recipe,
        serving.versions,
        lambda path: runs.start(recipe, path),
        lambda path: runs.save(tfvae.build(recipe), path),
        lambda path: serving.export(tfvae.build(recipe), path),
    ):
        with pytest.raises(ValueError, match="must be a path on this machine, got 'gs://bucket/a'"):
            call("gs://bucket/a")


def test_a_test_set_of_one_image_is_refused_before_the_training(tmp_path, monkeypatch):
    x = np.full([6, 4, 4], 0.5, np.float32)
    monkeypatch.setattr(tfvae.Recipe, "load_data", lambda _: data.from_arrays(x, x[:1], validation_size=0))
    with pytest.raises(ValueError, match="data must have at least 2 test images to be measured, got 1 of arrays"):
        runs.start(small_recipe(batch_size=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_broken_checkpoint_is_refused_and_kept(stopped_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(stopped_run, path)
    recipe = files.read_json(path / runs.RECIPE)
    files.write_json(path / runs.RECIPE, recipe | {"learning_rate": 0.5})
    with pytest.raises(ValueError, match=r"checkpoint.npz must hold what was written for the recipe.json beside it"):
        runs.resume(path, verbose=False)
    files.write_json(path / runs.RECIPE, recipe)
    content = (path / runs.CHECKPOINT).read_bytes()[:-100]
    (path / runs.CHECKPOINT).write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint.npz must hold arrays, but is corrupt"):
        runs.resume(path, verbose=False)
    assert (path / runs.CHECKPOINT).read_bytes() == content


def test_what_exists_is_not_trained_over(whole_run):
    before = {path.name: path.stat().st_mtime_ns for path in whole_run.iterdir()}
    with pytest.raises(FileExistsError, match=r"output must be a new or an empty directory"):
        runs.start(RECIPE, whole_run)
    assert {path.name: path.stat().st_mtime_ns for path in whole_run.iterdir()} == before


def test_no_run_is_no_run(tmp_path):
    for call in (runs.load, runs.resume):
        with pytest.raises(FileNotFoundError, match=r"run must be a directory of a training run, got .*nowhere"):
            call(tmp_path / "nowhere")


def test_the_name_of_a_data_set_is_no_run_but_says_what_loads_it():
    with pytest.raises(FileNotFoundError, match=r"got mnist, .*: tfvae.data.load\('mnist'\) loads the data"):
        tfvae.load("mnist")


def train_command(path, models):
    return [
        *(*COMMAND, "train", "--output", str(path), "--export-to", str(models), "--evaluation-samples", "20"),
        *("--hidden-sizes", "64", "--latent-size", "4", "--epochs", "40", "--binarize", "stochastic"),
    ]


def resume_command(path, models):
    return [*COMMAND, "resume", str(path), "--export-to", str(models), "--evaluation-samples", "20"]


def seconds_until(process, path=None):
    """Until `path` is there, or until the process ends."""
    started = time.monotonic()
    while process.poll() is None and not (path and path.exists()):
        time.sleep(0.005)
    return time.monotonic() - started


def kill_at_work(command, path, seconds):
    """Kill -9, so long after `path` has appeared. Was the process still at work?"""
    process = start(command)
    seconds_until(process, path)
    time.sleep(seconds)
    at_work = process.poll() is None
    process.kill()
    return at_work and process.wait() == -signal.SIGKILL


def start(command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def assert_only_whole_versions(models):
    for version in serving.versions(models):
        assert (models / str(version) / "saved_model.pb").exists()
        assert (models / str(version) / "variables" / "variables.index").exists()


@pytest.mark.kill
def test_kills_of_a_training_and_its_export(tmp_path):
    """Three in five in the training and measuring, two in the export; every second one is resumed by two at once."""
    whole, models, rng = tmp_path / "whole", tmp_path / "models", random.Random(os.environ.get("SEED", "0"))
    process = start(train_command(whole, models))
    seconds_until(process, whole / runs.RECIPE)
    training = seconds_until(process, whole / runs.CARD)
    export = seconds_until(process)
    assert process.wait() == 0
    for i in range(int(os.environ.get("KILLS", "10"))):
        name, duration = (runs.RECIPE, training) if i % 5 < 3 else (runs.CARD, export)
        path = tmp_path / f"run{i}"
        while not kill_at_work(train_command(path, models), path / name, moment := rng.uniform(0, duration)):
            shutil.rmtree(path)  # it had ended already: no kill, try again
        assert_only_whole_versions(models)
        print(f"kill {i}: {moment:.1f} of {duration:.1f} s after {name}; versions {len(serving.versions(models))}")
        print("   ", *sorted(p.name for p in path.iterdir()), flush=True)
        resumes = [start(resume_command(path, models)) for _ in range(1 + i % 2)]
        assert {one.wait() for one in resumes} == {0}
        assert_equal_runs(path, whole)
        assert_only_whole_versions(models)


@pytest.mark.kill
def test_a_full_disk_at_any_moment_costs_a_line_and_nothing_else(tmp_path, small_disk):
    whole, rng = tmp_path / "whole", random.Random(os.environ.get("SEED", "0"))
    subprocess.run(train_command(whole, tmp_path / "models"), check=True, capture_output=True)
    needed = sum(path.stat().st_size for path in tmp_path.rglob("*"))
    path, models, filler = (small_disk / name for name in ("run", "models", "filler"))
    for i in range(int(os.environ.get("KILLS", "10"))):
        free = rng.uniform(0, needed)
        filler.write_bytes(bytes(max(0, int(shutil.disk_usage(small_disk).free - free))))
        done = subprocess.run(train_command(path, models), stderr=subprocess.PIPE, text=True)
        found = sorted(p.name for p in path.iterdir()) if path.exists() else []
        print(f"{i}: {free:.0f} of {needed} bytes, then {done.stderr.splitlines()[-1]}; found", *found, flush=True)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert str(small_disk) in done.stderr.splitlines()[-1]
        assert not [*path.rglob(".*"), *models.rglob(".*")]
        filler.unlink()
        begun = (path / runs.RECIPE).exists()
        command = resume_command(path, models) if begun else train_command(path, models)
        subprocess.run(command, check=True, capture_output=True)
        assert_equal_runs(path, whole)
        assert_only_whole_versions(models)
        shutil.rmtree(path)
        shutil.rmtree(models)


@pytest.mark.kill
def test_sigterm_leaves_nothing_half_written_and_two_may_resume_at_once(tmp_path):
    whole, models = tmp_path / "whole", tmp_path / "models"
    subprocess.run(train_command(whole, models), check=True, capture_output=True)
    for i, (name, seconds) in enumerate(
        [(runs.RECIPE, 0.5), (runs.CHECKPOINT, 0.5), (runs.WEIGHTS, 0), (runs.CARD, 2)]
    ):
        path = tmp_path / f"run{i}"
        process = start(train_command(path, models))
        seconds_until(process, path / name)
        time.sleep(seconds)
        process.terminate()
        assert process.wait() == 1, name
        assert not [*path.rglob(".*"), *models.rglob(".*")]
        both = [start(resume_command(path, models)) for _ in range(2)]
        assert [one.wait() for one in both] == [0, 0]
        assert_equal_runs(path, whole)
        assert_only_whole_versions(models)
    assert serving.versions(models) == list(range(1, 10))


def test_a_killed_process_is_resumed(tmp_path, whole_run):
    """Kill -9 as soon as there is a checkpoint; the recipe is the whole run's."""
    path, config = tmp_path / "run", tmp_path / "recipe.json"
    config.write_text(json.dumps(RECIPE.to_dict()))
    command = [*COMMAND, "train", "--config", str(config), "--output", str(path), "--no-export"]
    assert kill_at_work(command, path / runs.CHECKPOINT, 0)
    assert (path / runs.CHECKPOINT).exists() and not (path / runs.WEIGHTS).exists()
    runs.resume(path, num_samples=20, verbose=False)
    assert_equal_runs(path, whole_run)
