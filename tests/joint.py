"""What tests of several devices and machines train."""

import numpy as np
import tensorflow_probability as tfp
from conftest import small_recipe

from tfvae import objectives, recipes


def quiet_objective(vae, x, *, seed, step=None):
    """The ELBO at z = loc: without noise, so that replicas and one device must agree."""
    qz_x = vae.encode(x)
    log_px_z = vae.decode(qz_x.mean()).log_prob(x)
    kl = tfp.distributions.kl_divergence(qz_x, vae.prior)
    return objectives.Terms(log_px_z - kl, log_px_z, kl)


def trained(strategy, images, objective, optimizer, validates=True, **fields):
    """The weights in one vector, and the history; `optimizer` is a class, the rest of a small recipe.

    1293 digits in batches of 100: the last has 93, an odd number.
    """
    with strategy.scope():
        vae = recipes.build(small_recipe(**fields).complete(images))
        vae.compile(optimizer(1e-3), objective)
    validation = images.validation(100) if validates else None
    history = vae.fit(images.train(100), validation_data=validation, verbose=0).history
    variables = [*vae.encoder.variables, *vae.decoder.variables]
    return np.concatenate([variable.numpy().ravel() for variable in variables]), history
