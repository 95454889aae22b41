"""Training on several devices is training on one, on the joint batch."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, TESTS


@pytest.fixture(scope="module")
def found():
    """What tests/replicas.py prints: two logical devices beside one."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    done = subprocess.run(
        [sys.executable, TESTS / "replicas.py"], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("optimizer", ["sgd", "muon", "adam"])
def test_two_replicas_step_as_one_device_on_the_joint_batch(found, optimizer):
    """The last batch included, whose 93 images do not part into equal halves."""
    assert found["num_replicas"] == 2
    assert found[optimizer] < 1e-5
    assert found[f"{optimizer}_metrics"] < 1e-5


def test_a_scale_that_follows_the_residuals_follows_those_of_the_joint_batch(found):
    assert found["with_optimal_scale"] < 1e-5


def test_a_strategy_of_one_device_steps_as_none(found):
    assert found["one_mirrored"] < 1e-6


def test_noise_repeats_and_differs_between_replicas(found):
    """To the bit, in a run on disk that is interrupted beside one that is not."""
    assert found["resumed"]
    first, second = found["noise"]
    assert first != second


def test_a_step_that_is_not_finite_is_withheld_on_all_replicas(found):
    assert "turned non-finite at step 1" in found["diverged"]
    assert found["finite"]


def test_xla_is_refused_where_it_cannot_work(found):
    assert found["jit"].startswith("jit_compile must not be True under a strategy of several replicas")
