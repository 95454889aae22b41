"""Several layers of latents as pieces: their prior, and two posteriors, each made with the networks between layers."""

from tfvae import hierarchical, networks
from tfvae.support.pieces import option, piece

HIDDEN_SIZES = (100, 100)


@piece(
    "posterior",
    traits=("hierarchical",),
    layer_hidden_sizes=option(HIDDEN_SIZES, "Hidden units of the networks between layers", least=1),
)
def bottom_up(latent_sizes, layer_hidden_sizes, activation, network, seed):
    """q(z|x) = q(z_1|x) prod_l q(z_l+1|z_l)."""
    upper = _bodies(latent_sizes[:-1], layer_hidden_sizes, activation, seed)
    return hierarchical.bottom_up([network, *upper], latent_sizes, seed=seed)


@piece(
    "posterior",
    traits=("hierarchical",),
    layer_hidden_sizes=option(HIDDEN_SIZES, "Hidden units of the networks between layers", least=1),
)
def top_down(latent_sizes, layer_hidden_sizes, activation, network, prior, seed):
    """q(z|x) = q(z_L|x) prod_l q(z_l|z_l+1, x)."""
    # Upwards, each network reads the features of the one below.
    features = (layer_hidden_sizes or network.output_shape)[-1:]
    inputs = [network.output_shape[-1], *features * (len(latent_sizes) - 2)]
    upper = _bodies(inputs, layer_hidden_sizes, activation, seed)
    return hierarchical.top_down([network, *upper], latent_sizes, prior, seed=seed)


@piece(
    "prior",
    name="hierarchical",
    traits=("hierarchical",),
    layer_hidden_sizes=option(HIDDEN_SIZES, "Hidden units of the networks between layers", least=1),
)
def layered_prior(latent_sizes, layer_hidden_sizes, activation, seed):
    """p(z) = p(z_L) prod_l p(z_l|z_l+1)."""
    bodies = _bodies(latent_sizes[1:], layer_hidden_sizes, activation, seed)
    return hierarchical.prior(bodies, latent_sizes, seed=seed)


def _bodies(inputs, hidden_sizes, activation, seed):
    """One network for each size of its inputs."""
    return [networks.mlp((size,), hidden_sizes, activation, seed=seed + 10 * (i + 1)) for i, size in enumerate(inputs)]
