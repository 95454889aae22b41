"""Invertible maps of latents with a cheap Jacobian determinant, for flow posteriors and the flow prior.

Each has the `push` and `pull` of a `Pushforward`'s transform, and computes in Keras' `floatx` even where the networks
use mixed precision.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfvae.support.rules import FromTwo, Sizes, checked

_GATE = 2.0  # bias of the gate: initially a step keeps sigmoid(2) = 0.88 of its input


@checked
class Flow(tf.Module):
    """Steps after a diagonal normal: z_0 = loc + scale eps, z_t = step_t(z_t-1).

    A context [B, 2 D + C] is split into [B, 2 D], of which `loc_scale` makes loc and scale, and the context of the
    steps; without a context, the flow starts from N(0, I).

    >>> flow = tfvae.distributions.Flow([tfvae.distributions.Coupling(2, 0, [8])], latent_size=2)
    >>> eps = np.ones([3, 2], np.float32)
    >>> np.allclose(flow.pull(flow.push(eps)[0])[0], eps, atol=1e-4)
    True
    """

    def __init__(self, steps: Sequence, latent_size: int, loc_scale: Callable | None = None):
        super().__init__()
        self.steps, self.latent_size = steps, latent_size
        self._loc_scale: Any = loc_scale

    def base(self, context: tf.Tensor | None) -> tfd.MultivariateNormalDiag:
        """N(loc, diag(scale^2)): batch shape [B]."""
        loc, scale, _ = self._split(context)
        return tfd.MultivariateNormalDiag(loc, scale)

    def push(self, eps, context=None):
        loc, scale, context = self._split(context)
        z, log_det = loc + scale * eps, tf.reduce_sum(tf.math.log(scale), axis=-1)
        for step in self.steps:
            z, step_log_det = step.push(z, context)
            log_det += step_log_det
        return z, log_det

    def pull(self, z, context=None):
        loc, scale, context = self._split(context)
        log_det = tf.reduce_sum(tf.math.log(scale), axis=-1)
        for step in reversed(self.steps):
            z, step_log_det = step.pull(z, context)
            log_det += step_log_det
        return (z - loc) / scale, log_det

    def _split(self, context):
        if context is None:
            dtype = tfk.backend.floatx()
            return tf.zeros(self.latent_size, dtype), tf.ones(self.latent_size, dtype), None
        params, context = tf.split(context, [2 * self.latent_size, -1], axis=-1)
        return *self._loc_scale(params), context


@checked
class InverseAutoregressive(tf.Module):
    """z_i = g_i eps_i + (1 - g_i) m_i, where the gate g and m depend on eps_<i and the context.

    Kingma et al. (2016, arXiv 1606.04934, eq. 13 and 14). `push` is one pass of the network, `pull` is D passes;
    `reverse` has i run from the last latent to the first. `tfb.Invert` of a `tfb.MaskedAutoregressiveFlow` gives the
    same numbers to rounding, but passes the network twice for a sample and its density: a training step of 784-400-20
    at batch 128 takes 1.1 to 1.3 times as long, its loss and gradient under XLA 1.2 to 1.3 times (two busy cores).
    """

    def __init__(
        self, latent_size: FromTwo, context_size, hidden_sizes: Sizes, activation="relu", *, reverse=False, seed=None
    ):
        super().__init__()
        self.latent_size = latent_size
        self.network = tfb.AutoregressiveNetwork(
            params=2,
            event_shape=[latent_size],
            conditional=True,
            conditional_event_shape=[context_size],
            hidden_units=list(hidden_sizes),
            input_order="right-to-left" if reverse else "left-to-right",
            activation=activation,
            kernel_initializer=tfk.initializers.GlorotUniform(seed=seed),
            dtype=tfk.backend.floatx(),
        )
        self.network.build((None, latent_size))

    def parameters(self, eps: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """log g, m: [..., D] each."""
        raw_gate, m = tf.unstack(self.network(eps, conditional_input=context), axis=-1)
        return tf.math.log_sigmoid(raw_gate + _GATE), m

    def push(self, eps, context):
        log_gate, m = self.parameters(eps, context)
        gate = tf.exp(log_gate)
        return gate * eps + (1 - gate) * m, tf.reduce_sum(log_gate, axis=-1)

    def pull(self, z, context):
        def improved(eps, _):
            log_gate, m = self.parameters(eps, context)
            return m + (z - m) * tf.exp(-log_gate), log_gate

        # Each pass solves one more latent, in autoregressive order: a gate depends only on earlier latents.
        start = (z, tf.zeros_like(z))
        eps, log_gate = tf.while_loop(lambda *_: True, improved, start, maximum_iterations=self.latent_size)
        return eps, tf.reduce_sum(log_gate, axis=-1)


@checked
class Coupling(tf.Module):
    """z_a = eps_a, z_b = scale eps_b + shift, where scale and shift depend on eps_a and the context.

    Dinh et al. (2016, arXiv 1605.08803, eq. 4 and 5), with log scale = tanh(.). One pass in either direction; the
    initial weights make it near the identity. The halves a and b differ by one latent where D is odd; `reverse` makes
    a the second half. A `context_size` of 0 is for no context.
    """

    def __init__(
        self, latent_size: FromTwo, context_size, hidden_sizes: Sizes, activation="relu", *, reverse=False, seed=None
    ):
        super().__init__()
        self.sizes = [latent_size // 2, latent_size - latent_size // 2]
        self.reverse = reverse
        kept, changed = reversed(self.sizes) if reverse else self.sizes
        sizes = [kept, *hidden_sizes, 2 * changed]
        gains = [1.0] * len(hidden_sizes) + [1e-2]
        self.layers = [_dense(*a, seed, i) for i, a in enumerate(zip(sizes[:-1], sizes[1:], gains, strict=True))]
        # Added after the first layer, so that a context is not tiled over samples of eps.
        self.of_context: Any = _dense(context_size, hidden_sizes[0], 1.0, seed, len(sizes)) if context_size else None
        self.activation = tfk.activations.get(activation)

    def push(self, eps, context=None):
        kept, changed = self._halves(eps)
        log_scale, shift = self._parameters(kept, context)
        return self._joined(kept, tf.exp(log_scale) * changed + shift), tf.reduce_sum(log_scale, axis=-1)

    def pull(self, z, context=None):
        kept, changed = self._halves(z)
        log_scale, shift = self._parameters(kept, context)
        return self._joined(kept, tf.exp(-log_scale) * (changed - shift)), tf.reduce_sum(log_scale, axis=-1)

    def _parameters(self, kept, context):
        h = self.layers[0](kept)
        if context is not None:
            h += self.of_context(context)
        for layer in self.layers[1:]:
            h = layer(self.activation(h))
        raw_log_scale, shift = tf.split(h, 2, axis=-1)
        return tf.tanh(raw_log_scale), shift

    def _halves(self, z):
        return tf.split(z, self.sizes, axis=-1)[:: -1 if self.reverse else 1]

    def _joined(self, kept, changed):
        return tf.concat([kept, changed][:: -1 if self.reverse else 1], axis=-1)


@checked
def stacked(
    step: Callable,
    latent_size: FromTwo,
    context_size,
    num_steps,
    hidden_sizes: Sizes,
    activation,
    seed,
    loc_scale: Callable | None = None,
):
    """A `Flow` of num_steps steps of one class, in alternating order of the latents.

    >>> len(tfvae.distributions.stacked(tfvae.distributions.Coupling, 2, 0, 3, [8], "relu", seed=0).steps)
    3
    """
    seeds = [None if seed is None else seed + 10 * (i + 1) for i in range(num_steps)]
    options = latent_size, context_size, hidden_sizes, activation
    steps = [step(*options, reverse=bool(i % 2), seed=step_seed) for i, step_seed in enumerate(seeds)]
    return Flow(steps, latent_size, loc_scale)


def _dense(inputs, size, gain, seed, i):
    initializer = tfk.initializers.VarianceScaling(gain, "fan_avg", "uniform", seed=None if seed is None else seed + i)
    layer = tfk.layers.Dense(size, kernel_initializer=initializer, dtype=tfk.backend.floatx(), name=f"layer_{i}")
    layer.build((None, inputs))
    return layer
