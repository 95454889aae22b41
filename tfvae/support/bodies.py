"""What the layers of a Keras body do beside their output: a mode for training, state, and losses of their own."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

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


def refuse_losses(model: Any) -> None:
    """ValueError if a layer has a loss: a regularizer, or `add_loss`."""
    if found := [m.name for m in model.submodules if isinstance(m, tfk.layers.Layer) and m.losses]:
        rule = "must have no losses of their own (regularizers, add_loss), as only the objective is maximised"
        raise ValueError(f"layers {rule}, got {found[-1]}: write the term into an objective")


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
