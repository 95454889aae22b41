"""A subclassed model with a train_step, as Keras' own example of a VAE has it: in tf_keras, and in Keras 3."""

import functools
import importlib
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np
import tensorflow as tf

from contenders import check_gpu, paced


def make(task, keras, **compile_options):
    check_gpu(task, tf.config.list_physical_devices("GPU"))
    keras = importlib.import_module(keras)
    vae = vae_class(keras)(*networks(keras, task.model), task.model.num_samples)
    vae.compile(optimizer=keras.optimizers.Adam(1e-3), **compile_options)
    dataset = images(task)
    if keras.__name__ == "keras":  # in a thread of its own Keras 3 sleeps for seconds between some epochs
        return lambda: (len(task.images), vae.fit(dataset, epochs=1, verbose=0).history["loss"][0])
    epoch = paced(
        keras.callbacks.Callback, lambda callbacks: vae.fit(dataset, epochs=1000, callbacks=callbacks, verbose=0)
    )
    return lambda: (len(task.images), epoch())


def images(task):
    """[B, 784] of 0 and 1."""

    def binarize(x):
        return tf.cast(tf.random.uniform(tf.shape(x)) < x, tf.float32)

    grey = task.images.astype(np.float32) / 255
    source = binarize(grey) if task.static else grey
    dataset = tf.data.Dataset.from_tensor_slices(source).shuffle(len(grey)).batch(task.batch_size)
    if not task.static:
        dataset = dataset.map(binarize, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def networks(keras, model):
    """Encoder [B, 784] -> [B, 2 D] and decoder [B, D] -> [B, 784]."""
    layers = keras.layers
    dense = functools.partial(layers.Dense, activation=model.activation)
    options = {"strides": 2, "padding": "same", "activation": model.activation}
    if model.filters:
        down = [layers.Conv2D(n, 3, **options) for n in model.filters]
        up = [layers.Conv2DTranspose(n, 3, **options) for n in model.filters[::-1]]
        last = model.filters[-1]
        encoder = [layers.Reshape((28, 28, 1)), *down, layers.Flatten()]
        decoder = [dense(7 * 7 * last), layers.Reshape((7, 7, last)), *up, layers.Conv2D(1, 1), layers.Flatten()]
    else:
        encoder = [dense(n) for n in model.hidden]
        decoder = [*(dense(n) for n in model.hidden[::-1]), layers.Dense(784)]
    return (
        keras.Sequential([keras.Input((784,)), *encoder, layers.Dense(2 * model.latent_size)]),
        keras.Sequential([keras.Input((model.latent_size,)), *decoder]),
    )


def vae_class(keras):
    class VAE(keras.Model):
        def __init__(self, encoder, decoder, num_samples):
            super().__init__()
            self.encoder = encoder
            self.decoder = decoder
            self.num_samples = num_samples
            self.tracker = keras.metrics.Mean(name="loss")
            self.normal = tf.random.normal
            if hasattr(keras, "random"):
                self.normal = functools.partial(keras.random.normal, seed=keras.random.SeedGenerator(0))

        @property
        def metrics(self):
            return [self.tracker]

        def train_step(self, x):
            with tf.GradientTape() as tape:
                mean, log_var = tf.split(self.encoder(x), 2, axis=-1)
                noise = self.normal((self.num_samples, tf.shape(mean)[0], mean.shape[1]))
                z = mean + tf.exp(0.5 * log_var) * noise
                logits = self.decoder(tf.reshape(z, (-1, mean.shape[1])))
                logits = tf.reshape(logits, (self.num_samples, -1, 784))
                loss = -tf.reduce_mean(bound(x, mean, log_var, noise, z, logits))
            gradients = tape.gradient(loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
            self.tracker.update_state(loss)
            return {"loss": self.tracker.result()}

    return VAE


def bound(x, mean, log_var, noise, z, logits):
    """The evidence lower bound with its KL in closed form, or for several samples the importance-weighted one: [B]."""
    targets = tf.broadcast_to(x, tf.shape(logits))
    log_px_z = -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), -1)
    num_samples = logits.shape[0]
    if num_samples == 1:
        kl = -0.5 * tf.reduce_sum(1 + log_var - mean**2 - tf.exp(log_var), -1)
        return log_px_z[0] - kl
    log_ratio = 0.5 * tf.reduce_sum(noise**2 + log_var - z**2, -1)
    return tf.reduce_logsumexp(log_px_z + log_ratio, 0) - np.log(num_samples)
