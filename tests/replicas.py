"""A program for test_replicas: trains on two logical devices and on one, and prints what came of it as JSON.

Logical devices must be made before TensorFlow starts, so that this is a process of its own.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import tensorflow as tf
import tf_keras as tfk
from conftest import small_recipe
from joint import quiet_objective, trained

from tfvae import data, objectives, recipes, runs
from tfvae.train import strategies
from tfvae.train.muon import Muon

OPTIMIZERS = {"sgd": tfk.optimizers.SGD, "muon": Muon, "adam": tfk.optimizers.Adam}


def main():
    two = strategies.named("mirrored", 2)
    one, mirrored = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0"])
    images = data.load("digits")
    found = {"num_replicas": two.num_replicas_in_sync}
    for name, optimizer in OPTIMIZERS.items():
        (expected, history), (weights, joint) = (trained(s, images, quiet_objective, optimizer) for s in (one, two))
        found[name] = float(np.abs(weights - expected).max())
        found[f"{name}_metrics"] = max(abs(joint[key][0] / history[key][0] - 1) for key in history)
    (expected_scaled, _), (scaled, _) = (
        trained(s, images, quiet_objective, tfk.optimizers.SGD, validates=False, likelihood="normal_optimal")
        for s in (one, two)
    )
    found["with_optimal_scale"] = float(np.abs(scaled - expected_scaled).max())
    alone, _ = trained(mirrored, images, quiet_objective, optimizer, validates=False)
    found["one_mirrored"] = float(np.abs(alone - expected).max())
    found |= run(two) | noise_and_divergence(two, images)
    json.dump(found, sys.stdout)


def run(strategy):
    """A run on disk, and one that goes on from what the disk had after its second epoch, were it stopped there."""

    class Copy(tfk.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                shutil.copytree(whole, stopped)

    with tempfile.TemporaryDirectory() as folder:
        whole, stopped = (pathlib.Path(folder) / name for name in ("whole", "stopped"))
        options = {"strategy": strategy, "num_samples": 2, "verbose": False}
        runs.start(small_recipe(epochs=3), whole, callbacks=[Copy()], **options)
        runs.resume(stopped, **options)
        weights = [dict(np.load(path / runs.WEIGHTS)) for path in (whole, stopped)]
        return {"resumed": all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])}


def noise_and_divergence(strategy, images):
    """What a replica draws for a row of the same image, beside what the other one draws; a rate that is too high."""
    noise, found = [], {}

    def noted(vae, x, *, seed, step=None):
        noise.append(vae.encode(tf.zeros_like(x[:1])).sample(seed=seed))
        return objectives.elbo(vae, x, seed=seed, step=step)

    with strategy.scope():
        vae = recipes.build(small_recipe().complete(images))
        vae.compile(tfk.optimizers.SGD(1e30), noted, run_eagerly=True)
        try:
            vae.compile("adam", jit_compile=True)
        except ValueError as error:
            found["jit"] = str(error)
    try:
        vae.fit(images.train(100), epochs=1, verbose=0)
    except FloatingPointError as error:
        found["diverged"] = str(error)
    found["finite"] = all(bool(np.isfinite(variable.numpy()).all()) for variable in vae.trainable_variables)
    return found | {"noise": [z.numpy().tolist() for z in noise[:2]]}


if __name__ == "__main__":
    main()
