"""Checks of tensors, eager and in graphs; an error names the argument, the rule and the value."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.support.checks import InputTypeError, joined, refuse_masked, shown

Rules = dict[str, Callable[[tf.Tensor], tf.Tensor]]  # {words: elementwise test}


def element_rules(is_image: bool) -> Rules:
    """Elements must be finite; those of images must also lie in [0, 1]."""
    rules: Rules = {"finite": tf.math.is_finite}
    return rules | {"in [0, 1]": lambda x: (x >= 0) & (x <= 1)} if is_image else rules


def content(argument: str, x: tf.Tensor, rules: Rules):
    """Raises ValueError unless every element of an eager tensor obeys the rules."""
    for rule, test in rules.items():
        good = test(x)
        if not tf.reduce_all(good):
            where = tuple(tf.where(~good)[0].numpy())
            raise ValueError(f"{argument} must be {rule}, got {x[where].numpy()} at {[int(i) for i in where]}")


def tensor(argument: str, value: Any, words: str = "an array or a tensor") -> tf.Tensor:
    """`value` as a tensor; raises TypeError for what cannot be one, ValueError if any of it is masked."""
    refuse_masked(argument, value)
    try:
        return tf.convert_to_tensor(value)
    except (TypeError, ValueError):  # None, an object, lists of unequal lengths, numbers beyond int64
        raise InputTypeError(f"{argument} must be {words}, got {shown(value)}") from None


def ending(argument: str, value: Any, size: int | None) -> tf.Tensor:
    """`value` as a tensor; raises ValueError unless it is [..., size]; None is any size."""
    found = tensor(argument, value)
    if not found.shape[-1:].is_compatible_with([size]):
        raise ValueError(f"{argument} must have shape [..., {joined([size])}], got [{joined(found.shape)}]")
    return found


def levels(argument: str, values: np.ndarray, rules: Rules):
    """Raises ValueError unless every grey level, [K], obeys the rules."""
    for rule, test in rules.items():
        good = np.asarray(test(tf.constant(values)))
        if not good.all():
            raise ValueError(f"{argument} must be {rule}, got {values[~good][0]}")


def graph_content(argument: str, x: tf.Tensor, rules: Rules) -> tf.Tensor:
    """`x`, which in a graph fails with INVALID_ARGUMENT unless every element obeys the rules."""
    for rule, test in rules.items():
        good = test(x)
        x = after(tf.reduce_all(good), [f"{argument} must be {rule}, got", tf.boolean_mask(x, ~good)[:1]], x)
    return x


def after(good: tf.Tensor, message: list, x: tf.Tensor) -> tf.Tensor:
    """`x`, which in a graph fails with INVALID_ARGUMENT and the message unless `good`."""
    with tf.control_dependencies([tf.debugging.Assert(good, message, summarize=8)]):
        return tf.identity(x)


@contextlib.contextmanager
def graph_errors() -> Iterator[None]:
    """Turns a failed check in a graph into the ValueError of the eager check."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        rule, value, where = r"\[(.* must (?:be|hold) .*?, got[^\]]*)\]", r" \[\[?(.*?)\]", r"(?:\]? \[(in .*?)\]$)?"
        found = re.search(f"assertion failed: {rule}{value}{where}", error.message, re.MULTILINE)
        if found is None:
            raise
        raise ValueError(" ".join(filter(None, found.groups()))) from None


@contextlib.contextmanager
def reading_errors() -> Iterator[None]:
    """Turns a reader's error, which does not say the file, into a ValueError that says how to find it."""
    try:
        yield
    except tf.errors.DataLossError as error:
        found = re.search(r"corrupted record at \d+", error.message)
        rule, got = "x must be read from TFRecord files that are whole", found[0] if found else error.message
        raise ValueError(f"{rule}, got a {got}: from_tfrecords(..., count=True) names the file") from None


def first_line(error: tf.errors.OpError) -> str:
    """Of TensorFlow's message, without its nodes."""
    return re.sub(r"{{.*?}}|\[Op:.*", "", error.message).strip().splitlines()[0]
