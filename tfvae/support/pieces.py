"""Pieces by name: each declares its options once, where it is defined.

    @piece("objective", beta=option(1.0, "weight of the KL", least=0))
    def beta_elbo(beta, *, num_samples=1): ...

The declaration gives recipes their fields, the command line its options and `--help`, the documentation its table of
pieces, and each call of the function its checks. Users declare their own pieces in the same way.

`--help` reads the declarations from the source by `ast`, as importing the modules of pieces would import TensorFlow.
"""

import __future__

import ast
import contextlib
import dataclasses
import functools
import importlib
import inspect
import itertools
import pathlib
import re
from collections.abc import Callable
from typing import Any, TypeVar

KINDS = ("data", "likelihood", "posterior", "prior", "network", "objective", "optimizer")
# Where the package's own pieces are declared, {room: modules}, in the order in which they are listed.
_DECLARED_IN = {
    "data": ("loading", "own"),
    "likelihoods": ("discrete", "continuous", "logistic"),
    "posteriors": ("normal", "flows"),
    "priors": ("simple", "learned"),
    "recipes": ("layers", "bodies"),
    "objectives": ("bounds", "disentangling", "total_correlation", "estimators"),
    "train": ("adam", "muon"),
}
_Function = TypeVar("_Function", bound=Callable)


@dataclasses.dataclass(frozen=True)
class Option:
    """A value that a user chooses: an option of a piece, or a field of a recipe."""

    default: Any  # in a recipe; None makes it optional
    text: str  # what it is, for `--help`, without the names of its pieces
    of: Any = None  # int, float, str, bool or tuple (of integers); default: the type of `default`
    least: float | None = None  # the smallest value (or element of a tuple)
    most: int = 2**31 - 1  # the largest value of an integer
    above: float | None = None  # exclusive bounds
    below: float | None = None
    one_of: tuple | None = None  # the values allowed
    some: bool = False  # whether a tuple needs an element
    field: str | None = None  # its name in a recipe; default: the argument's
    if_none: str | None = None  # what None asks for

    def __post_init__(self):
        object.__setattr__(self, "of", self.of or type(self.default))

    @property
    def optional(self) -> bool:
        """Whether it may be None."""
        return self.default is None


option = Option


@dataclasses.dataclass(frozen=True)
class Piece:
    """A named piece."""

    kind: str  # one of `KINDS`
    name: str  # in recipes and on the command line
    about: str  # the first line of its docstring
    options: dict[str, Option]  # by argument
    parameters: dict[str, bool]  # {argument: whether it has a default}
    least: dict[str, int]  # {field of the recipe: its smallest value for this piece}
    traits: tuple[str, ...]  # words that rules test, such as "hierarchical"
    defaults: dict[str, Any]  # {field of the recipe: its default with this piece}
    module: str  # where the function is defined
    make: Callable | None = None  # the function; None until its module is imported

    def fields(self) -> dict[str, Option]:
        """{name in a recipe: `Option`}."""
        return {one.field or argument: one for argument, one in self.options.items()}

    @property
    def function(self) -> Any:
        """The function; imports its module if need be."""
        if self.make is None:
            importlib.import_module(self.module)
        return of_kind(self.kind)[self.name].make

    def build(self, recipe: Any, **given) -> Any:
        """Calls the function with its options, what is `given`, and recipe fields for all other required arguments."""
        names = {parameter: one.field or parameter for parameter, one in self.options.items()}
        wanted = [p for p, has_default in self.parameters.items() if p in names or p in given or not has_default]
        return self.function(**{p: given[p] if p in given else getattr(recipe, names.get(p, p)) for p in wanted})


_DECLARED: dict[str, dict[str, Piece]] = {}


def of_kind(kind: str) -> dict[str, Piece]:
    """{name: `Piece`} of all that are declared."""
    if not _DECLARED:
        _read_sources()
    return _DECLARED[kind]


