"""A program for test_workers: one of the processes that train together; writes what came of it to a folder.

A process belongs to one cluster all its life, so that all of it happens in one. In the end it begins the run `killed`
by the command that is given after the folder, as `python -m tfvae` would, and the second process dies at work.
"""

import json
import os
import pathlib
import signal
import sys
import threading
import time
from unittest import mock

import numpy as np
import tensorflow as tf
import tf_keras as tfk
from conftest import small_recipe
from joint import quiet_objective, trained

from tfvae import cli, data, recipes, runs
from tfvae.support import replicas
from tfvae.train import strategies

OPTIMIZERS = {"sgd": tfk.optimizers.SGD, "adam": tfk.optimizers.Adam}
# The run that is killed elsewhere.
RECIPE = small_recipe(epochs=10, batch_size=400, binarize="stochastic", averaged_epochs=9, mean_bias=True)


def main(folder, *command):
    folder = pathlib.Path(folder)
    strategy = strategies.named("multiworker")
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    weights, found = {}, {"num_replicas": strategy.num_replicas_in_sync}
    images = data.load("digits", "stochastic")
    for name, optimizer in OPTIMIZERS.items():
        weights[name], found[name] = trained(strategy, images, quiet_objective, optimizer)
    stream = data.from_tfrecords(
        str(folder / "images/*"), (8, 8, 1), validation=str(folder / "images/*"), binarize="stochastic", count=True
    )
    weights["stream"], found["stream"] = trained(strategy, stream, quiet_objective, tfk.optimizers.SGD)
    found["seed"] = strategy.run(lambda: replicas.own_seed([0, 1])).numpy().tolist()
    found["refused"] = refusals(strategy, images)
    result = runs.start(RECIPE, folder / "whole", strategy=strategy, num_samples=2, verbose=False)
    found["returned"] = result is not None
    np.savez(folder / f"weights-{index}.npz", **weights)
    (folder / f"found-{index}.json").write_text(json.dumps(found))
    if index == 1:
        threading.Thread(target=die_once_there, args=[folder / "killed" / runs.CHECKPOINT], daemon=True).start()
    with mock.patch.object(strategies, "named", return_value=strategy):
        cli.main(command)


def refusals(strategy, images):
    """What `fit` says to what workers cannot share."""
    with strategy.scope():
        vae = recipes.build(small_recipe().complete(images))
        vae.compile("sgd")
    found = []
    for x in (images.x_train, images.train(1), tf.data.Dataset.from_generator(list, tf.float32)):
        try:
            vae.fit(x, verbose=0)
        except ValueError as error:
            found.append(str(error))
    return found


def die_once_there(path):
    """As by kill -9, as soon as there is a file of this name."""
    while not path.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
