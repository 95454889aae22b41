"""A decoder as plain values: layers, weights, and the map from its last layer to the mean of p(x|z)."""

import base64
from typing import Any

import numpy as np
import tf_keras as tfk

from tfvae.likelihoods import BinomialProportion, DiscretizedLogistic

ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "elu", "softplus", "gelu", "swish", "silu", "leaky_relu")


def described(vae) -> dict[str, Any]:
    """{layers, mean, shape, weights} of a model's decoder; ValueError for what the page cannot compute."""
    decoder = vae.decoder
    layers: list[dict[str, Any]] = []
    weights = []
    if not (isinstance(getattr(decoder, "network", None), tfk.Sequential) and hasattr(decoder, "params")):
        raise ValueError(f"vae must have a decoder of tfvae.likelihoods on a Sequential, got {type(decoder).__name__}")
    for layer in [*decoder.network.layers, decoder.params]:
        kind = type(layer).__name__
        if kind in ("InputLayer", "Flatten"):
            continue
        if kind not in ("Dense", "Conv2DTranspose", "Reshape", "Cropping2D"):
            raise ValueError(f"vae must have a decoder of dense and transposed layers, got {kind} {layer.name!r}")
        if kind == "Dense":
            one: dict[str, Any] = dict(zip(("in", "out"), ([size] for size in layer.kernel.shape), strict=True))
        else:
            one = {"in": list(layer.input_shape[1:]), "out": list(layer.output_shape[1:])}
        if kind == "Conv2DTranspose":
            one |= {"kernel": layer.kernel_size[0], "stride": layer.strides[0]}
        if layer.weights:
            one["activation"] = tfk.activations.serialize(layer.activation)
            if one["activation"] not in ACTIVATIONS:
                raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {one['activation']!r}")
            weights += [weight.numpy().astype("<f4").ravel() for weight in layer.weights]
        layers.append({"kind": kind, **one})
    return {
        "layers": layers,
        "mean": _mean(vae),
        "shape": list(vae.event_shape),
        "weights": base64.b64encode(np.concatenate(weights).tobytes()).decode(),
    }


def _mean(vae):
    """How the mean of an element comes from the last layer's numbers."""
    elements: Any = vae.decode(np.zeros([1, vae.latent_size], np.float32))
    while hasattr(elements, "distribution"):
        elements = elements.distribution
    name = type(elements).__name__
    if isinstance(elements, BinomialProportion) or ("Bernoulli" in name and "Continuous" not in name):
        return {"kind": "sigmoid"}
    if isinstance(elements, DiscretizedLogistic):
        return {"kind": "logistic", "n": int(elements.total_count), "min_scale": 0.1 / elements.total_count}
    if name in ("Normal", "Laplace"):
        return {"kind": "loc"}
    raise ValueError(f"vae must have a likelihood whose mean the page can compute, got {name}")
