"""Checks of arguments, without TensorFlow; an error names the argument, the rule and the value."""

import difflib
import math
import os
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np


class InputTypeError(TypeError, ValueError):
    """A value of the wrong type; also a ValueError, for callers that catch all bad input as that."""


def memory() -> float:
    """The machine's memory in bytes; infinite where the system does not say."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf


def shown(value: Any) -> str:
    """A value in a message, in a line: arrays by their dtype and shape."""
    if isinstance(value, np.ndarray) or _is_tensor(value):
        return f"an array of {np.dtype(getattr(value.dtype, 'as_numpy_dtype', value.dtype)).name}, shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _is_tensor(value):
    tf = sys.modules.get("tensorflow")  # there is none without it
    return tf is not None and isinstance(value, tf.Tensor)


def check_name(argument: str, value: Any, names: Iterable):
    """Raises ValueError unless `value` is one of `names`; the message suggests the nearest."""
    if not isinstance(value, str | int | None) or value not in names:
        raise no_such_name(argument, value, names)


def no_such_name(argument: str, value: Any, names: Iterable) -> ValueError:
    """The error for a value that is none of `names`."""
    near = difflib.get_close_matches(str(value), [n for n in names if isinstance(n, str)], n=2, cutoff=0.4)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return ValueError(f"{argument} must be one of {', '.join(str(n) for n in names)}, got {shown(value)}{hint}")


def text_or_path(argument: str, value: Any):
    """Raises TypeError unless `value` is a string or a path."""
    if not isinstance(value, str | os.PathLike):
        raise InputTypeError(f"{argument} must be a string or a path, got {shown(value)}")


def flag(argument: str, value: Any):
    """Raises TypeError unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InputTypeError(f"{argument} must be True or False, got {shown(value)}")


def texts_or_paths(argument: str, value: Any):
    """Raises ValueError unless `value` is a string, a path, or a list of these, not empty."""
    for one in value if isinstance(value, list | tuple) else [value]:
        text_or_path(argument, one)
    if isinstance(value, list | tuple) and not value:
        raise ValueError(f"{argument} must hold at least one pattern, got {value}")


