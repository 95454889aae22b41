"""Flow posteriors q(z|x): a diagonal normal through the steps of a flow."""

import tensorflow as tf

from tfvae.distributions import Coupling, InverseAutoregressive, Pushforward, stacked
from tfvae.posteriors.normal import Posterior, loc_scale
from tfvae.support.pieces import option, piece
from tfvae.support.rules import FromTwo, checked

_CONTEXT = 32  # features of x that each step's network takes


@checked
class PushforwardLayer(tf.Module):
    """Parameters [B, P] -> the `Pushforward` of a map with this context; holds the map's variables."""

    def __init__(self, transform, latent_size: int):
        super().__init__()
        self.transform, self.latent_size = transform, latent_size

    def __call__(self, params: tf.Tensor) -> Pushforward:
        return Pushforward(self.transform, self.latent_size, params)


@piece(
    "posterior",
    least={"latent_size": 2},
    num_steps=option(4, "Steps of the flow", least=1, most=100, field="flow_steps"),
    hidden_sizes=option((128,), "Hidden units of each step of a flow", least=1, some=True, field="flow_hidden_sizes"),
)
def iaf(network, latent_size: FromTwo, *, num_steps=4, hidden_sizes=(128,), activation="relu", seed=None):
    """q(z|x) of a diagonal normal through inverse autoregressive flow steps, in alternating order of the latents.

    Kingma et al. (2016, arXiv 1606.04934, algorithm 1). A sample and its density take one pass of the steps; the
    density of any other z takes D. No closed-form moments: see `pushforward.Pushforward`.

    Args:
        network: a Keras body, [B, *event_shape] -> features, of which a linear layer makes 32 for the steps.
        latent_size: D, at least 2.
        hidden_sizes, activation: of each step's masked network; at least one hidden layer.

    >>> tfvae.posteriors.iaf(tfvae.networks.mlp((8, 8, 1), [16]), 4, num_steps=1)(np.zeros([3, 8, 8, 1])).batch_shape
    TensorShape([3])
    """
    return _flow(InverseAutoregressive, network, latent_size, num_steps, hidden_sizes, activation, seed)


@piece(
    "posterior",
    least={"latent_size": 2},
    num_steps=option(4, "Steps of the flow", least=1, most=100, field="flow_steps"),
    hidden_sizes=option((128,), "Hidden units of each step of a flow", least=1, some=True, field="flow_hidden_sizes"),
)
def coupling(network, latent_size: FromTwo, *, num_steps=4, hidden_sizes=(128,), activation="relu", seed=None):
    """q(z|x) of a diagonal normal through affine coupling steps; each changes half of the latents.

    RealNVP, Dinh et al. (2016, arXiv 1605.08803), conditional on x. A sample or any density takes one pass. No
    closed-form moments: see `pushforward.Pushforward`. Arguments as for `iaf`.

    >>> encoder = tfvae.posteriors.coupling(tfvae.networks.mlp((8, 8, 1), [16]), 4, num_steps=2)
    >>> encoder(np.zeros([3, 8, 8, 1])).log_prob(np.zeros([5, 3, 4])).shape
    TensorShape([5, 3])
    """
    return _flow(Coupling, network, latent_size, num_steps, hidden_sizes, activation, seed)


def _flow(step, network, latent_size, num_steps, hidden_sizes, activation, seed):
    steps = stacked(step, latent_size, _CONTEXT, num_steps, hidden_sizes, activation, seed, loc_scale)
    layer = PushforwardLayer(steps, latent_size)
    return Posterior(network, latent_size, 2 * latent_size + _CONTEXT, layer, seed)
