"""A trained model's latent space as one HTML file that needs no network, no kernel and no server."""

from tfvae.explore.page import write

__all__ = ["write"]


def __dir__():
    return __all__
