"""A recipe names the pieces of a model and how it is trained."""

import math
import types
from typing import Any

import tf_keras as tfk

from tfvae import data as data_room
from tfvae.support import checks, pieces
from tfvae.support.fields import FILLED_IN, options
from tfvae.support.pieces import Option


class Recipe(types.SimpleNamespace):
    """Everything that makes a training run, as plain values: the same recipe gives the same weights.

    `python -m tfvae train --help` and docs/pieces.md list its fields; ValueError names the field, the rule and the
    value. A recipe cannot be changed: `replace` makes another.

    >>> recipe = tfvae.Recipe(data="digits", objective="beta_elbo", beta=4.0)
    >>> recipe.latent_size, recipe.replace(latent_size=2).latent_size
    (8, 2)
    >>> recipe.complete(recipe.load_data()).likelihood
    'binomial'
    """

    def __init__(self, **fields):
        known = options()
        for name, value in fields.items():
            checks.check_name("recipe field", name, list(known))
            fields[name] = typed(name, known[name], value)
        values = {name: one.default for name, one in known.items()} | _defaults_with(fields) | fields
        super().__init__(**{name: typed(name, one, values[name]) for name, one in known.items()})
        _check(self, known)
        if self.latent_sizes is not None:
            total = vars(self)["latent_size"] = sum(self.latent_sizes)
            if fields.get("latent_size", total) != total:
                raise ValueError(f"latent_size must be the sum of latent_sizes, {total}, got {fields['latent_size']}")

    def __setattr__(self, name, value=None):
        raise AttributeError(f"a recipe cannot be changed: recipe.replace({name}=...) makes another")

    __delattr__ = __setattr__

    def __hash__(self):
        return hash(tuple(vars(self).items()))

    def replace(self, **fields) -> "Recipe":
        """This recipe with other values of some fields; options of pieces no longer chosen get their defaults."""
        kept = dict(vars(self))
        if fields.get("latent_sizes") is not None:
            del kept["latent_size"]  # their sum
        unused = _unused({**kept, **fields})  # options of pieces that are chosen no more
        return Recipe(**{name: value for name, value in kept.items() if name not in unused} | fields)

    __replace__ = replace

    def complete(self, data) -> "Recipe":
        """This recipe with what only the data know: event shape, likelihood, total count, number of classes.

        ValueError for a likelihood, scale or batch size that does not fit; for a conditional model without labels.
        """
        likelihood = self.likelihood or {None: "normal", 1: "bernoulli"}.get(data.num_levels, "binomial")
        _check_fits(self, likelihood, data)
        known = {
            "event_shape": data.event_shape,
            "likelihood": likelihood,
            "total_count": data.num_levels if is_counted(likelihood) else None,
            "num_classes": data.num_classes if self.conditional else None,
        }
        return Recipe(**vars(self) | known)

    def load_data(self):
        """The `ImageData` or `FactorData` that the recipe names; ValueError for a `Stream`: runs measure on arrays."""
        if pieces.data_piece(self.data)[0] is None:
            raise checks.no_such_name("data", self.data, pieces.of_kind("data"))
        chosen = {name: getattr(self, name) for name in ("validation_size", *pieces.fields_of("data"))}
        return data_room.load(self.data, self.binarize, self.seed, **chosen)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values) -> "Recipe":
        """The inverse of `to_dict`; ValueError for an unknown field (with the nearest known) or a bad value."""
        if not isinstance(values, dict):
            raise checks.InputTypeError(f"recipe must be a mapping of fields to values, got {type(values).__name__}")
        return cls(**values)


def _defaults_with(fields):
    """{field: default} of the data set; no bias at the mean image for a likelihood that has none."""
    chosen = fields.get("data", options()["data"].default)
    piece, _ = pieces.data_piece(chosen)
    found = piece.defaults if piece else {}
    without = {"mean_bias"} if fields.get("likelihood") not in (None, *_likelihoods_with_bias()) else set()
    if fields.get("binarize") is not None:
        without.add("likelihood")  # of grey levels
    return {field: value for field, value in found.items() if field not in without}


def _likelihoods_with_bias():
    found = pieces.of_kind("likelihood")
    return [name for name, one in found.items() if {"logit_bias", "loc_bias"} & set(one.traits)]


def is_counted(likelihood: str) -> bool:
    """Whether a likelihood counts grey levels, as many as the data have."""
    return "total_count" in pieces.of_kind("likelihood")[likelihood].parameters


