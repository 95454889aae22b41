"""Bad input is found at the door, and named: the argument, the rule, the value. For arrays and inside graphs."""

import contextlib
import difflib
import math
import re

import numpy as np
import tensorflow as tf


class InputTypeError(TypeError, ValueError):
    """A value of the wrong type: a TypeError, and a ValueError for callers that catch bad input as one."""


def check_name(argument, value, names):
    """Raises ValueError unless `value` is one of `names`; the message offers the nearest."""
    if value not in names:
        near = difflib.get_close_matches(str(value), [n for n in names if n], n=2, cutoff=0.4)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ValueError(f"{argument} must be one of {', '.join(str(n) for n in names)}, got {value!r}{hint}")


def count(argument, value, least=1):
    """`value`; raises ValueError unless it is an integer of at least `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{argument} must be an integer of at least {least}, got {value!r}")
    return value


def sizes(argument, values):
    """Raises ValueError unless `values` are integers of at least 1, one or more."""
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{argument} must be a tuple of integers of at least 1, one or more, got {values!r}")
    for value in values:
        count(argument, value)


def number(argument, value, least):
    """Raises ValueError unless `value` is a finite number of at least `least`."""
    if not least <= _as_float(value) < math.inf:
        raise ValueError(f"{argument} must be a finite number of at least {least}, got {value!r}")


def above_zero(argument, value, otherwise=""):
    """Raises ValueError unless `value` is a finite number above 0; `otherwise` is what else it may be, in words."""
    if not 0 < _as_float(value) < math.inf:
        raise ValueError(f"{argument} must be a finite number above 0{otherwise}, got {value!r}")


def _as_float(value):
    """A number, also in an array or a tensor; NaN for all else."""
    try:
        return math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return math.nan


def argument(name, value, option):
    """Raises ValueError unless an argument obeys the `pieces.Option` that declares it."""
    if value is None and option.optional:
        return
    if option.one_of is not None:
        if value not in option.one_of:
            raise ValueError(f"{name} must be {' or '.join(map(str, option.one_of))}, got {value!r}")
    elif option.of is tuple:
        if option.some:
            sizes(name, value)
        for size in value:
            count(name, size, option.least)
    elif option.of is int:
        count(name, value, option.least)
    elif option.above == 0:
        above_zero(name, value, f", or None {option.if_none}" if option.if_none else "")
    elif option.of is float:
        number(name, value, option.least)


def batch_size(value, num_images=None):
    """Raises ValueError unless `value` is an integer in [1, num_images]."""
    count("batch_size", value)
    if num_images is not None and value > num_images:
        raise ValueError(f"batch_size must be at most the number of images, {num_images}, got {value}")


def images(argument, x):
    """x as uint8, or float32 in [0, 1].

    Raises:
        ValueError: no images, or values that are not finite or out of range.
    """
    x = np.asarray(x)
    if x.ndim not in (3, 4) or x.shape[0] == 0:
        raise ValueError(f"{argument} must be images [N, H, W] or [N, H, W, C], N at least 1, got shape {x.shape}")
    if x.dtype == np.uint8:
        return x
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"{argument} must be uint8 or floats, got {x.dtype}")
    good = np.isfinite(x) & (x >= 0) & (x <= 1)
    if not good.all():
        raise ValueError(f"{argument} must be finite and in [0, 1], got {x[~good][0]}")
    return x.astype(np.float32)


def labels(argument, y):
    """Labels as int64 [N].

    Raises:
        ValueError: none, or other than integers from 0, one an image.
    """
    if y is None:
        raise ValueError(f"{argument} must be there, got None")
    y = np.asarray(y)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{argument} must be integers [N], got {y.dtype.name} {list(y.shape)}")
    if y.min(initial=0) < 0:
        raise ValueError(f"{argument} must be at least 0, got {y.min()}")
    return y.astype(np.int64)


def joined(shape):
    """A shape in words: "64, 8, ?"."""
    return ", ".join("?" if size is None else str(size) for size in shape)


def element_rules(is_image):
    """What an element obeys, {words: elementwise test}: of images it lies in [0, 1]."""
    rules = {"finite": tf.math.is_finite}
    return rules | {"in [0, 1]": lambda x: (x >= 0) & (x <= 1)} if is_image else rules


def content(argument, x, rules):
    """Raises ValueError unless every element of an eager tensor obeys the rules, {words: elementwise test}."""
    for rule, test in rules.items():
        good = test(x)
        if not tf.reduce_all(good):
            where = tuple(tf.where(~good)[0].numpy())
            raise ValueError(f"{argument} must be {rule}, got {x[where].numpy()} at {[int(i) for i in where]}")


def levels(argument, values, rules):
    """Raises ValueError unless every grey level, in one dimension, obeys the rules."""
    for rule, test in rules.items():
        good = np.asarray(test(tf.constant(values)))
        if not good.all():
            raise ValueError(f"{argument} must be {rule}, got {values[~good][0]}")


def graph_content(argument, x, rules):
    """`x` in a graph, where it exists only if every element obeys the rules; else INVALID_ARGUMENT."""
    for rule, test in rules.items():
        good = test(x)
        x = after(tf.reduce_all(good), [f"{argument} must be {rule}, got", tf.boolean_mask(x, ~good)[:1]], x)
    return x


def after(good, message, x):
    """`x` in a graph, where it exists only if `good`; else INVALID_ARGUMENT with the message."""
    with tf.control_dependencies([tf.debugging.Assert(good, message, summarize=8)]):
        return tf.identity(x)


@contextlib.contextmanager
def graph_errors():
    """Turns a failed check inside a graph into the ValueError that an array would have given."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"assertion failed: \[(.* must be .*?, got)\] \[\[?(.*?)\]", error.message)
        if found is None:
            raise
        raise ValueError(f"{found[1]} {found[2]}") from None
