"""What an argument must be, declared once and tested before the body runs.

    @checked
    def samples(vae, *, num: int = 100, columns: int = 10, seed: int = 0) -> Figure: ...

    samples(vae, num=0)  # ValueError: num must be an integer of at least 1, got 0

In this package a name means one thing, whose rule is in `NAMES`. Where a function asks for more, its signature says
so: by `Annotated[type, test]`, with a `test(name, value)` that raises the error, or by a `Literal`. Any other name has
its plain annotation's rule; `Any` is none. None is accepted where it is the default. A graph's tensors are not tested.
"""

import collections.abc
import contextlib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import tensorflow as tf
import tf_keras as tfk
from tensorflow_probability import distributions as tfd

from tfvae.seeds import stateless_seed
from tfvae.support import checks, files
from tfvae.support.fields import BINARIZATIONS

_Checked = TypeVar("_Checked", bound=Callable)


def checked(function: _Checked) -> _Checked:
    """The function, which then tests its arguments; or a class, whose constructor does."""
    if isinstance(function, type):
        made: Any = function
        made.__init__ = checked(made.__init__)
        return function

    @functools.wraps(function)
    def checking(*args, **kwargs):
        check(function, args, kwargs)
        return function(*args, **kwargs)

    return typing.cast(_Checked, checking)


@tf.autograph.experimental.do_not_convert
def check(function: Callable, args: tuple, kwargs: Mapping) -> None:
    """Tests the arguments of a call of the function."""
    found = rules_of(function)
    for name, value in (*zip(found, args, strict=False), *kwargs.items()):
        if (test := found.get(name)) is not None and not tf.is_symbolic_tensor(value):
            test(name, value)


