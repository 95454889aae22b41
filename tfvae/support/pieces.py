"""Pieces by name: each declares its options once, where it is defined.

    @piece("objective", beta=option(1.0, "weight of the KL", least=0))
    def beta_elbo(beta, *, num_samples=1): ...

Recipes take their fields from here, the command line its options and `--help`, the documentation its table of pieces,
and a call of the function is checked by the same declaration. A piece of the user's own is declared in the same way.

Without TensorFlow, which the modules of pieces import, `--help` reads the declarations out of the source.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

KINDS = ("data", "likelihood", "posterior", "prior", "network", "objective", "optimizer")
# Where the package's own pieces are declared, in the order in which they are listed.
_FILES = (
    "data/loading.py",
    "likelihoods/discrete.py",
    "likelihoods/continuous.py",
    "likelihoods/logistic.py",
    "posteriors/normal.py",
    "posteriors/flows.py",
    "priors/simple.py",
    "priors/learned.py",
    "recipes/layers.py",
    "recipes/bodies.py",
    "objectives/bounds.py",
    "objectives/disentangling.py",
    "objectives/total_correlation.py",
    "objectives/estimators.py",
    "train/adam.py",
    "train/muon.py",
)
_Function = TypeVar("_Function", bound=Callable)


@dataclasses.dataclass(frozen=True)
class Option:
    """A value that a user chooses: see `option`."""

    default: Any
    text: str
    of: type
    least: float | None = None
    above: float | None = None
    below: float | None = None
    one_of: tuple | None = None
    some: bool = False
    field: str | None = None
    if_none: str | None = None

    @property
    def optional(self) -> bool:
        """Whether it may be None."""
        return self.default is None


def option(default, text: str, *, of: type | None = None, **rules) -> Any:
    """An option of a piece, or a field of a recipe.

    Args:
        default: in a recipe; None if it may be left open.
        text: for `--help`: what it is, without the names of its pieces.
        of: int, float, str, bool or tuple (of integers); default: the type of `default`.
        least: the smallest value, or the smallest element.
        above, below: bounds that are not reached.
        one_of: the values that it may have.
        some: whether a tuple must hold at least one element.
        field: its name in a recipe; default: the argument's.
        if_none: what None asks for.
    """
    return Option(default, text, of or type(default), **rules)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A named piece.

    Attributes:
        kind: one of `KINDS`.
        name: in recipes and on the command line.
        about: the first line of its docstring.
        options: {argument: `Option`}.
        parameters: {argument: whether it has a default}.
        least: {field of the recipe: its smallest value for this piece}.
        traits: words that rules go by, such as "hierarchical".
        module: where the function is.
        make: the function; None as long as only its source was read.
    """

    kind: str
    name: str
    about: str
    options: dict[str, Option]
    parameters: dict[str, bool]
    least: dict[str, int]
    traits: tuple[str, ...]
    module: str
    make: Callable | None = None

    def fields(self) -> dict[str, Option]:
        """{name in a recipe: `Option`}."""
        return {one.field or argument: one for argument, one in self.options.items()}

    @property
    def function(self) -> Any:
        """The function, from its module, which is imported now if it was not before."""
        if self.make is None:
            importlib.import_module(self.module)
        return of_kind(self.kind)[self.name].make

    def build(self, recipe: Any, **given) -> Any:
        """The function, called with its options, what is `given`, and fields of the recipe that it requires besides."""
        names = {parameter: self.options[parameter].field or parameter for parameter in self.options}
        wanted = [p for p, has_default in self.parameters.items() if p in names or p in given or not has_default]
        return self.function(**{p: given[p] if p in given else getattr(recipe, names.get(p, p)) for p in wanted})


_DECLARED: dict[str, dict[str, Piece]] = {}


def of_kind(kind: str) -> dict[str, Piece]:
    """{name: `Piece`} of all that are declared."""
    if not _DECLARED:
        _read_sources()
    return _DECLARED[kind]


def piece(
    kind: str, *, name: str | None = None, least: dict | None = None, traits: tuple = (), **options: Option
) -> Callable[[_Function], _Function]:
    """Declares the function below as a piece, and checks its options whenever it is called.

    Args:
        kind: one of `KINDS`.
        name: default: the function's.
        least: {field of the recipe: its smallest value for this piece}.
        traits: words that rules go by: of a likelihood "logit_bias" or "loc_bias", how its last layer can start at a
            mean image; of an objective "growing", whose number of samples can grow; of latents "hierarchical".
        **options: {argument: `option(...)`}.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")

    def declare(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args, **kwargs):
            from tfvae.support import checks

            for argument, value in signature.bind(*args, **kwargs).arguments.items():
                if argument in options:
                    checks.argument(argument, value, options[argument])
            return function(*args, **kwargs)

        about = (function.__doc__ or "").strip().split("\n")[0]
        parameters = {name: p.default is not p.empty for name, p in signature.parameters.items()}
        of_kind(kind)[name or function.__name__] = Piece(
            kind,
            name or function.__name__,
            about,
            options,
            parameters,
            least or {},
            traits,
            function.__module__,
            checked,
        )
        return checked

    return declare


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
    for pieces in users(field).values():
        for one in pieces:
            texts.setdefault(one.fields()[field].text, []).append(one.name)
    everyone = sum(map(len, texts.values())) == sum(len(of_kind(kind)) for kind in users(field))
    parts = [text if everyone and len(texts) == 1 else f"{text} ({', '.join(names)})" for text, names in texts.items()]
    return "; ".join(parts)


def _read_sources():
    """Fills the table from the declarations in the source; importing a module later puts its functions in."""
    _DECLARED.update({kind: {} for kind in KINDS})
    package = pathlib.Path(__file__).parents[1]
    for file in _FILES:
        for node in ast.parse((package / file).read_text(encoding="utf-8")).body:
            for call in getattr(node, "decorator_list", ()):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "piece":
                    found = _declared_by(node, call, f"tfvae.{file.removesuffix('.py').replace('/', '.')}")
                    _DECLARED[found.kind][found.name] = found


def _declared_by(node: Any, call: ast.Call, module: str) -> Piece:
    def value(node):
        return eval(compile(ast.Expression(node), "piece", "eval"), {"option": option})

    arguments = {str(keyword.arg): value(keyword.value) for keyword in call.keywords}
    kind = value(call.args[0])
    name, least, traits = (arguments.pop(k, None) for k in ("name", "least", "traits"))
    positional, defaults = [a.arg for a in node.args.args], len(node.args.defaults)
    parameters = {name: i >= len(positional) - defaults for i, name in enumerate(positional)}
    parameters |= {a.arg: d is not None for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)}
    about = (ast.get_docstring(node) or "").split("\n")[0]
    return Piece(kind, name or node.name, about, arguments, parameters, least or {}, traits or (), module)
