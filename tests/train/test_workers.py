"""Training on several machines is training on one device, on the joint batch; here two processes."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, TESTS
from joint import quiet_objective, trained
from workers import OPTIMIZERS, RECIPE

from tfvae import cli, data, runs
from tfvae.data.shares import parts
from tfvae.support import files
from tfvae.train import strategies

# Seconds that a cluster may take; on two free cores it takes a tenth.
PATIENCE = 600
# The run in which a worker is killed.
COMMAND = ["train", "--config", "recipe.json", "--output", "killed", "--go-on", "--no-export"]
COMMAND += ["--evaluation-samples", "2", "--distribute", "multiworker"]


class Cluster:
    """Two processes of one command, each a worker; killed in the end."""

    def __init__(self, command, folder):
        path = os.pathsep.join([str(ROOT), str(TESTS)])
        environments = [os.environ | {"PYTHONPATH": path, "TF_CONFIG": c} for c in strategies.local_cluster(2)]
        self.logs = [tempfile.TemporaryFile("w+") for _ in environments]  # noqa: SIM115 (closed in the end)
        self.processes = [
            subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env=environment, cwd=folder)
            for environment, log in zip(environments, self.logs, strict=True)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process, log in zip(self.processes, self.logs, strict=True):
            process.kill()
            process.wait()
            log.close()

    def wait(self):
        """The exit codes."""
        end = time.monotonic() + PATIENCE
        return [process.wait(max(0, end - time.monotonic())) for process in self.processes]

    def output(self, index):
        self.logs[index].seek(0)
        return self.logs[index].read()


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """What two workers wrote, see workers.py; and of the one that lost the other, in its last run, the end."""
    folder = tmp_path_factory.mktemp("workers")
    images = np.random.default_rng(0).integers(0, 256, (130, 8, 8, 1), np.uint8)
    data.to_tfrecords(images, folder / "images", num_shards=3)
    (folder / "recipe.json").write_text(json.dumps(RECIPE.to_dict()))
    with Cluster([TESTS / "workers.py", folder, *COMMAND], folder) as cluster:
        code, killed = cluster.wait()
        output = cluster.output(0)
        assert killed == -signal.SIGKILL, output[-2000:] + cluster.output(1)[-2000:]
    return folder, code, output


@pytest.fixture(scope="module")
def folder(lost):
    return lost[0]


@pytest.fixture(scope="module")
def found(folder):
    return [json.loads((folder / f"found-{index}.json").read_text()) for index in (0, 1)]


@pytest.fixture(scope="module")
def weights(folder):
    return [dict(np.load(folder / f"weights-{index}.npz")) for index in (0, 1)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_workers_step_as_one_device_on_the_joint_batch(found, weights, optimizer):
    """Binarized afresh, with an uneven last batch, and measured alike."""
    images = data.load("digits", "stochastic")
    expected, history = trained(tf.distribute.get_strategy(), images, quiet_objective, OPTIMIZERS[optimizer])
    assert [f["num_replicas"] for f in found] == [2, 2]
    for of_worker, has in zip(weights, found, strict=True):
        np.testing.assert_allclose(of_worker[optimizer], expected, rtol=0, atol=1e-6)
        for name, values in history.items():
            np.testing.assert_allclose(has[optimizer][name], values, rtol=1e-6, err_msg=name)


def test_workers_agree_on_weights_and_metrics_also_from_files(found, weights):
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
        assert found[0][name] == found[1][name]


def test_workers_draw_noise_of_their_own(found):
    assert found[0]["seed"] != found[1]["seed"]
    assert found[0]["seed"][1] == found[1]["seed"][1] == 1  # the step, so that no two steps share their noise


def test_what_workers_cannot_share_is_refused(found):
    array, single, endless = found[0]["refused"]
    assert "x must be a tf.data.Dataset under several workers, got ndarray" in array
    assert "batch_size must be at least the number of replicas, 2, got 1" in single
    assert "steps_per_epoch must be given under several workers" in endless


def test_the_chief_alone_writes_and_returns(found, folder):
    assert [f["returned"] for f in found] == [True, False]
    assert (folder / "whole" / runs.WEIGHTS).exists() and (folder / "whole" / runs.CARD).exists()


def test_after_a_worker_is_killed_the_run_goes_on_to_the_same_weights(lost):
    """The other one ends by itself; both are started again, as a supervisor would do."""
    folder, code, output = lost
    assert code == 1
    assert output.splitlines()[-1].startswith("Error: another worker was lost: start all of them again")
    assert not (folder / "killed" / runs.WEIGHTS).exists()
    with Cluster(["-m", "tfvae", *COMMAND], folder) as cluster:
        assert cluster.wait() == [0, 0], cluster.output(0)[-2000:]
        assert "ELBO" in cluster.output(0) and cluster.output(1) == ""
    whole, killed = (files.read_arrays(folder / name / runs.WEIGHTS) for name in ("whole", "killed"))
    for name in whole:
        np.testing.assert_array_equal(whole[name], killed[name])
    assert files.read_json(folder / "whole" / runs.HISTORY) == files.read_json(folder / "killed" / runs.HISTORY)


def contexts(num_workers, replicas_each):
    return [tf.distribute.InputContext(num_workers, i, num_workers * replicas_each) for i in range(num_workers)]


@pytest.mark.parametrize(("num_workers", "replicas_each"), [(2, 1), (3, 2), (1, 4)])
@pytest.mark.parametrize("binarize", [None, "static", "stochastic"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_parts_of_a_batch_make_up_the_batch(num_workers, replicas_each, binarize, dtype):
    """To the bit, in every batch of an epoch, in which the last has one image."""
    grey = np.random.default_rng(0).integers(0, 256, (41, 4, 4, 1), np.uint8)
    images = grey if dtype is np.uint8 else grey.astype(np.float32) / 255
    train = data.from_arrays(images, images, validation_size=0, binarize=binarize, seed=5).train(10)
    joint = list(train.from_epoch(3).take(5))
    shares = [list(train.parts(3, context).take(5 * replicas_each)) for context in contexts(num_workers, replicas_each)]
    for step, expected in enumerate(joint):
        together = [x for share in shares for x in share[step * replicas_each : (step + 1) * replicas_each]]
        assert max(len(x) for x in together) - min(len(x) for x in together) <= 1
        np.testing.assert_array_equal(tf.concat(together, 0), expected)


def test_parts_of_a_data_set_that_all_read_make_up_its_batches():
    dataset = tf.data.Dataset.range(23).batch(5)
    alone = [list(parts(dataset, context)) for context in contexts(3, 1)]
    pairs = [list(parts(dataset.map(lambda x: (x, -x)), context)) for context in contexts(3, 1)]
    for step, expected in enumerate(dataset):
        np.testing.assert_array_equal(tf.concat([share[step] for share in alone], 0), expected)
        for i, sign in enumerate((1, -1)):
            np.testing.assert_array_equal(tf.concat([share[step][i] for share in pairs], 0), sign * expected)


@pytest.mark.parametrize(("sizes", "num_workers"), [((8, 9, 8, 9, 9), 2), ((21, 22), 3), ((2, 41), 2)])
def test_workers_read_every_image_of_a_stream_once_an_epoch_in_as_many_steps(sizes, num_workers, tmp_path):
    """Whatever the sizes of the files and so of their shards; a step may find nothing in the smallest."""
    images = 5 * np.arange(43, dtype=np.uint8).reshape(-1, 1, 1, 1)
    for i, part in enumerate(np.split(images, np.cumsum(sizes)[:-1])):
        data.to_tfrecords(part, tmp_path / f"images-{i}")
    train = data.from_tfrecords(str(tmp_path / "images-*/*"), (1, 1, 1), count=True).train(8)
    assert train.num_steps == 6
    epochs = [[list(train.parts(epoch, c).take(7)) for c in contexts(num_workers, 1)] for epoch in range(3)]
    orders = []
    for shares, following in itertools.pairwise(epochs):
        orders.append(np.concatenate([x.numpy().ravel() for share in shares for x in share[:6]]) * 51)
        np.testing.assert_array_equal(np.sort(np.round(orders[-1])), np.arange(43))
        for share, of_next_epoch in zip(shares, following, strict=True):
            np.testing.assert_array_equal(share[6], of_next_epoch[0])
    assert not np.array_equal(*orders)


def test_shards_and_strategies_are_not_mixed(tmp_path):
    data.to_tfrecords(np.zeros((8, 1, 1, 1), np.uint8), tmp_path / "images", num_shards=2)
    train = data.from_tfrecords(str(tmp_path / "images/*"), (1, 1, 1), count=True).train(4, shard=(0, 2))
    with pytest.raises(ValueError, match=r"shard must be \(0, 1\) under several workers, who get theirs anyway, got"):
        train.parts(0, contexts(2, 1)[0])


def test_the_manifest_gives_each_pod_its_task(tmp_path):
    """The YAML of docs/machines.md, and the shell in it with a `python` that says what it was given."""
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "docs" / "machines.md").read_text()
    (block,) = (b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "multiworker" in b)
    service, job = yaml.safe_load_all(block)
    pod, name = job["spec"]["template"]["spec"], job["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name} and pod["subdomain"] == service["metadata"]["name"]
    (container,) = pod["containers"]
    (tmp_path / "python").write_text('#!/bin/sh\necho "$TF_CONFIG"\necho "$@"\n')
    (tmp_path / "python").chmod(0o755)
    settings = {e["name"]: e["value"] for e in container["env"]} | {"JOB_COMPLETION_INDEX": "2"}
    command = [*container["command"], *container["args"]]
    path = f"{tmp_path}:{os.environ['PATH']}"
    given = subprocess.run(command, env=settings | {"PATH": path}, capture_output=True, text=True, check=True).stdout
    config, arguments = given.splitlines()
    strategies.check_cluster(config)
    size = job["spec"]["completions"]
    assert json.loads(config)["cluster"] == {"worker": [f"{name}-{i}.{name}:2222" for i in range(size)]}
    assert json.loads(config)["task"] == {"type": "worker", "index": 2} and size == job["spec"]["parallelism"]
    _, _, command, *options = arguments.split()
    cli.main.commands[command].make_context(command, options)  # refuses options that it does not know


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_cluster_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r'TF_CONFIG must be of the form {"cluster": .*, the index in range, got'):
        strategies.check_cluster(text)


def test_without_a_cluster_several_workers_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"TF_CONFIG must be set for multiworker, to .*, got nothing"):
        strategies.named("multiworker")


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match=r"distribute must be one of mirrored, multiworker, got 'miror'"):
        strategies.named("miror")


def test_what_does_not_fit_a_strategy_is_refused():
    class Two:
        num_replicas_in_sync = 2

    with pytest.raises(ValueError, match="batch_size must be at least the number of replicas, 2, got 1"):
        strategies.check_fits(Two, batch_size=1, jit=False)
    with pytest.raises(ValueError, match="jit must not be True with several replicas, got True with 2"):
        strategies.check_fits(Two, batch_size=2, jit=True)
    strategies.check_fits(None, batch_size=1, jit=True)
