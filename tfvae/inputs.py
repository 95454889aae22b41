"""What a model accepts: shape, range and support of images, checked once, where they come in."""

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from tfvae.support import checks, tensors


@runtime_checkable
class Supported(Protocol):
    """A decoder that says which x have a probability, in words and elementwise."""

    support: str
    in_support: Callable[[tf.Tensor], tf.Tensor]


def unweighted(data, argument: str = "x") -> tuple[Any, Any]:
    """(x, y or None) of what Keras takes: x, (x,), (x, y) or (x, y, None); ValueError for weights of examples."""
    x, y, *weights = (*data, None, None) if isinstance(data, tuple) else (data, None)
    refuse_weights(*weights, argument=argument)
    return x, y


def refuse_weights(*weights, argument: str = "x"):
    """ValueError for weights of examples, in whichever way they are given; None is no weight."""
    if any(weight is not None for weight in weights):
        rule = "must have no sample_weight or class_weight: in an ELBO's mean each example counts 1"
        raise ValueError(f"{argument} {rule}")


def latents(z, size: int, values: bool = True) -> tf.Tensor:
    """z [..., size] as a tensor of floats; with `values`, and outside a graph, they must be finite too."""
    z = tensors.ending("z", z, size)
    if not z.dtype.is_floating:
        raise checks.InputTypeError(f"z must hold floats, got {z.dtype.name}")
    if values and tf.executing_eagerly():
        tensors.content("z", z, {"finite": tf.math.is_finite})
    return z


class Inputs:
    """The images that a model accepts; all else raises ValueError with the argument, the rule and the value.

    Args:
        event_shape: of one image.
        dtype: of the likelihood; floats are cast to it (NumPy's division gives float64).
        decoder: where it is `Supported`, `support=True` asks for its support too.
        check_labels: `(argument, labels, num_images) -> labels`, of a conditional model; None: labels are ignored.
    """

    def __init__(self, event_shape, dtype: tf.DType, decoder: Any, check_labels: Callable | None = None):
        self.event_shape, self.dtype, self.decoder = tuple(event_shape), dtype, decoder
        self.check_labels = check_labels

    @property
    def support(self) -> str:
        """Which images have a probability, in words."""
        return self.decoder.support if isinstance(self.decoder, Supported) else "as the decoder's distribution has it"

    def rules(self, support: bool) -> tensors.Rules:
        """The rules for an image, {words: elementwise test}; with `support`, the likelihood's rule too."""
        rules = tensors.element_rules(is_image=len(self.event_shape) == 3)
        if support and isinstance(self.decoder, Supported):
            rules[self.decoder.support] = self.decoder.in_support
        return rules

    def checked(self, x, argument: str = "x", support: bool = False) -> tf.Tensor:
        """x [B, *event_shape] as a tensor of the likelihood's dtype; outside a graph its values are checked too."""
        x = tensors.tensor(argument, x)
        self._check_form(argument, x)
        x = tf.cast(x, self.dtype) if self.dtype.is_floating else x
        if tf.executing_eagerly():
            tensors.content(argument, x, self.rules(support))
        return x

    def _check_form(self, argument: str, x: tf.Tensor | tf.TensorSpec) -> None:
        if not x.dtype.is_floating:
            raise checks.InputTypeError(
                f"{argument} must hold floats in [0, 1], got {x.dtype.name}: divide bytes by 255"
            )
        if x.shape.rank is not None and not tf.TensorShape([None, *self.event_shape]).is_compatible_with(x.shape):
            *axes, channels = self.event_shape
            batch = tuple(x.shape[:1])
            advice = {
                self.event_shape: ": add the batch axis, x[None] or dataset.batch(...)",
                (*batch, *axes): ": add the channel's axis, x[..., None]",
                (*batch, channels, *axes): ": channels come last, tf.einsum('bchw->bhwc', x)",
                (*batch, math.prod(self.event_shape)): f": tf.reshape(x, {[-1, *self.event_shape]})",
            }.get(tuple(x.shape), "")
            expected = checks.joined(["batch", *self.event_shape])
            raise ValueError(f"{argument} must have shape [{expected}], got [{checks.joined(x.shape)}]{advice}")

    def supported(self, x, argument: str = "x") -> tf.Tensor:
        """As `checked`, of at least one example, in the likelihood's support."""
        x = self.checked(x, argument, support=True)
        if x.shape[0] == 0:
            raise ValueError(f"{argument} must hold at least one example, got shape {list(x.shape)}")
        return x

    def for_keras(self, x, labels=None, batch_size=None, argument: str = "x", support: bool = True):
        """(x, labels): arrays, checked now; or a Dataset of images or pairs, checked in its graph as it is read."""
        if batch_size is not None:
            checks.batch_size(batch_size)
        if isinstance(x, tf.data.Dataset):
            rules, (spec, _) = self.rules(support), unweighted(x.element_spec, argument)
            if not isinstance(spec, tf.TensorSpec):
                got = f"a dict of {', '.join(map(str, spec))}" if isinstance(spec, dict) else type(spec).__name__
                rule = "must give images or (images, labels): dataset.map(lambda d: d['image']) makes them of dicts"
                raise checks.InputTypeError(f"{argument} {rule}, got {got}")
            self._check_form(argument, spec)

            def check(*data):
                x, labels = unweighted(data, argument)
                x = tensors.graph_content(argument, self.checked(x, argument), rules)
                return x if self.check_labels is None else (x, self.check_labels(argument, labels, tf.shape(x)[0]))

            return x.map(check, num_parallel_calls=tf.data.AUTOTUNE), None
        if not isinstance(x, np.ndarray | tf.Tensor):
            raise checks.InputTypeError(
                f"{argument} must be an array or a tf.data.Dataset, got {type(x).__name__} "
                "(tf.data.Dataset.from_generator makes one of a generator)"
            )
        if x.shape[0] == 0:
            raise ValueError(f"{argument} must hold at least one image, got shape {tuple(x.shape)}")
        if batch_size is not None:
            checks.batch_size(batch_size, x.shape[0])
        labels = None if self.check_labels is None else self.check_labels(argument, labels, x.shape[0])
        return self.checked(x, argument, support), labels