@functools.cache
def rules_of(function: Callable) -> dict[str, Callable | None]:
    """{parameter: its test, or None}; an option of a piece has the rule of its declaration, as has all of a user's."""
    found: dict[str, Callable | None] = {}
    options, own = getattr(function, "options", {}), function.__module__.startswith("tfvae.")
    kinds = typing.get_type_hints(function, include_extras=True) if own else {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in options or not own:
            found[name] = functools.partial(checks.argument, option=options[name]) if name in options else None
            continue
        kind = kinds.get(name)
        if kind is not Any and not {Annotated, Literal} & {typing.get_origin(part) for part in (kind, *_parts(kind))}:
            kind = NAMES.get(name) or (Count if name.startswith("num_") else kind)
        some = [part for part in _parts(kind) or (kind,) if part is not types.NoneType]
        test = None if kind is None else _test(typing.Union[tuple(some)])  # noqa: UP007
        may_be_none = types.NoneType in (*_parts(kind), *_parts(kinds.get(name)))
        absent = parameter.default is None or (parameter.default is parameter.empty and may_be_none)
        found[name] = _optional(test) if absent else test
    return found


def _parts(kind):
    return typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else ()


def _optional(test):
    return test and (lambda name, value: None if value is None else test(name, value))


def _test(kind) -> Callable | None:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if types.NoneType in _parts(kind):
        return _optional(_test(typing.Union[tuple(part for part in parts if part is not types.NoneType)]))  # noqa: UP007
    if origin is Annotated:
        return kind.__metadata__[0]
    if origin is Literal:
        return lambda name, value: checks.check_name(name, value, parts)
    if Sequence in (kind, origin) or origin is tuple:
        return functools.partial(_sequence, test=_test(parts[0]) if parts else None)
    if (plain := _PLAIN.get(origin or kind)) is not None:
        return plain
    known = kind is not Any and isinstance(kind, type | types.UnionType) and not getattr(kind, "_is_protocol", False)
    return functools.partial(_instance, kind=kind) if known else None


def _refuse_unless(good, name, words, value):
    if not good:
        raise checks.InputTypeError(f"{name} must be {words}, got {checks.shown(value)}")


def _instance(name, value, kind):
    words = " or ".join(part.__name__ for part in typing.get_args(kind) or (kind,))
    _refuse_unless(isinstance(value, kind), name, f"of type {words}", value)


def _sequence(name, values, test):
    _refuse_unless(isinstance(values, list | tuple | range | np.ndarray), name, "a list or a tuple", values)
    for value in values if test else ():
        test(name, value)


def _is(words, good):
    return lambda name, value: _refuse_unless(good(value), name, words, value)


def _has(words, *names):
    return _is(words, lambda value: not isinstance(value, type) and all(hasattr(value, name) for name in names))


def _is_array(value, kinds="biuf"):
    try:
        return tf.is_tensor(value) or np.asarray(value).dtype.kind in kinds
    except (TypeError, ValueError):  # lists of unequal lengths
        return False


def _of_keras_3(value):
    return any(kind.__module__.split(".")[0] == "keras" for kind in type(value).__mro__)


def _ends_even(value):
    return _is_array(value) and any(size % 2 == 0 for size in np.shape(value)[-1:])


def _shape(name, value, rank=None):
    value = list(value) if isinstance(value, tf.TensorShape) else value
    try:
        checks.sizes(name, value)
    except ValueError as error:
        raise type(error)(f"{name} must be integers of at least 1, got {checks.shown(value)}") from None
    if rank is not None and len(value) != rank:
        raise ValueError(f"{name} must be (height, width, channels), got {tuple(value)}")


def _latent_sizes(name, value):
    try:
        checks.sizes(name, value)
        good = len(value) >= 2
    except ValueError:
        good = False
    if not good:
        raise checks.InputTypeError(f"{name} must hold at least two sizes of at least 1, got {checks.shown(value)}")


def _activation(name, value):
    good = False
    with contextlib.suppress(Exception):  # of whatever kind, as it may be the user's
        good = tf.is_tensor(tfk.activations.get(value)(tf.zeros([1, 1])))
    _refuse_unless(good, name, "one of Keras' activations, or a function of a tensor", value)


def _callbacks(name, values):
    for value in tf.nest.flatten(values):
        _refuse_unless(isinstance(value, tfk.callbacks.Callback), name, "a list of tf_keras.callbacks.Callback", value)


def _rate(name, value):
    if not isinstance(value, tfk.optimizers.schedules.LearningRateSchedule):
        checks.above_zero(name, value)


def _share(name, value):
    checks.number(name, value)
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be in (0, 1], got {value}")


_PLAIN: dict[Any, Callable] = {
    bool: checks.flag,
    str: _is("a string", lambda value: isinstance(value, str)),
    int: functools.partial(checks.count, least=-(2**31)),
    float: checks.number,
    collections.abc.Callable: _is("callable", callable),
    dict: _is("a dict", lambda value: isinstance(value, Mapping)),
    np.ndarray: _is("an array of numbers", _is_array),
    tf.Tensor: _is("a tensor", tf.is_tensor),
}
Array = Annotated[Any, _PLAIN[np.ndarray]]
Matrix = Annotated[Any, _is("a matrix of floats", lambda value: _is_array(value, kinds="f") and np.ndim(value) == 2)]
Labels = Annotated[Any, _is("an array of integers or of words", functools.partial(_is_array, kinds="biufUS"))]
Rows = Annotated[Any, _is("an array [N, ...], N at least 1", lambda v: _is_array(v) and any(np.shape(v)[:1]))]
Column = Annotated[Any, _is("an array [N], N at least 1", lambda v: _is_array(v) and np.ndim(v) == 1 and np.size(v))]
Weights = Annotated[
    Any, _is("an array [S, N], S at least 2", lambda v: _is_array(v) and np.ndim(v) == 2 and len(v) >= 2)
]
Flag = Annotated[bool, _PLAIN[bool]]
Verbosity = Annotated[Any, functools.partial(checks.check_name, names=("auto", 0, 1, 2))]  # Keras'
Count = Annotated[int, checks.count]
FromZero = Annotated[int, functools.partial(checks.count, least=0)]
FromTwo = Annotated[int, functools.partial(checks.count, least=2)]
Sizes = Annotated[Sequence[int], checks.sizes]
AnySizes = Annotated[Sequence[int], functools.partial(checks.sizes, some=False)]  # or none
Seed32 = Annotated[int, functools.partial(checks.count, least=0, most=2**32 - 1)]  # scikit-learn's
AnySeed = Annotated[Any, lambda name, value: stateless_seed(value)]
Positive = Annotated[float, checks.above_zero]
NonNegative = Annotated[float, functools.partial(checks.number, least=0)]
Byte = Annotated[int, functools.partial(checks.count, most=255)]
ImageShape = Annotated[Sequence[int], functools.partial(_shape, rank=3)]
Body = Annotated[Any, _has("a Keras model that knows its shapes", "input_shape", "output_shape")]
TestSet = Annotated[Any, _has("data with a test set, as tfvae.data.load gives", "x_test", "y_test")]
_Few = Annotated[int, functools.partial(checks.count, most=1000)]  # images a side of a picture
_Shape = Annotated[Sequence[int], _shape]
_NETWORK = "callable, and no model of Keras 3 (tf_keras, not keras)"  # whose weights tf_keras does not see
_Network = Annotated[Any, _is(_NETWORK, lambda value: callable(value) and not _of_keras_3(value))]
_MEANS: list[tuple[Any, str]] = [
    (Count, "batch_size keep kernel_size latent_size max_batch_size n set_size total_count"),
    (_Few, "columns num"),
    (FromZero, "context_size first_epoch num_classes retries version"),
    (AnySizes, "dense_sizes filters hidden_sizes"),
    (_Shape, "event_shape input_shape"),
    (ImageShape, "image_shape"),
    (Annotated[Sequence[int], _latent_sizes], "latent_sizes"),
    (Positive, "min_scale timeout variance"),
    (NonNegative, "beta dimension_wise_kl kl log_likelihood mutual_information"),
    (Annotated[float, _share], "false_alarm_rate rate"),
    (Annotated[Any, _rate], "learning_rate"),
    (Annotated[int, checks.seed] | None, "seed"),
    (bool | None, "exact_kl"),
    (bool, "reverse verbose"),
    (Annotated[str | None, functools.partial(checks.check_name, names=BINARIZATIONS)], "binarize"),
    (Any, "validation_size"),  # where the number of images is known
    (float, "beta_1 beta_2 epsilon momentum"),
    (tf.Tensor, "context"),
    (str, "licence name support"),
    (
        Annotated[Any, _is("a card of diagnostics.evaluation_card", lambda v: isinstance(v, Mapping) and "how" in v)],
        "card evaluation",
    ),
    (Annotated[Any, _activation], "activation"),
    (Annotated[Any, files.local], "directory folder output path run to"),
    (Annotated[Any, _is("a tensor [..., 2 D]", _ends_even)], "params"),
    (np.ndarray, "factors latents x z"),
    (Labels, "labels"),
    (Callable, "distribution_layer encode in_support make_distribution"),
    (Annotated[Any, _is("a callable such as objectives.elbo", callable)], "objective loss"),
    (FromTwo, "num_seeds"),
    (Sequence, "variables"),
    (Annotated[Any, _callbacks], "callbacks"),
    (Annotated[Any, _is("a tfd.Distribution", lambda value: isinstance(value, tfd.Distribution))], "prior"),
    (tf.distribute.Strategy, "strategy"),
    (_Network, "decoder encoder network"),
    (Sequence[_Network], "networks"),
    (Annotated[Any, _has("a map with push and pull", "push", "pull")], "transform"),
    (Annotated[Any, _has("a VAE, or a conditional model given labels", "encode", "decode", "prior")], "vae"),
]
NAMES = {name: kind for kind, names in _MEANS for name in names.split()}


@checked
def keras(*, steps: Count | None = None, verbose: Verbosity = "auto", callbacks=None, **others):
    """Tests what Keras' `evaluate` and `predict` take, and would fail at later."""
