"""Priors p(z): each function returns a `tfd.Distribution` with empty batch shape and event shape [D]."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import checks, flows
from tfvae.pushforward import Pushforward
from tfvae.vamp import Vamp

tfb = tfp.bijectors
tfd = tfp.distributions


def standard_normal(latent_size):
    """p(z) = N(z; 0, I), a `tfd.MultivariateNormalDiag`."""
    checks.count("latent_size", latent_size)
    return tfd.MultivariateNormalDiag(
        loc=tf.zeros(latent_size), scale_diag=tf.ones(latent_size), name="standard_normal"
    )


def normal_mixture(latent_size, num_components=10, *, seed=None):
    """p(z) = sum_k w_k N(z; loc_k, diag(scale_k^2)), with trainable weights, locations and scales.

    It starts from equal weights, locations drawn from N(0, I) and unit scales. Its KL to a normal has no closed form:
    the objectives estimate it from the samples of z.

    Args:
        latent_size: D, at least 1.
        num_components: at least 1.
        seed: an integer that fixes the initial locations, or None.
    """
    checks.count("latent_size", latent_size)
    checks.count("num_components", num_components)
    shape = [num_components, latent_size]
    locs = tf.random.normal(shape) if seed is None else tf.random.stateless_normal(shape, seed=[0, seed])
    positive = tfb.Chain([tfb.Shift(1e-3), tfb.Softplus()])
    return tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.Variable(tf.zeros(num_components), name="prior_logits")),
        tfd.MultivariateNormalDiag(
            loc=tf.Variable(locs, name="prior_loc"),
            scale_diag=tfp.util.TransformedVariable(tf.ones(shape), positive, name="prior_scale"),
        ),
        name="normal_mixture",
    )


def flow(latent_size, num_steps=4, hidden_sizes=(64,), activation="relu", *, seed=None):
    """p(z) of a standard normal through affine coupling steps (RealNVP); trainable.

    Dinh et al. (2016, arXiv 1605.08803); one pass for a sample or a density. Its mean: see `pushforward.Pushforward`.

    Args:
        latent_size: D, at least 2.
        num_steps: at least 1; half of the latents change in each.
        hidden_sizes: of each step's network, at least one.
        activation: of that network.
        seed: an integer that fixes the initial weights, or None.
    """
    steps = flows.stack(flows.Coupling, latent_size, 0, num_steps, hidden_sizes, activation, seed)
    return Pushforward(steps, latent_size, dtype=flows.dtype(), name="flow_prior")


def vamp(encoder, num_pseudo_inputs=500, *, initial=None, seed=None):
    """p(z) = 1/K sum_k q(z|u_k), with trainable pseudo-inputs u_k, in [0, 1] where they are images.

    The VampPrior, Tomczak and Welling (2018, arXiv 1705.07120, eq. 9). The encoder is shared with the model: training
    moves it through the prior too. Of a flow encoder (`posteriors.iaf`, `coupling`), the mixture is one of the normals
    that the flow starts from.

    Args:
        encoder: q(z|x), as for the `VAE`.
        num_pseudo_inputs: K, at least 1.
        initial: [K, *event_shape], e.g. training images; None for uniform noise.
        seed: an integer that fixes that noise, or None.

    Raises:
        ValueError: num_pseudo_inputs below 1, an `initial` of another number or shape, not finite, or out of range.
    """
    checks.count("num_pseudo_inputs", num_pseudo_inputs)
    body = getattr(encoder, "network", encoder)
    shape = [num_pseudo_inputs, *(getattr(body, "input_shape", None) or [None])[1:]]
    if initial is None:
        if len(shape) == 1:
            raise ValueError("initial must be given where the encoder does not tell the shape of its input, got None")
        initial = tf.random.uniform(shape) if seed is None else tf.random.stateless_uniform(shape, seed=[0, seed])
    initial = tf.convert_to_tensor(initial)
    if not initial.dtype.is_floating:
        raise ValueError(f"initial must hold floats, got {initial.dtype.name}: divide bytes by 255")
    if len(initial) != num_pseudo_inputs or (len(shape) > 1 and list(initial.shape) != shape):
        raise ValueError(
            f"initial must hold num_pseudo_inputs, {num_pseudo_inputs}, of the encoder's input, shape "
            f"{shape[1:]}, got {list(initial.shape)}"
        )
    is_image = initial.shape.rank == 4
    checks.content("initial", initial, checks.element_rules(is_image))
    if not is_image:
        return Vamp(encoder, tf.Variable(initial, name="pseudo_inputs"))
    # Inside (0, 1), where the logit is finite and has a gradient.
    initial = tf.clip_by_value(initial, 0.01, 0.99)
    return Vamp(encoder, tfp.util.TransformedVariable(initial, tfb.Sigmoid(), name="pseudo_inputs"))
