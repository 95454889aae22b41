"""One contender of throughput.py: trains on command and says how many images it has processed in what time.

    python benchmarks/contenders.py NAME MODEL BATCH_SIZE    one line of JSON for each line on stdin

Each is written as its own community writes it. All train the same model on the same binarized images (fresh
binarization and a new order each epoch), with Adam at 1e-3, and count the images that they really processed.
"""

import itertools
import json
import os
import sys
import time

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# hidden sizes of the encoder (the decoder has them reversed), latents, activation, samples of z
MODELS = {
    "mlp-400-20": ((400,), 20, "relu", 1),
    "mlp-200-200-50": ((200, 200), 50, "tanh", 1),
    "iwae-50": ((200, 200), 50, "tanh", 50),
}
CONTENDERS = {}


def contender(function):
    CONTENDERS[function.__name__] = function
    return function


def images():
    """MNIST's training images, bytes [55000, 28, 28, 1]; noise of the same mean where there is no MNIST."""
    from tfvae import data

    try:
        return data.load("mnist").images["train"]
    except OSError:
        return np.random.default_rng(0).integers(0, 68, size=(55_000, 28, 28, 1)).astype(np.uint8)


def tfvae_vae(model, batch_size, **compile_options):
    import tf_keras as tfk

    import tfvae
    from tfvae import data, likelihoods, networks, objectives, posteriors, priors

    hidden, latent_size, activation, num_samples = MODELS[model]
    x = data.from_arrays(images(), images()[:100], validation_size=0, binarize="stochastic")
    vae = tfvae.VAE(
        encoder=posteriors.diagonal_normal(networks.mlp(x.event_shape, hidden, activation), latent_size),
        decoder=likelihoods.bernoulli(networks.mlp((latent_size,), hidden[::-1], activation), x.event_shape),
        prior=priors.standard_normal(latent_size),
    )
    objective = objectives.elbo if num_samples == 1 else objectives.iwae(num_samples)
    vae.compile(tfk.optimizers.Adam(1e-3), objective, **compile_options)
    train = x.train(batch_size)

    def epoch():
        history = vae.fit(train, epochs=1, verbose=0).history
        return len(x.images["train"]), history["loss"][0]

    return epoch


@contender
def tfvae_default(model, batch_size):
    """This package as it comes."""
    return tfvae_vae(model, batch_size)


@contender
def tfvae_jit(model, batch_size):
    """This package, with XLA."""
    return tfvae_vae(model, batch_size, jit_compile=True)


@contender
def tf_keras_tutorial(model, batch_size):
    """A subclassed model with a train_step, as Keras' own example of a VAE has it."""
    import tensorflow as tf
    import tf_keras as tfk

    hidden, latent_size, activation, num_samples = MODELS[model]

    class Tutorial(tfk.Model):
        def __init__(self):
            super().__init__()
            dense = tfk.layers.Dense
            self.encoder = tfk.Sequential([*(dense(h, activation) for h in hidden), dense(2 * latent_size)])
            self.decoder = tfk.Sequential([*(dense(h, activation) for h in hidden[::-1]), dense(784)])
            self.tracker = tfk.metrics.Mean(name="loss")

        @property
        def metrics(self):
            return [self.tracker]

        def loss_of(self, x):
            mean, log_var = tf.split(self.encoder(x), 2, axis=-1)
            noise = tf.random.normal([num_samples, *tf.unstack(tf.shape(mean))])
            z = mean + tf.exp(0.5 * log_var) * noise
            logits = tf.reshape(self.decoder(tf.reshape(z, [-1, latent_size])), [num_samples, -1, 784])
            targets = tf.broadcast_to(x, tf.shape(logits))
            ce = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
            log_px_z = -tf.reduce_sum(ce, -1)
            if num_samples == 1:
                kl = -0.5 * tf.reduce_sum(1 + log_var - mean**2 - tf.exp(log_var), -1)
                return -tf.reduce_mean(log_px_z[0] - kl)
            log_ratio = 0.5 * tf.reduce_sum(noise**2 + log_var - z**2, -1)
            return -tf.reduce_mean(tf.reduce_logsumexp(log_px_z + log_ratio, 0) - np.log(num_samples))

        def train_step(self, x):
            with tf.GradientTape() as tape:
                loss = self.loss_of(x)
            self.optimizer.apply_gradients(
                zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights, strict=True)
            )
            self.tracker.update_state(loss)
            return {"loss": self.tracker.result()}

    grey = images().reshape(-1, 784).astype(np.float32) / 255

    def binarize(x):
        return tf.cast(tf.random.uniform(tf.shape(x)) < x, tf.float32)

    dataset = tf.data.Dataset.from_tensor_slices(grey).shuffle(len(grey)).batch(batch_size)
    dataset = dataset.map(binarize, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    vae = Tutorial()
    vae.compile(optimizer=tfk.optimizers.Adam(1e-3))
    return lambda: (len(grey), vae.fit(dataset, epochs=1, verbose=0).history["loss"][0])


def torch_epoch(model, batch_size, compiled):
    import torch
    from torch import nn
    from torch.nn import functional as f

    hidden, latent_size, activation, num_samples = MODELS[model]
    layer = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]

    def body(sizes):
        return [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), layer())]

    class Vae(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(*body([784, *hidden]), nn.Linear(hidden[-1], 2 * latent_size))
            self.decoder = nn.Sequential(*body([latent_size, *hidden[::-1]]), nn.Linear(hidden[0], 784))

        def forward(self, x):
            mean, log_var = self.encoder(x).chunk(2, dim=-1)
            noise = torch.randn(num_samples, *mean.shape)
            z = mean + torch.exp(0.5 * log_var) * noise
            logits = self.decoder(z)
            log_px_z = -f.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
            if num_samples == 1:
                kl = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(-1)
                return -(log_px_z[0] - kl).mean()
            log_ratio = 0.5 * (noise.pow(2) + log_var - z.pow(2)).sum(-1)
            return -(torch.logsumexp(log_px_z + log_ratio, 0) - np.log(num_samples)).mean()

    grey = torch.from_numpy(images().reshape(-1, 784).astype(np.float32) / 255)
    vae = Vae()
    loss_of = torch.compile(vae) if compiled else vae
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)

    def epoch():
        total = 0.0
        for index in torch.randperm(len(grey)).split(batch_size):
            x = torch.bernoulli(grey[index])
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(index)
        return len(grey), float(total) / len(grey)

    return epoch


