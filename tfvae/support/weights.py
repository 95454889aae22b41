"""The variables of a model, in the order in which files keep them."""

from typing import Any

import tensorflow as tf


def model_variables(vae: Any) -> list[tf.Variable]:
    """Those of encoder, decoder and prior: what a trained model is, without its optimizer."""
    return [v for piece in (vae.encoder, vae.decoder, vae.prior) for v in getattr(piece, "variables", ())]


def num_parameters(vae: Any) -> int:
    """Keras' `count_params` would count the metrics too, and not the networks of a flow."""
    return sum(variable.shape.num_elements() for variable in model_variables(vae))


def untracked(vae: Any) -> list[tf.Variable]:
    """Those in modules and distributions, such as the networks of a flow: Keras' files hold only what is in layers."""
    layers = [vae, *vae._flatten_layers()]
    tracked = {id(v) for layer in layers for v in (*layer._trainable_weights, *layer._non_trainable_weights)}
    return list({id(v): v for v in model_variables(vae) if id(v) not in tracked}.values())
