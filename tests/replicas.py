"""A program for test_replicas: trains on two logical devices and on one, and prints what came of it as JSON.

Logical devices must be made before TensorFlow starts, so that this is a process of its own.
"""

import json
import sys

import numpy as np
import tensorflow as tf
import tf_keras as tfk

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

from conftest import small_recipe  # noqa: E402

from tfvae import data, objectives, recipes  # noqa: E402

IMAGES = data.load("digits")


def quiet_objective(vae, x, *, seed, step=None):
    """The ELBO at z = loc: without noise, so that replicas and one device must agree."""
    qz_x = vae.encode(x)
    log_px_z = vae.decode(qz_x.mean()).log_prob(x)
    kl = objectives.kl_divergence(qz_x, vae.prior, None, exact=True)
    return objectives.Terms(log_px_z - kl, log_px_z, kl)


def trained(strategy, objective, optimizer, epochs=1):
    with strategy.scope():
        vae = recipes.build(small_recipe().complete(IMAGES))
        vae.compile(optimizer(), objective)
    # 1293 images in batches of 100: the last has 93, an odd number.
    history = vae.fit(IMAGES.train(100), validation_data=IMAGES.validation(100), epochs=epochs, verbose=0).history
    return np.concatenate([variable.numpy().ravel() for variable in vae.trainable_variables]), history


def main():
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = {"num_replicas": two.num_replicas_in_sync}
    for name, optimizer in (("sgd", lambda: tfk.optimizers.SGD(1e-3)), ("adam", lambda: tfk.optimizers.Adam(1e-3))):
        (expected, history), (weights, joint) = (trained(s, quiet_objective, optimizer) for s in (one, two))
        found[name] = float(np.abs(weights - expected).max())
        found[f"{name}_metrics"] = max(abs(joint[key][0] / history[key][0] - 1) for key in history)
    first, again = (trained(two, objectives.elbo, tfk.optimizers.Adam, epochs=2)[0] for _ in range(2))
    found["repeats"] = bool(np.array_equal(first, again))
    # What a replica draws for a row of the same image, beside what the other one draws.
    noise = []

    def noted(vae, x, *, seed, step=None):
        noise.append(vae.encode(tf.zeros_like(x[:1])).sample(seed=seed))
        return objectives.elbo(vae, x, seed=seed, step=step)

    with two.scope():
        vae = recipes.build(small_recipe().complete(IMAGES))
        vae.compile(tfk.optimizers.SGD(1e30), noted, run_eagerly=True)
        try:
            vae.compile("adam", jit_compile=True)
        except ValueError as error:
            found["jit"] = str(error)
    try:
        vae.fit(IMAGES.train(100), epochs=1, verbose=0)
    except FloatingPointError as error:
        found["diverged"] = str(error)
    found["finite"] = all(bool(np.isfinite(variable.numpy()).all()) for variable in vae.trainable_variables)
    found["noise"] = [z.numpy().tolist() for z in noise[:2]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
