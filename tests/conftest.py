"""What several test modules need."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# oneDNN's own allocator gives nothing back: a process would stay as large as its largest arrays, a gigabyte.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

import contextlib
import ctypes
import functools
import gc
import pathlib
import subprocess
import sys
import typing

# TensorFlow asks `isinstance` of protocols at every operation that it traces; Python 3.11 lists a protocol's attributes
# anew each time, a twentieth of all processor time here, and 3.12 once.
if hasattr(typing, "_get_protocol_attrs"):
    typing._get_protocol_attrs = functools.cache(typing._get_protocol_attrs)

import numpy as np
import pytest
import tensorflow_probability as tfp
import tf_keras as tfk
from tensorflow.python.framework import ops

import tfvae
from tfvae import data, linear, recipes
from tfvae.support import pieces

TESTS = pathlib.Path(__file__).parent
ROOT = TESTS.parent

# The files that take longest, in this order, come first (`--no-loadscope-reorder`), so that no worker waits in the end.
LONGEST = (
    *("test_loaders.py", "10_likelihoods_and_objectives.ipynb", "test_workers.py", "test_vae.py"),
    *("09_richer_priors.ipynb", "08_richer_posteriors.ipynb", "14_the_papers_numbers.ipynb"),
    *("01_from_autoencoder_to_vae.ipynb", "11_your_own_images.ipynb", "05_training_and_the_two_forces.ipynb"),
    *("test_runs.py", "test_combinations.py", "test_audit.py", "13_training_on_a_gpu.ipynb", "test_serving.py"),
    *("test_conditional.py", "test_replicas.py", "12_beta_and_disentanglement.ipynb", "test_contract.py"),
    *("test_cli.py", "15_savedmodel_and_serving.ipynb", "06_the_latent_space.ipynb", "test_estimators.py"),
    *("test_annealing.py", "07_measuring_a_vae.ipynb", "test_streams.py", "00_start_here.ipynb", "test_docs.py"),
    "test_keras_door.py",
)


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def pytest_collection_finish():
    """What has been imported stays: the collector need not look through it time and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_behind():
    """What a module's graphs and arrays took goes back to the system, for a process of pytest runs many modules."""
    yield
    tfk.backend.clear_session()
    # Two registries, of TFP and of TensorFlow, in which a graph holds itself for ever.
    kept = tfp.bijectors.Bijector._cache.storage
    for reference in list(kept):
        reference.cancel()  # or it would look for itself there
    kept.clear()
    gradients = ops.gradient_registry._registry
    for name in [name for name in gradients if name.startswith("CustomGradient-")]:
        del gradients[name]
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # not every C library can
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def same_in_every_run():
    """What a test leaves to chance, such as the weights of a network without a seed, is drawn alike in every run.

    Its figures are closed, for matplotlib warns from the 21st open one on, whichever test opened the others.
    """
    tfk.utils.set_random_seed(0)
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(scope="session")
def digits():
    return data.load("digits")


@pytest.fixture(scope="session")
def binary_digits():
    return data.load("digits", binarize="static")


@pytest.fixture(scope="session")
def linear_model():
    """A linear-Gaussian model with 2 latents in 5 dimensions, of no special structure."""
    rng = np.random.default_rng(0)
    return linear.LinearGaussian(rng.normal(size=(5, 2)), rng.normal(size=5), 0.3)


@pytest.fixture(scope="session")
def linear_x(linear_model):
    """Seven draws from its evidence, [7, 5]."""
    return linear_model.evidence.sample(7, seed=[0, 1])


@pytest.fixture
def linear_vae(linear_model):
    """That model as a VAE whose encoder is the exact posterior."""
    return tfvae.VAE(linear_model.posterior, linear_model.likelihood, linear_model.prior)


SMALL = {"hidden_sizes": (16,), "filters": (4, 8), "flow_steps": 2, "flow_hidden_sizes": (8,), "num_pseudo_inputs": 5}


def small_recipe(small=SMALL, **fields):
    """A recipe of few weights: of `small`, it takes the options of its pieces."""
    latents = {} if fields.get("latent_sizes") else {"latent_size": 2}
    recipe = recipes.Recipe(**{"data": "digits", "epochs": 2, **latents, **fields})
    pieces_of = {field: pieces.users(field).items() for field in small}
    used = [f for f, users in pieces_of.items() if any(getattr(recipe, k) in [p.name for p in ps] for k, ps in users)]
    return recipe.replace(**{field: small[field] for field in used if field not in fields})


def small_vae(images, **fields):
    """An untrained, compiled VAE of a small recipe for the data."""
    recipe = small_recipe(**fields).complete(images)
    vae = recipes.build(recipe)
    recipes.compile(vae, recipe, len(images.x_train))
    return vae


@pytest.fixture(scope="session")
def trained_vae(digits):
    """A small VAE after a few epochs on digits."""
    vae = small_vae(digits, hidden_sizes=(64,), latent_size=4)
    vae.fit(digits.train(64), epochs=15, verbose=0)
    return vae


class StopAt(tfk.callbacks.Callback):
    """Breaks a training at one of its epochs, before or after its checkpoint."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.epoch, self.batch, self.now = epoch, batch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            raise KeyboardInterrupt


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 16 MB of its own; only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mount tmpfs: not permitted")
    yield folder
    subprocess.run(["umount", folder], check=True)
