"""Gradient ascent within a graph, for parameters of as many rows as a block has images."""

import math
from collections.abc import Callable

import tensorflow as tf


def ascend(gradients_of: Callable, params: list, num_steps: int, rates: list) -> list:
    """`params` after steps of Adam (Kingma and Ba 2014, arXiv 1412.6980, algorithm 1; beta_2 = 0.99).

    Written out: a Keras optimizer needs variables, whose shapes are fixed.

    Args:
        gradients_of: (params, step) -> the gradients of what is to grow.
        rates: the first rate of each parameter; they fall to 0 by a cosine.
    """
    means, squares = ([tf.zeros_like(p) for p in params] for _ in range(2))
    for step in tf.range(num_steps):
        gradients = gradients_of(params, step)
        done = tf.cast(step, params[0].dtype)
        means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients, strict=True)]
        squares = [0.99 * s + 0.01 * g**2 for s, g in zip(squares, gradients, strict=True)]
        mean_scale = (1 + tf.cos(math.pi * done / num_steps)) / (2 * (1 - 0.9 ** (done + 1)))
        square_scale = 1 / (1 - 0.99 ** (done + 1))
        params = [
            p + rate * mean_scale * m / (tf.sqrt(square_scale * s) + 1e-8)
            for p, rate, m, s in zip(params, rates, means, squares, strict=True)
        ]
    return params
