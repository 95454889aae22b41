"""What the layers of a Keras body do beside their output: a mode for training, state, and losses of their own."""

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from tfvae.support.weights import model_variables

State = list[tuple[tf.Variable, tf.Tensor]]


@contextlib.contextmanager
def training(model: Any) -> Iterator[None]:
    """In this context layers run in training mode; ValueError at its end if one of them has a loss of its own.

    By Keras' learning phase, as an objective calls pieces, and a piece its layers, without an argument `training`.
    """
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings(action="ignore"):
            stack.enter_context(tfk.backend.learning_phase_scope(1))
        yield
    refuse_losses(model)


def layers(model: tfk.Model) -> Iterator[tfk.layers.Layer]:
    """The layers in a model. Not by `submodules`, which fails for Keras' recurrent cells with dropout."""
    for module in model._flatten_modules(include_self=False):
        if isinstance(module, tfk.layers.Layer):
            yield module
        else:  # such as a distribution
            yield from (m for m in module.submodules if isinstance(m, tfk.layers.Layer))


def refuse_losses(model: tfk.Model) -> None:
    """ValueError if a layer has a loss: a regularizer, or `add_loss`."""
    if found := [layer.name for layer in layers(model) if layer.losses]:
        rule = "must have no losses of their own (regularizers, add_loss), as only the objective is maximised"
        raise ValueError(f"layers {rule}, got {found[-1]}: write the term into an objective")


def refuse_misfits(model: tfk.Model, x: Any) -> None:
    """ValueError for layers whose losses nothing would add, or whose numbers change from call to call.

    Args:
        x: a batch of one for the model.
    """
    for layer in layers(model):
        mode = inspect.signature(layer.call).parameters.get("training")
        if mode and mode.default is True:  # Keras' random flips, rotations and so on
            rule = "must change nothing at random unless they are told to train"
            raise ValueError(f"layers {rule}, got {layer.name}: change the data instead, as by data.train(...).map")
    z = tf.zeros([1, model.latent_size], model.prior.dtype)
    first, second = ((model(x, seed=0).mean(), model.prior.log_prob(z)) for _ in range(2))
    if not all(np.allclose(*pair, equal_nan=True) for pair in zip(first, second, strict=True)):
        raise ValueError("encoder, decoder and prior must give the same answer to the same input, got two that differ")
    refuse_losses(model)


def refuse_hidden_variables(model: Any) -> None:
    """ValueError for pieces whose variables `fit` would not train, such as `lambda x: network(x)`."""
    given, x = model.for_labels([0]), tf.zeros([1, *model.event_shape], model.inputs_accepted.dtype)
    with tf.GradientTape() as tape:
        given.encode(x)
        given.decode(tf.zeros([1, model.latent_size], model.prior.dtype))
    held = (*model.trainable_variables, *model_variables(model))
    # Mixed precision wraps a variable, and a strategy holds a copy for each device.
    known = {id(one) for v in held for w in (v, getattr(v, "_variable", v)) for one in (w, *getattr(w, "values", ()))}
    if unknown := [v.name for v in tape.watched_variables() if id(v) not in known]:
        rule = "must hold the variables that they use, as Keras layers and tf.Modules do"
        raise ValueError(f"encoder and decoder {rule}, got {unknown[0]}, which nothing would train")


def state(model: Any) -> State:
    """The variables that layers set themselves, such as moving means, with their values before a step."""
    variables = [v for v in model_variables(model) if not v.trainable]
    if tf.distribute.has_strategy():  # constants, which replicas cannot set
        variables = [v for v in variables if v.aggregation != tf.VariableAggregation.NONE]
    return [(v, tf.identity(v)) for v in variables]


def keep(before: State, good: tf.Tensor) -> None:
    """Sets the variables to their values before the step unless it was `good`."""
    for variable, value in before:
        variable.assign(tf.where(good, variable, value))
