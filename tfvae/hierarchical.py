"""Several layers of latents, z = [z_1, ..., z_L]: one vector outside this module, split inside it.

    p(z) = p(z_L) prod_l p(z_l|z_l+1),   p(x|z) = p(x|z_1)

    prior       p(z_L) = N(0, I), p(z_l|z_l+1) normal, its parameters a network of z_l+1
    bottom-up   q(z|x) = q(z_1|x) prod_l q(z_l+1|z_l)     Burda et al. (2015, arXiv 1509.00519, section 5)
    top-down    q(z|x) = q(z_L|x) prod_l q(z_l|z_l+1, x)  Sonderby et al. (2016, arXiv 1602.02282, eq. 17 to 19)

Each is a `Pushforward`: z_l = loc_l + scale_l eps_l, layer by layer, with a triangular Jacobian. Its decoder reads only
z_1: `likelihoods.bernoulli(networks.first(body of z_1, of=sum(latent_sizes)), event_shape)`.
"""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as tfk

from tfvae.distributions import Pushforward
from tfvae.posteriors import Posterior, PushforwardLayer, loc_scale
from tfvae.support.rules import checked

__all__ = ["bottom_up", "prior", "top_down"]


def __dir__():
    return __all__


@checked
def prior(networks, latent_sizes: Sequence[int], *, seed: int | None = None) -> Pushforward:
    """p(z) = N(z_L; 0, I) prod_l N(z_l; loc(z_l+1), diag(scale(z_l+1)^2)); trainable.

    ValueError for sizes below 1, or another number of networks.

    Args:
        networks: Keras bodies [B, D_l+1] -> features, for l = 1, ..., L - 1, from z_1's parameters upwards.
        latent_sizes: D_1, ..., D_L, from the data upwards; at least two.

    >>> pz = tfvae.hierarchical.prior([tfvae.networks.mlp((2,), [16])], latent_sizes=(4, 2))
    >>> pz.sample(3, seed=0).shape
    TensorShape([3, 6])
    """
    _check(networks, latent_sizes, len(latent_sizes) - 1)
    chain = Downwards(with_heads(networks, latent_sizes[:-1], seed), latent_sizes)
    return Pushforward(chain, sum(latent_sizes), dtype=chain.dtype, name="hierarchical_prior")


@checked
def bottom_up(networks, latent_sizes: Sequence[int], *, seed: int | None = None) -> Posterior:
    """q(z|x) = N(z_1; loc(x), diag(scale(x)^2)) prod_l N(z_l+1; loc(z_l), diag(scale(z_l)^2)).

    `networks` are L Keras bodies -> features: of x [B, *event_shape], of z_1 [B, D_1], ..., of z_L-1.

    >>> bodies = [tfvae.networks.mlp((8, 8, 1), [16]), tfvae.networks.mlp((4,), [16])]
    >>> tfvae.hierarchical.bottom_up(bodies, latent_sizes=(4, 2))(np.zeros([3, 8, 8, 1])).sample(seed=0).shape
    TensorShape([3, 6])
    """
    _check(networks, latent_sizes, len(latent_sizes))
    transform = Upwards(with_heads(networks[1:], latent_sizes[1:], seed), latent_sizes)
    layer = PushforwardLayer(transform, sum(latent_sizes))
    return Posterior(networks[0], sum(latent_sizes), 2 * latent_sizes[0], layer, seed)


@checked
def top_down(networks, latent_sizes: Sequence[int], prior: Pushforward, *, seed: int | None = None) -> tfk.Model:
    """q(z|x) = q(z_L|x) prod_l q(z_l|z_l+1, x): the encoder's and the prior's normal, weighted by precision.

    With loc_d, scale_d of a deterministic upward pass, d_1 = network_1(x), d_l+1 = network_l+1(d_l), and loc_p, scale_p
    of p(z_l|z_l+1): 1 / scale^2 = 1 / scale_d^2 + 1 / scale_p^2, loc = scale^2 (loc_d / scale_d^2 + loc_p / scale_p^2).
    z_L depends only on x.

    Args:
        networks: L Keras bodies -> features: of x [B, *event_shape], of d_1, ..., of d_L-1.
        prior: from `prior`; its conditionals are shared, and their variables belong to the prior.

    >>> pz = tfvae.hierarchical.prior([tfvae.networks.mlp((2,), [16])], latent_sizes=(4, 2))
    >>> bodies = [tfvae.networks.mlp((8, 8, 1), [16]), tfvae.networks.mlp((16,), [8])]
    >>> tfvae.hierarchical.top_down(bodies, (4, 2), pz)(np.zeros([3, 8, 8, 1])).sample(seed=0).shape
    TensorShape([3, 6])
    """
    _check(networks, latent_sizes, len(latent_sizes))
    layer = PushforwardLayer(TopDown(lambda: prior.transform.heads, latent_sizes), sum(latent_sizes))
    return _Ladder(networks, latent_sizes, layer, seed)


