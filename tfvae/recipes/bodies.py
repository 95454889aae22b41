"""Pairs of networks: what the encoder computes before its last layer, and what the decoder does, mirrored.

A pair's function takes the images' shape, how many latents the decoder reads, and the number of classes of a
conditional model (0 for none), whose one-hot labels stand before image and z.
"""

import math

from tfvae import networks
from tfvae.support.pieces import option, piece


@piece("network", hidden_sizes=option((256, 256), "Hidden units of the encoder; the decoder mirrors them", least=1))
def mlp(hidden_sizes, activation, event_shape, num_latents, num_classes, seeds):
    """Multilayer perceptrons."""
    shape = (num_classes + math.prod(event_shape),) if num_classes else event_shape
    return (
        networks.mlp(shape, hidden_sizes, activation, seed=seeds[0], name="encoder_mlp"),
        networks.mlp((num_classes + num_latents,), hidden_sizes[::-1], activation, seed=seeds[1], name="decoder_mlp"),
    )


@piece(
    "network",
    filters=option((32, 64), "Channels of the encoder's convolutions; the decoder mirrors them", least=1, some=True),
    kernel_size=option(3, "Height and width of the kernels", least=1),
    dense_sizes=option((), "Hidden units behind the encoder's convolutions", least=1),
)
def conv(filters, kernel_size, dense_sizes, activation, event_shape, num_latents, num_classes, seeds):
    """Convolutions, transposed in the decoder."""
    *size, channels = event_shape
    layers = {"kernel_size": kernel_size, "activation": activation}
    encoder = networks.conv((*size, num_classes + channels), filters, dense_sizes=dense_sizes, seed=seeds[0], **layers)
    decoder = networks.transposed_conv(
        (num_classes + num_latents,), event_shape, filters[::-1], dense_sizes=dense_sizes[::-1], seed=seeds[1], **layers
    )
    return networks.labelled(encoder, event_shape) if num_classes else encoder, decoder
