"""The variables of a model, in the order in which files keep them."""

from typing import Any

import tensorflow as tf


def model_variables(vae: Any) -> list[tf.Variable]:
    """Those of encoder, decoder and prior: what a trained model is, without its optimizer."""
    return [*vae.encoder.variables, *vae.decoder.variables, *vae.prior.variables]