class _Ladder(tfk.Model):
    """The encoder of `top_down`: a deterministic upward pass, the parameters of each layer, the distribution."""

    def __init__(self, networks, latent_sizes, distribution_layer, seed):
        super().__init__(name="encoder")
        self.network, self.upper = networks[0], networks[1:]
        self.params = [_linear(2 * size, seed, i) for i, size in enumerate(latent_sizes)]
        self.latent_size, self.distribution = sum(latent_sizes), distribution_layer

    def call(self, x):
        d = [self.network(x)]
        for body in self.upper:
            d.append(body(d[-1]))
        params = tf.concat([head(features) for head, features in zip(self.params, d, strict=True)], axis=-1)
        return self.distribution(tf.cast(params, tfk.backend.floatx()))


class Chain(tf.Module):
    """z_l = loc_l + scale_l eps_l, where loc_l and scale_l depend on the layers before.

    Subclasses define the `direction`, 1 or -1, from the first layer to the last, and the `parameters` of each layer,
    given those before it.
    """

    def __init__(self, heads, latent_sizes):
        super().__init__()
        self.heads, self.latent_sizes, self.dtype = heads, list(latent_sizes), tfk.backend.floatx()

    def push(self, eps, context=None):
        z, log_det = tf.split(eps, self.latent_sizes, axis=-1), 0.0  # each z[i] holds eps[i] until it is pushed
        for i in range(len(z))[:: self.direction]:
            loc, scale = self.parameters(i, z, context)
            z[i] = loc + scale * z[i]
            log_det += tf.reduce_sum(tf.math.log(scale), axis=-1)
        return tf.concat(z, axis=-1), log_det

    def pull(self, z, context=None):
        z, eps, log_det = tf.split(z, self.latent_sizes, axis=-1), [], 0.0
        for i, layer in enumerate(z):
            loc, scale = self.parameters(i, z, context)
            eps.append((layer - loc) / scale)
            log_det += tf.reduce_sum(tf.math.log(scale), axis=-1)
        return tf.concat(eps, axis=-1), log_det


class Upwards(Chain):
    """From z_1, whose parameters are the context, up to z_L."""

    direction = 1

    def parameters(self, i, z, context):
        return loc_scale(context) if i == 0 else _conditional(self.heads[i - 1], z[i - 1])


class Downwards(Chain):
    """From z_L ~ N(0, I) to z_1."""

    direction = -1

    def parameters(self, i, z, context):
        if i == len(self.latent_sizes) - 1:
            return tf.zeros(self.latent_sizes[i], self.dtype), tf.ones(self.latent_sizes[i], self.dtype)
        return _conditional(self.heads[i], z[i + 1])


class TopDown(Downwards):
    """From z_L down to z_1; the context holds the encoder's parameters of every layer.

    `heads` is a function that returns the prior's networks, so that tf.Module tracks their variables only there.
    """

    def parameters(self, i, z, context):
        loc, scale = loc_scale(tf.split(context, [2 * size for size in self.latent_sizes], axis=-1)[i])
        if i == len(self.latent_sizes) - 1:
            return loc, scale
        prior_loc, prior_scale = _conditional(self.heads()[i], z[i + 1])
        precision, prior_precision = scale**-2, prior_scale**-2
        variance = 1 / (precision + prior_precision)
        return variance * (precision * loc + prior_precision * prior_loc), tf.sqrt(variance)


def _conditional(head, z):
    """loc, scale of the next layer, [..., D] each; leading axes are merged for the Keras head."""
    params = tf.cast(head(tf.reshape(z, [-1, z.shape[-1]])), tfk.backend.floatx())
    return loc_scale(tf.reshape(params, tf.concat([tf.shape(z)[:-1], params.shape[-1:]], axis=0)))


def with_heads(networks, sizes, seed):
    """The bodies, each with a linear layer for loc and the scale before its softplus."""
    layers = enumerate(zip(networks, sizes, strict=True))
    return [tfk.Model(body.inputs, _linear(2 * size, seed, i + 1)(body.output)) for i, (body, size) in layers]


def _linear(size, seed, i):
    initializer = tfk.initializers.GlorotUniform(seed=None if seed is None else seed + i)
    return tfk.layers.Dense(size, kernel_initializer=initializer, name=f"params_{i}")


def _check(networks, latent_sizes, num_networks):
    if len(networks) != num_networks:
        raise ValueError(f"networks must be {num_networks} for {len(latent_sizes)} latent_sizes, got {len(networks)}")
