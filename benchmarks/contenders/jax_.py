"""JAX alone: a jitted call for each step, or a scan for the epoch. It drops the last, smaller batch."""

import itertools
import math

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from contenders import check_gpu

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def make(task, scanned=False):
    check_gpu(task, jax.default_backend() == "gpu")
    images = jnp.asarray(task.images)
    if task.static:
        images = binarized(jax.random.key(1), images)
    num_steps = len(images) // task.batch_size
    count = num_steps * task.batch_size
    key = jax.random.key(0)
    encode, decode, params = networks(task.model, key)
    state = (params, *(jax.tree.map(jnp.zeros_like, params) for _ in range(2)), jnp.zeros((), jnp.int32))

    def step(images, state, index):
        params, m, v, t = state
        x_key, z_key = jax.random.split(jax.random.fold_in(key, t))
        x = images[index] if task.static else binarized(x_key, images[index])

        def loss_of(params):
            return -jnp.mean(bound(encode, decode, task.model, params, z_key, x))

        loss, gradients = jax.value_and_grad(loss_of)(params)
        return (*adam(params, gradients, m, v, t + 1), t + 1), loss

    def scan(images, state):
        order_key = jax.random.fold_in(jax.random.key(2), state[-1])
        order = jax.random.permutation(order_key, len(images))[:count].reshape(num_steps, -1)
        return lax.scan(lambda state, index: step(images, state, index), state, order)

    # The images are an argument: captured, they would be a constant that is compiled in.
    run = jax.jit(scan if scanned else step, donate_argnums=1)
    rng = np.random.default_rng(0)

    def epoch():
        nonlocal state
        if scanned:
            state, losses = run(images, state)
        else:
            losses = []
            for index in rng.permutation(len(images))[:count].reshape(num_steps, -1):
                state, loss = run(images, state, index)
                losses.append(loss)
        return count, float(np.mean(jax.device_get(losses)))

    return epoch


def binarized(key, images):
    grey = images.astype(jnp.float32) / 255
    return (jax.random.uniform(key, grey.shape) < grey).astype(jnp.float32)


def bound(encode, decode, model, params, key, x):
    """The evidence lower bound, or for several samples the importance-weighted one: [B]."""
    mean, log_var = jnp.split(encode(params[0], x), 2, axis=-1)
    noise = jax.random.normal(key, (model.num_samples, *mean.shape))
    z = mean + jnp.exp(0.5 * log_var) * noise
    logits = decode(params[1], z.reshape(-1, model.latent_size)).reshape(model.num_samples, -1, 784)
    log_px_z = jnp.sum(x * logits - jax.nn.softplus(logits), -1)
    if model.num_samples == 1:
        kl = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var), -1)
        return log_px_z[0] - kl
    log_ratio = 0.5 * jnp.sum(noise**2 + log_var - z**2, -1)
    return jax.nn.logsumexp(log_px_z + log_ratio, 0) - math.log(model.num_samples)


def adam(params, gradients, m, v, t):
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, gradients)
    rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), params, m, v), m, v


def networks(model, key):
    """Encoder [B, 784] -> [B, 2 D], decoder [B, D] -> [B, 784], and the weights of both."""
    act = ACTIVATIONS[model.activation]

    def dense(layer, x):
        return x @ layer[0] + layer[1]

    def conv(layer, x):
        return (
            lax.conv_general_dilated(x, layer[0], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + layer[1]
        )

    def up(layer, x):
        return lax.conv_transpose(x, layer[0], (2, 2), "SAME") + layer[1]

    def mlp(layers, x):
        for layer in layers[:-1]:
            x = act(dense(layer, x))
        return dense(layers[-1], x)

    def encode(layers, x):
        x = x.reshape(-1, 28, 28, 1)
        for layer in layers[:-1]:
            x = act(conv(layer, x))
        return dense(layers[-1], x.reshape(len(x), -1))

    def decode(layers, z):
        h = act(dense(layers[0], z)).reshape(len(z), 7, 7, -1)
        for layer in layers[1:-1]:
            h = act(up(layer, h))
        return dense(layers[-1], h).reshape(len(z), 784)

    hidden, latent, filters = model.hidden, model.latent_size, model.filters
    if not filters:
        shapes = [[784, *hidden, 2 * latent], [latent, *hidden[::-1], 784]]
        return mlp, mlp, weights(key, [list(itertools.pairwise(sizes)) for sizes in shapes])
    features = 7 * 7 * filters[-1]
    kernels = [(3, 3, a, b) for a, b in itertools.pairwise([1, *filters])]
    kernels_up = [(3, 3, a, b) for a, b in itertools.pairwise([filters[-1], *filters[::-1]])]
    shapes = [
        [*kernels, (features, 2 * latent)],
        [(latent, features), *kernels_up, (filters[0], 1)],
    ]
    return encode, decode, weights(key, shapes)


def weights(key, shapes):
    """A list for each network, with a pair (kernel, bias) for each of its layers."""
    initial = jax.nn.initializers.glorot_uniform()
    keys = iter(jax.random.split(key, sum(map(len, shapes))))
    return [[(initial(next(keys), shape), jnp.zeros(shape[-1])) for shape in layers] for layers in shapes]
