"""Learned priors p(z): a normalizing flow, and the VampPrior."""

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tfvae.distributions import Coupling, Pushforward, Vamp, stacked
from tfvae.support import tensors
from tfvae.support.pieces import option, piece
from tfvae.support.rules import Array, FromTwo


@piece(
    "prior",
    least={"latent_size": 2},
    num_steps=option(4, "Steps of the flow", least=1, most=100, field="flow_steps"),
    hidden_sizes=option((128,), "Hidden units of each step of a flow", least=1, some=True, field="flow_hidden_sizes"),
)
def flow(latent_size: FromTwo, num_steps=4, hidden_sizes=(64,), activation="relu", *, seed=None) -> Pushforward:
    """p(z) of a standard normal through affine coupling steps (RealNVP); trainable.

    Dinh et al. (2016, arXiv 1605.08803); one pass for a sample or a density. Its mean: see `pushforward.Pushforward`.
    Each step changes half of the latents, at least 2, by a network of at least one hidden layer.

    >>> tfvae.priors.flow(2, num_steps=2, hidden_sizes=(8,)).log_prob(np.zeros([5, 3, 2])).shape
    TensorShape([5, 3])
    """
    steps = stacked(Coupling, latent_size, 0, num_steps, hidden_sizes, activation, seed)
    return Pushforward(steps, latent_size, dtype=tfk.backend.floatx(), name="flow_prior")


@piece("prior", num_pseudo_inputs=option(500, "Pseudo-inputs", least=1, most=100_000))
def vamp(encoder, num_pseudo_inputs: int = 500, *, initial: Array | None = None, seed: int | None = None) -> Vamp:
    """p(z) = 1/K sum_k q(z|u_k), with trainable pseudo-inputs u_k, in [0, 1] where they are images.

    The VampPrior, Tomczak and Welling (2018, arXiv 1705.07120, eq. 9). The encoder is shared with the model, so its
    gradient comes through the prior too. With a flow encoder (`posteriors.iaf`, `coupling`), the mixture is over the
    base normals of the flow. Where the encoder reads [y, x], u_k is a free vector in place of both: no image with a
    one-hot label. `initial` is [K, *event_shape], e.g. training images, or None for uniform noise, which `seed` fixes;
    ValueError for another number or shape, not finite, or out of range.

    >>> encoder = tfvae.posteriors.diagonal_normal(tfvae.networks.mlp((8, 8, 1), [16]), 2)
    >>> tfvae.priors.vamp(encoder, num_pseudo_inputs=10).components().batch_shape
    TensorShape([10])
    """
    body = getattr(encoder, "network", encoder)
    shape = [num_pseudo_inputs, *(getattr(body, "input_shape", None) or [None])[1:]]
    if initial is None:
        if len(shape) == 1:
            raise ValueError("initial must be given where the encoder does not tell the shape of its input, got None")
        initial = tf.random.uniform(shape) if seed is None else tf.random.stateless_uniform(shape, seed=[0, seed])
    initial = tf.convert_to_tensor(initial)
    if not initial.dtype.is_floating:
        raise ValueError(f"initial must hold floats, got {initial.dtype.name}: divide bytes by 255")
    if initial.shape[:1] != [num_pseudo_inputs] or (len(shape) > 1 and list(initial.shape) != shape):
        wanted = f"num_pseudo_inputs, {num_pseudo_inputs}, of the encoder's input, shape {shape[1:]}"
        raise ValueError(f"initial must hold {wanted}, got {list(initial.shape)}")
    is_image = initial.shape.rank == 4
    tensors.content("initial", initial, tensors.element_rules(is_image))
    if not is_image:
        return Vamp(encoder, tf.Variable(initial, name="pseudo_inputs"))
    # Inside (0, 1), where the logit is finite and has a gradient.
    initial = tf.clip_by_value(initial, 0.01, 0.99)
    return Vamp(encoder, tfp.util.TransformedVariable(initial, tfp.bijectors.Sigmoid(), name="pseudo_inputs"))