def count(argument: str, value: Any, least: float = 1, most: int = 2**31 - 1) -> int:
    """`value`; raises ValueError unless it is an integer of at least `least` and at most `most`."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    is_integer |= _is_tensor(value) and value.dtype.is_integer and value.shape.rank == 0
    if not is_integer or value < least:
        error = ValueError if is_integer else InputTypeError
        raise error(f"{argument} must be an integer of at least {least}, got {shown(value)}")
    if value > most:  # by default the largest int32, which TensorFlow's sizes are
        rule = f"at most {most}" if most < 2**31 - 1 else f"below 2^{most.bit_length()}"
        raise ValueError(f"{argument} must be {rule}, got {value}")
    return value


def sizes(argument: str, values: Any, some: bool = True, least: float = 1):
    """Raises ValueError unless `values` is a list or tuple of integers of at least `least`, with `some` not empty."""
    if not isinstance(values, list | tuple) or (some and not values):
        error = ValueError if isinstance(values, list | tuple) else InputTypeError
        more = ", one or more" if some else ""
        raise error(f"{argument} must be a tuple of integers of at least {least}{more}, got {shown(values)}")
    for value in values:
        count(argument, value, least)


def number(argument: str, value: Any, least: float | None = None):
    """Raises ValueError unless `value` is a finite number, of at least `least`."""
    words = "" if least is None else f" of at least {least}"
    _check_number(f"{argument} must be a finite number{words}", value, lambda found: least is None or found >= least)


def above_zero(argument: str, value: Any, otherwise: str = ""):
    """Raises ValueError unless `value` is a finite number above 0; `otherwise` says what else is accepted."""
    _check_number(f"{argument} must be a finite number above 0{otherwise}", value, lambda found: found > 0)
    if value < 1e-15:  # its square, by which a sum of squares is divided, would vanish in float32
        raise ValueError(f"{argument} must be at least 1e-15, got {shown(value)}")


def _check_number(rule, value, test):
    try:
        found = None if isinstance(value, str) else float(value)  # also of an array or a tensor
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or not (math.isfinite(found) and test(found)):
        raise (InputTypeError if found is None else ValueError)(f"{rule}, got {shown(value)}")


def argument(name: str, value: Any, option: Any):
    """Raises ValueError unless an argument obeys the `pieces.Option` that declares it."""
    if value is None and option.optional:
        return
    if option.one_of is not None:
        if not isinstance(value, str | int) or value not in option.one_of:
            raise ValueError(f"{name} must be {' or '.join(map(str, option.one_of))}, got {shown(value)}")
    elif option.of is tuple:
        sizes(name, value, option.some, -(2**31) if option.least is None else option.least)
    elif option.above == 0:
        above_zero(name, value, f", or None {option.if_none}" if option.if_none else "")
    elif option.least is not None:
        if option.of is int:
            count(name, value, option.least, option.most)
        else:
            number(name, value, option.least)


def batch_size(value: Any, num_images: int | None = None):
    """Raises ValueError unless `value` is an integer in [1, num_images], or below 2^24 if their number is not known."""
    count("batch_size", value)
    if num_images is not None and value > num_images:
        raise ValueError(f"batch_size must be at most the number of images, {num_images}, got {value}")
    if value >= 2**24:  # TensorFlow would allocate it, or abort
        raise ValueError(f"batch_size must be below 2^24, got {value}")


def seed(argument: str, value: Any):
    """Raises ValueError unless `value` is an integer in [0, 2^63)."""
    count(argument, value, 0, 2**63 - 1)


def array(argument: str, values: Any) -> np.ndarray:
    """`values` as an array; ValueError if any is masked."""
    refuse_masked(argument, values)
    return np.asarray(values)


def refuse_masked(argument: str, values: Any):
    """Raises ValueError for an array with masked values: a plain array or a tensor would show what the mask hides."""
    if np.ma.is_masked(values):
        raise ValueError(f"{argument} must have no masked values, got {np.ma.count_masked(values)}")


def bytes_up_to(argument: str, x: np.ndarray, max_level: int):
    """Raises ValueError for bytes above `max_level`, which means 1, and for bytes of 0 and 1 that it would darken."""
    largest = x.max()
    if largest > max_level:
        raise ValueError(f"{argument} must be at most max_level, {max_level}, got {largest}")
    if largest == 1 < max_level:
        raise ValueError(f"{argument} must be bytes up to {max_level}, which means 1, got 0 and 1 alone")


def images(argument: str, x: Any) -> np.ndarray:
    """x as uint8, or as float32; raises ValueError unless it is images with values that are finite and in [0, 1]."""
    x = array(argument, x)
    if x.ndim not in (3, 4) or x.shape[0] == 0:
        raise ValueError(f"{argument} must be images [N, H, W] or [N, H, W, C], N at least 1, got shape {x.shape}")
    if x.dtype == np.uint8:
        return x
    if not np.issubdtype(x.dtype, np.floating):
        raise InputTypeError(f"{argument} must be uint8 or floats, got {x.dtype}")
    good = np.isfinite(x) & (x >= 0) & (x <= 1)
    if not good.all():
        raise ValueError(f"{argument} must be finite and in [0, 1], got {x[~good][0]}")
    return x.astype(np.float32)


def labels(argument: str, y: Any) -> np.ndarray:
    """Labels as int64 [N]; raises ValueError unless they are integers of at least 0."""
    if y is None:
        raise ValueError(f"{argument} must be there, got None")
    y = array(argument, y)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{argument} must be integers [N], got {y.dtype.name} {list(y.shape)}")
    return non_negative(argument, y)


def non_negative(argument: str, values: np.ndarray) -> np.ndarray:
    """Integers as int64; raises ValueError unless they are in [0, 2^63)."""
    if values.min(initial=0) < 0:
        raise ValueError(f"{argument} must be at least 0, got {values.min()}")
    if values.max(initial=0) >= 2**63:
        raise ValueError(f"{argument} must be below 2^63, got {values.max()}")
    return values.astype(np.int64)


def joined(shape: Iterable) -> str:
    """A shape for a message, "64, 8, ?"."""
    return ", ".join("?" if size is None else str(size) for size in shape)
