"""A client of TF Serving, which over REST needs NumPy and urllib3 alone."""

from tfvae.client.answers import ServingError
from tfvae.client.client import Client

__all__ = ["Client", "ServingError"]


def __dir__():
    return __all__