def typed(name: str, one: Option, value: Any) -> Any:
    """The value in its option's type: an integer as a float, a list as a tuple; ValueError if it breaks the option."""
    if value is None and (one.optional or name in FILLED_IN):
        return None
    if one.of is tuple:
        if not isinstance(value, list | tuple) or any(type(v) is not int for v in value):
            raise checks.InputTypeError(f"{name} must be a list of integers, got {value!r}")
        value = tuple(value)
    if one.of is float and type(value) is int:
        value = float(value)
    if type(value) is not one.of:
        raise checks.InputTypeError(f"{name} must be of type {one.of.__name__}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    numbers = value if one.of is tuple else (value,)
    if one.below is None and any(type(number) is int and number >= 2**31 for number in numbers):
        raise ValueError(f"{name} must be below 2^31, got {value}")
    _check_rules(name, value, one)
    return value


def _check_rules(name, value, one):
    if one.one_of is not None:
        if isinstance(value, str):
            checks.check_name(name, value, one.one_of)  # suggests the nearest
        elif value not in one.one_of:
            raise ValueError(f"{name} must be {' or '.join(map(str, one.one_of))}, got {value}")
    elif one.below is not None:
        if not one.least <= value < one.below:
            raise ValueError(f"{name} must be in [{one.least}, 2^{int(math.log2(one.below))}), got {value}")
    elif one.of is tuple:
        if one.least is not None and any(size < one.least for size in value):
            raise ValueError(f"{name} must hold sizes of at least {one.least}, got {value}")
        if one.some and not value:
            raise ValueError(f"{name} must hold at least one size, got ()")
    elif one.least is not None and not value >= one.least:
        raise ValueError(f"{name} must be at least {one.least}, got {value}")
    elif one.of is int and value > one.most:
        raise ValueError(f"{name} must be at most {one.most}, got {value}")
    elif one.above is not None and not value > one.above:
        raise ValueError(f"{name} must be above {one.above}, got {value}")


def _check(recipe, known):
    """Raises ValueError, with field, rule and value, unless the fields are right and fit together."""
    for kind in pieces.KINDS[1:]:  # the name of the data is checked when they are loaded
        names = list(pieces.of_kind(kind))
        checks.check_name(kind, getattr(recipe, kind), [None, *names] if known[kind].optional else names)
    _check_pieces(recipe, known)
    if recipe.mean_bias and recipe.likelihood is not None:
        checks.check_name("likelihood under mean_bias", recipe.likelihood, _likelihoods_with_bias())
    try:
        tfk.activations.get(recipe.activation)
    except ValueError:
        raise ValueError(f"activation must be one of Keras' activations, got {recipe.activation!r}") from None
    if recipe.num_classes is not None and not recipe.conditional:
        raise ValueError(f"num_classes must be None unless conditional is true, got {recipe.num_classes}")
    if recipe.averaged_epochs > recipe.epochs:
        raise ValueError(f"averaged_epochs must be at most epochs, {recipe.epochs}, got {recipe.averaged_epochs}")


def _check_pieces(recipe, known):
    """What pieces ask of other fields."""
    chosen = {kind: pieces.of_kind(kind)[getattr(recipe, kind)] for kind in ("posterior", "prior", "objective")}
    posterior, prior = ("hierarchical" in chosen[kind].traits for kind in ("posterior", "prior"))
    sizes = recipe.latent_sizes
    if "of marginals" in chosen["objective"].traits and "marginals" not in chosen["posterior"].traits:
        can = " or ".join(name for name, one in pieces.of_kind("posterior").items() if "marginals" in one.traits)
        raise ValueError(f"posterior must be {can} with objective {recipe.objective}, got {recipe.posterior}")
    if posterior and not prior:
        raise ValueError(f"prior must be hierarchical with posterior {recipe.posterior}, got {recipe.prior}")
    if prior and not posterior:
        can = " or ".join(name for name, one in pieces.of_kind("posterior").items() if "hierarchical" in one.traits)
        raise ValueError(f"posterior must be {can} with prior hierarchical, got {recipe.posterior}")
    if not posterior and sizes is not None:
        raise ValueError(f"latent_sizes must be None with posterior {recipe.posterior}, got {sizes}")
    if posterior and (sizes is None or len(sizes) < 2 or min(sizes) < 1):
        raise ValueError(f"latent_sizes must hold at least two sizes of at least 1, got {sizes}")
    for one in chosen.values():
        for field, least in one.least.items():
            if getattr(recipe, field) < least:
                raise ValueError(f"{field} must be at least {least} for {one.name}, got {getattr(recipe, field)}")
    if recipe.jit and recipe.warmup_steps and "growing" in chosen["objective"].traits:
        raise ValueError(f"jit must not be true while samples grow, warmup_steps = {recipe.warmup_steps}, got true")
    _check_in_use(recipe, known)


def _check_in_use(recipe, known):
    """Raises ValueError for an option of pieces that are not chosen, unless it has its default."""
    defaults = _defaults_with({"data": recipe.data})
    for field, users in _unused(vars(recipe)).items():
        value, default = getattr(recipe, field), defaults.get(field, known[field].default)
        if value not in (known[field].default, default):
            rule = " or ".join(f"{kind} is {' or '.join(names)}" for kind, names in users.items())
            raise ValueError(f"{field} must be {default} unless {rule}, got {value}")


def _unused(values):
    """{field: {kind: names of the pieces that use it}} of options whose pieces are not chosen."""
    names_of = {kind: values[kind] if isinstance(values[kind], str) else "" for kind in pieces.KINDS}
    chosen: dict[str, Any] = {kind: pieces.of_kind(kind).get(name) for kind, name in names_of.items()}
    chosen["data"] = pieces.data_piece(values["data"])[0]
    read = {name for one in chosen.values() if one for name in one.parameters if name not in one.options}
    found = {}
    for field in values.keys() - read:
        users = {kind: [user.name for user in of_kind] for kind, of_kind in pieces.users(field).items()}
        # A likelihood of None is yet to be chosen by the data.
        in_use = [chosen[kind] is None or chosen[kind].name in names for kind, names in users.items()]
        if users and not any(in_use):
            found[field] = users
    return found


def _check_fits(recipe, likelihood, data):
    """Raises ValueError unless likelihood, batch size and labels suit the data."""
    if likelihood == "bernoulli" and data.num_levels != 1:
        raise ValueError(
            f"likelihood must fit the data's grey levels, got bernoulli for {data.name}, which is not binarized: "
            "choose binarize static or stochastic, or another likelihood"
        )
    if is_counted(likelihood) and data.num_levels is None:
        raise ValueError(f"likelihood must fit continuous grey levels, got {likelihood} for {data.name}")
    size = data.train_size
    if size is not None and recipe.batch_size > size:
        raise ValueError(f"batch_size must be at most the number of training images, {size}, got {recipe.batch_size}")
    if recipe.conditional and data.y_train is None:
        raise ValueError(f"conditional must be False for images without labels, got True for {data.name}")
