"""Pieces are declared once: what the source says is what the functions are, and a user's own are like the package's."""

import inspect

import numpy as np
import pytest

from tfvae import recipes
from tfvae.support import pieces
from tfvae.support.fields import help_of, options
from tfvae.support.pieces import option, piece

EVERY = [(kind, name) for kind in pieces.KINDS for name in pieces.of_kind(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_source_read_as_text_says_what_the_function_is(kind, name):
    one = pieces.of_kind(kind)[name]
    parameters = inspect.signature(one.function).parameters
    assert one.parameters == {n: p.default is not p.empty for n, p in parameters.items()}
    assert set(one.options) <= set(parameters)
    assert one.about == inspect.getdoc(one.function).split("\n")[0]
    for argument, declared in one.options.items():  # a default of the function is that of the recipe, where both exist
        if parameters[argument].default is not inspect.Parameter.empty and argument not in ("scale", "hidden_sizes"):
            assert parameters[argument].default == declared.default


def test_a_piece_gets_its_own_options_and_no_others():
    """`activation` and `learning_rate` of a recipe are not those of a flow or a discriminator."""
    base = {"event_shape": (8, 8, 1), "likelihood": "bernoulli", "posterior": "iaf", "latent_size": 8}
    pushed = []
    for activation in ("elu", "tanh"):
        flow = recipes.build(recipes.Recipe(**base, activation=activation)).encoder.distribution.transform
        pushed.append(flow.push(np.ones([1, 8], np.float32), np.ones([1, 48], np.float32))[0])
    np.testing.assert_array_equal(*pushed)
    objective = recipes.objective_of(
        recipes.Recipe(objective="factor_elbo", discriminator_sizes=(4,), learning_rate=0.5)
    )
    assert float(objective.optimizer.learning_rate) == pytest.approx(1e-4)


def test_every_field_has_a_help():
    assert all(help_of(name) for name in options())


def test_a_kind_must_be_known():
    with pytest.raises(ValueError, match=r"kind must be one of data, likelihood, .*, got 'objectives'"):
        piece("objectives")


def test_a_declared_piece_is_checked_when_it_is_called():
    @piece("objective", weight=option(1.0, "Weight", least=0))
    def weighed(weight):
        """Weighed."""
        return weight

    try:
        assert weighed(2.0) == 2
        with pytest.raises(ValueError, match="weight must be a finite number of at least 0, got -1"):
            weighed(-1)
        assert recipes.Recipe(objective="weighed", weight=3).weight == 3.0
        with pytest.raises(ValueError, match=r"weight must be 1.0 unless objective is weighed, got 2.0"):
            recipes.Recipe(weight=2.0)
    finally:
        del pieces.of_kind("objective")["weighed"]
