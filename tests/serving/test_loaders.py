"""Exports, loaded as others load them: one process a loader takes them all."""

import itertools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import TESTS, small_vae
from tensorflow.core.protobuf import saved_model_pb2
from test_combinations import EVERY, EVERY_PIECE, FACTORS, KINDS, LIKELIHOODS, fields, images_for

from tfvae import serving

LOADERS = TESTS / "loaders.py"
NUM_SAMPLES = 10
# Each likelihood once; the last four with another kind of latents each.
COVER = EVERY_PIECE[: -len(KINDS)]
COVER += [(a, *latents, b) for (a, _, _, b), latents in zip(EVERY_PIECE[-len(KINDS) :], KINDS, strict=True)]


def tensor_names(path):
    """{signature: [{input: tensor's name}, {output: tensor's name}]}."""
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return {
        name: [{k: v.name for k, v in side.items()} for side in (signature.inputs, signature.outputs)]
        for name, signature in model.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


def stated_shapes(path):
    """{signature/output: shape}, -1 for a free axis."""
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return {
        f"{name}/{key}": [dim.size for dim in tensor.tensor_shape.dim]
        for name, signature in model.meta_graphs[0].signature_def.items()
        for key, tensor in signature.outputs.items()
        if not name.startswith("__")
    }


def exported(vae, images, folder):
    """One model as a job for loaders.py, its signatures apart, and {signature/output: expected}."""
    path = serving.export(vae, folder, num_samples=NUM_SAMPLES)
    answers = serving.expected_answers(vae.for_labels(images.y_test[:2]), images.x_test[:2], NUM_SAMPLES)
    inputs = {f"{name}/{k}": v for name, (asked, _) in answers.items() for k, v in asked.items()}
    # Files as numpy's own byte strings, which need no pickle; a PNG ends with no zero.
    inputs = {k: v.astype("S") if v.dtype == object else v for k, v in inputs.items()}
    np.savez(folder / "inputs.npz", **inputs)
    job = {"path": str(path), "inputs": str(folder / "inputs.npz"), "outputs": str(folder / "outputs.npz")}
    expected = {f"{name}/{k}": v for name, (_, answer) in answers.items() for k, v in answer.items()}
    return job | {"tensors": tensor_names(path), "at_once": False}, expected


def combination(row, digits, binary_digits):
    images = images_for(row[0], digits, binary_digits)
    return small_vae(images, **fields(*row)), images


def assert_agreement(loader, jobs, folder):
    (folder / "jobs.json").write_text(json.dumps([job for job, _ in jobs]))
    done = subprocess.run([sys.executable, LOADERS, loader, folder / "jobs.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for job, expected in jobs:
        answers = dict(np.load(job["outputs"]))
        assert answers.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(answers[name], value, rtol=1e-5, atol=1e-5, err_msg=f"{job['path']} {name}")


@pytest.fixture(scope="module")
def jobs(digits, binary_digits, trained_vae, tmp_path_factory):
    """A trained model, each piece with others, the other kinds of latents among them, and a conditional model.

    The signatures of the first two and of the last are run one by one, as a server runs them.
    """
    models = [(trained_vae, digits), *(combination(row, digits, binary_digits) for row in COVER)]
    models.append((small_vae(digits, conditional=True), digits))
    found = [exported(*model, tmp_path_factory.mktemp("export")) for model in models]
    for job, _ in found[2:-1]:
        job["at_once"] = True
    return found


def test_the_exports_hold_every_likelihood_and_every_pair_of_the_others():
    assert [row[0] for row in COVER] == list(LIKELIHOODS)
    pairs = {pair for row in COVER for pair in itertools.combinations(row[1:], 2)}
    for factors in itertools.combinations(FACTORS[1:], 2):
        assert pairs >= set(itertools.product(*factors))
    assert {row[1:3] for row in COVER} >= set(KINDS)


@pytest.mark.parametrize("loader", ["python", "session", "c_api"])
def test_every_piece_agrees_in(loader, jobs, tmp_path):
    assert_agreement(loader, jobs, tmp_path)


def test_every_stated_shape_is_full_but_for_the_batch(jobs):
    for job, expected in jobs:
        shapes = {name: [-1, *value.shape[1:]] for name, value in expected.items()}
        assert stated_shapes(pathlib.Path(job["path"])) == shapes


@pytest.mark.product
def test_every_combination_agrees_in_a_session(digits, binary_digits, tmp_path):
    jobs = []
    for i, row in enumerate(EVERY):
        (folder := tmp_path / str(i)).mkdir()
        jobs.append(exported(*combination(row, digits, binary_digits), folder))
    assert_agreement("session", jobs, tmp_path)


# saved_model_cli for many command lines, as a process for each that need not load TensorFlow anew.
CLI = """
import json, os, sys
from tensorflow.python.tools import saved_model_cli
for arguments in json.loads(sys.argv[1]):
    print("<<<", flush=True)
    if not (child := os.fork()):
        sys.argv[1:] = arguments
        saved_model_cli.main()  # and exit
    assert os.waitpid(child, 0)[1] == 0, arguments
"""


def command_lines(job, folder):
    """run, scan and show for one export; the answers to its signature elbo go to the folder."""
    with np.load(job["inputs"]) as arrays:
        asked = {key.removeprefix("elbo/"): arrays[key] for key in arrays.files if key.startswith("elbo/")}
    np.savez(folder / "inputs.npz", **asked)
    inputs = ";".join(f"{name}={folder / 'inputs.npz'}[{name}]" for name in asked)
    chosen = ["--dir", job["path"], "--tag_set", "serve"]
    run = ["run", *chosen, "--signature_def", "elbo", "--inputs", inputs, "--outdir", str(folder)]
    return [run, ["scan", *chosen], ["show", *chosen, "--all"]]


def test_saved_model_cli_runs_them_and_finds_nothing_to_fear(jobs, tmp_path_factory):
    chosen = [(*jobs[index], tmp_path_factory.mktemp("cli")) for index in (0, 1, -1)]
    commands = [line for job, _, folder in chosen for line in command_lines(job, folder)]
    command = [sys.executable, "-c", CLI, json.dumps(commands)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    said = done.stdout.split("<<<\n")[1:]
    for (_, expected, folder), scanned, shown in zip(chosen, said[1::3], said[2::3], strict=True):
        for name in ("elbo", "kl"):
            np.testing.assert_allclose(np.load(folder / f"{name}.npy"), expected[f"elbo/{name}"], rtol=1e-5, atol=1e-5)
        assert "does not contain the default denylisted ops" in scanned
        for line in ("signature_def['log_evidence']", "inputs['image_bytes']", "outputs['log_likelihood']"):
            assert line in shown
        assert shown.count("unknown_rank") <= 1  # TensorFlow's own __saved_model_init_op
