"""This package: as it comes, with XLA or without, in mixed precision."""

import tensorflow as tf
import tf_keras as tfk

import tfvae
from contenders import check_gpu, paced
from tfvae import data, likelihoods, networks, objectives, posteriors, priors


def make(task, policy="float32", **compile_options):
    check_gpu(task, tf.config.list_physical_devices("GPU"))
    tfk.mixed_precision.set_global_policy(policy)
    model = task.model
    images = task.images.reshape(-1, 28, 28, 1)
    binarize = "static" if task.static else "stochastic"
    x = data.from_arrays(images, images[:100], validation_size=0, binarize=binarize)
    if model.filters:
        encoder = networks.conv(x.event_shape, model.filters, activation=model.activation)
        decoder = networks.transposed_conv(
            (model.latent_size,), x.event_shape, model.filters[::-1], activation=model.activation
        )
    else:
        encoder = networks.mlp(x.event_shape, model.hidden, model.activation)
        decoder = networks.mlp((model.latent_size,), model.hidden[::-1], model.activation)
    vae = tfvae.VAE(
        encoder=posteriors.diagonal_normal(encoder, model.latent_size),
        decoder=likelihoods.bernoulli(decoder, x.event_shape),
        prior=priors.standard_normal(model.latent_size),
    )
    objective = objectives.elbo if model.num_samples == 1 else objectives.iwae(model.num_samples)
    vae.compile(tfk.optimizers.Adam(1e-3), objective, **compile_options)
    train = x.train(task.batch_size)
    # Epochs of a long run: the package chooses by its length whether XLA pays.
    epoch = paced(tfk.callbacks.Callback, lambda callbacks: vae.fit(train, epochs=1000, callbacks=callbacks, verbose=0))
    return lambda: (len(images), epoch())