@contender
def torch_eager(model, batch_size):
    return torch_epoch(model, batch_size, compiled=False)


@contender
def torch_compiled(model, batch_size):
    return torch_epoch(model, batch_size, compiled=True)


def jax_epoch(model, batch_size, scanned):
    import jax
    from jax import numpy as jnp

    hidden, latent_size, activation, num_samples = MODELS[model]
    act = {"relu": jax.nn.relu, "tanh": jnp.tanh}[activation]

    def init(key, sizes):
        keys = jax.random.split(key, len(sizes))
        return [
            (jax.random.normal(k, (a, b)) * np.sqrt(1 / a), jnp.zeros(b))
            for k, a, b in zip(keys, sizes, sizes[1:], strict=False)
        ]

    def apply(layers, x):
        for w, b in layers[:-1]:
            x = act(x @ w + b)
        w, b = layers[-1]
        return x @ w + b

    def loss_of(params, key, x):
        mean, log_var = jnp.split(apply(params[0], x), 2, axis=-1)
        noise = jax.random.normal(key, (num_samples, *mean.shape))
        z = mean + jnp.exp(0.5 * log_var) * noise
        logits = apply(params[1], z)
        log_px_z = jnp.sum(x * logits - jax.nn.softplus(logits), -1)
        if num_samples == 1:
            kl = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var), -1)
            return -jnp.mean(log_px_z[0] - kl)
        log_ratio = 0.5 * jnp.sum(noise**2 + log_var - z**2, -1)
        return -jnp.mean(jax.nn.logsumexp(log_px_z + log_ratio, 0) - np.log(num_samples))

    grey = jnp.asarray(images().reshape(-1, 784))
    keys = jax.random.split(jax.random.key(0), 2)
    params = [
        init(keys[0], [784, *hidden, 2 * latent_size]),
        init(keys[1], [latent_size, *hidden[::-1], 784]),
    ]
    state = (params, *(jax.tree.map(jnp.zeros_like, params) for _ in range(2)), jnp.zeros((), jnp.int32))

    def step(state, key_and_index):
        params, m, v, t = state
        key, index = key_and_index
        k1, k2 = jax.random.split(key)
        x = grey[index].astype(jnp.float32) / 255
        x = (jax.random.uniform(k1, x.shape) < x).astype(jnp.float32)
        loss, grads = jax.value_and_grad(loss_of)(params, k2, x)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, grads)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), params, m, v)
        return (params, m, v, t), loss

    num_steps = len(grey) // batch_size
    one_step = jax.jit(step, donate_argnums=0)
    rng = np.random.default_rng(0)

    @jax.jit
    def whole_epoch(state, key):
        order = jax.random.permutation(key, len(grey))[: num_steps * batch_size].reshape(num_steps, batch_size)
        return jax.lax.scan(step, state, (jax.random.split(key, num_steps), order))

    def epoch():
        nonlocal state
        key = jax.random.key(int(rng.integers(2**31)))
        if scanned:
            state, losses = whole_epoch(state, key)
        else:
            order = rng.permutation(len(grey))[: num_steps * batch_size].reshape(num_steps, batch_size)
            losses = []
            for k, index in zip(jax.random.split(key, num_steps), order, strict=True):
                state, loss = one_step(state, (k, index))
                losses.append(loss)
        return num_steps * batch_size, float(jnp.mean(jnp.stack(list(losses))))

    return epoch


@contender
def jax_step(model, batch_size):
    return jax_epoch(model, batch_size, scanned=False)


@contender
def jax_scan(model, batch_size):
    return jax_epoch(model, batch_size, scanned=True)


def main(name, model, batch_size):
    import resource

    epoch = CONTENDERS[name](model, int(batch_size))
    for _ in sys.stdin:
        started = time.perf_counter()
        count, loss = epoch()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"images": count, "seconds": seconds, "loss": loss, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