def piece(
    kind: str,
    *,
    name: str | None = None,
    least: dict | None = None,
    traits: tuple = (),
    defaults: dict | None = None,
    **options: Option,
) -> Callable[[_Function], _Function]:
    """Declares the function below as a piece, and checks its arguments at each call; ValueError for an unknown kind.

    Args:
        kind: one of `KINDS`.
        name: default: the function's.
        least: {field of the recipe: its smallest value for this piece}.
        traits: words that rules test: of a likelihood "logit_bias" or "loc_bias", if its last layer can start at a
            mean image; of an objective "growing", if its number of samples can grow, and "of marginals", if it needs
            those of q(z|x); of a posterior "marginals", if it has them; of latents "hierarchical".
        defaults: of a data set, {field of the recipe: its default where these are the data}.
        **options: {argument: `option(...)`}.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")

    def declare(function):
        function.options = options

        @functools.wraps(function)
        def checked(*args, **kwargs):
            from tfvae.support import rules  # which imports TensorFlow

            rules.check(function, args, kwargs)
            return function(*args, **kwargs)

        chosen, about = name or function.__name__, (function.__doc__ or "").strip().split("\n")[0]
        parameters = {name: p.default is not p.empty for name, p in inspect.signature(function).parameters.items()}
        where = function.__module__
        asks = (least or {}, traits, defaults or {})
        of_kind(kind)[chosen] = Piece(kind, chosen, about, options, parameters, *asks, where, checked)
        return checked

    return declare


def data_piece(name: Any) -> tuple[Piece | None, str]:
    """The data set of this name, or None, and its path: of "folder:photos", that of `folder:PATH` and "photos"."""
    found, (start, colon, path) = of_kind("data"), str(name).partition(":")
    own = next((one for known, one in found.items() if colon and path and known.startswith(f"{start}:")), None)
    return (own, path) if own else (found.get(str(name)), "")


def stem(path: Any) -> str:
    """What data at a path are called: "photos" for "a/my photos/", "faces" for "faces.npz"."""
    name = pathlib.Path(path).resolve().name.removesuffix(pathlib.Path(path).suffix)
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "data"


def fields_of(kind: str) -> dict[str, Option]:
    """{name in a recipe: `Option`} of all pieces of a kind."""
    return {field: one for found in of_kind(kind).values() for field, one in found.fields().items()}


def users(field: str) -> dict[str, list[Piece]]:
    """{kind: the pieces that have this field}."""
    found = {kind: [p for p in of_kind(kind).values() if field in p.fields()] for kind in KINDS}
    return {kind: pieces for kind, pieces in found.items() if pieces}


def help_of(field: str) -> str:
    """What a field is, and of which pieces: for `--help`."""
    texts: dict[str, list[str]] = {}
    for one in itertools.chain(*users(field).values()):
        texts.setdefault(one.fields()[field].text, []).append(one.name)
    everyone = sum(map(len, texts.values())) == sum(len(of_kind(kind)) for kind in users(field))
    parts = [text if everyone and len(texts) == 1 else f"{text} ({', '.join(names)})" for text, names in texts.items()]
    return "; ".join(parts)


def _read_sources():
    """Declares each piece of the package without its body; importing its module later adds the function.

    A declaration may name the module's own literals, such as defaults that two pieces share.
    """
    _DECLARED.update({kind: {} for kind in KINDS})
    package = pathlib.Path(__file__).parents[1]
    for room, module in [(room, module) for room, modules in _DECLARED_IN.items() for module in modules]:
        names = {"piece": piece, "option": option, "__name__": f"tfvae.{room}.{module}"}
        node: Any
        for node in ast.parse((package / room / f"{module}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                with contextlib.suppress(ValueError):  # no literal
                    names[node.targets[0].id] = ast.literal_eval(node.value)
            decorators = [call.func for call in getattr(node, "decorator_list", ()) if isinstance(call, ast.Call)]
            if any(getattr(function, "id", "") == "piece" for function in decorators):
                node.body = node.body[:1]  # the docstring
                node.args.defaults = [ast.Constant(None) for _ in node.args.defaults]
                node.args.kw_defaults = [default and ast.Constant(None) for default in node.args.kw_defaults]
                stub = ast.fix_missing_locations(ast.Module([node], []))
                exec(compile(stub, module, "exec", __future__.annotations.compiler_flag), names)
    for found in _DECLARED.values():
        found.update({name: dataclasses.replace(stub, make=None) for name, stub in found.items()})
