"""What several test modules need."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import pathlib

import numpy as np
import pytest
import tf_keras as tfk

import tfvae
from tfvae import data, linear, recipes

TESTS = pathlib.Path(__file__).parent
ROOT = TESTS.parent


@pytest.fixture(autouse=True)
def same_in_every_run():
    """What a test leaves to chance, such as the weights of a network without a seed, is drawn alike in every run."""
    tfk.utils.set_random_seed(0)


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


def small_recipe(**fields):
    return recipes.Recipe(**{"hidden_sizes": (16,), "filters": (4, 8), "latent_size": 2, "epochs": 2, **fields})


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
