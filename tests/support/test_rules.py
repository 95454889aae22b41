"""Every public function says what its arguments must be, in one place, and refuses all else by the argument's name."""

import collections
import importlib
import inspect
import re
from typing import Annotated, Literal

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

import tfvae
from tfvae import networks, objectives, plots, posteriors
from tfvae.support import rules
from tfvae.support.rules import checked

# What the package makes itself, and protocols.
RESULTS = {
    "Adaptive", "Batches", "DCI", "Draw", "Epochs", "Evidence", "FactorElbo", "Finding", "ImageData", "InferenceGap",
    "LossAudit", "Measurement", "Objective", "OptimalNormal", "Parts", "RateDistortion", "Recipe", "Spread",
    "Stateful", "Stream", "Terms", "Unmerged", "UsualRange", "VAE",
    "Client",  # goes without TensorFlow, and so without its rules: tests/client
    "unwrapped",  # takes anything
    "fold_in", "stateless_seed",  # rules are made of them
}  # fmt: skip
# Arguments that may be anything, or whose own words say more than a rule could: checked where they are used.
FREE = {
    "address", "categorical", "data", "distribution", "dtype", "export", "factor_names", "kwargs", "names",
    "num_levels", "numbers", "options", "params_size", "pattern", "pieces", "sizes", "source", "step", "test",
    "to_support", "validation", "validation_size", "vaes",
}  # fmt: skip


@pytest.fixture(scope="module")
def bad():
    """The modules that make and count bad calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("bad_inputs"), importlib.import_module("bad_calls")


def test_every_argument_of_every_public_function_has_a_rule(bad):
    public = {name: value for name, value in bad[0].public().items() if name.split(".")[1] not in RESULTS}
    assert len(public) > 80
    free = []
    for name, value in public.items():
        function = value.__init__ if isinstance(value, type) else value
        assert hasattr(function, "__wrapped__"), f"{name} is not checked"
        found = rules.rules_of(function)
        free += [f"{name}({argument})" for argument, test in found.items() if test is None and argument != "self"]
    assert [one for one in free if one.split("(")[1].rstrip(")") not in FREE] == []


PARTS = ("posteriors", "priors", "likelihoods", "networks", "objectives", "hierarchical", "linear")


@pytest.mark.parametrize("part", [*PARTS, "answers"])
def test_bad_input_is_refused_by_name(bad, part):
    inputs, calls = bad
    found = collections.Counter()
    bad_ones = [call for call in inputs.PARTS[part]() if call[1] != "the good call"]
    for what, argument, label, call in bad_ones[::29]:
        outcome, error = calls.outcome_of(call, argument)
        assert outcome in ("refused by name", "accepted"), f"{what}({argument}={label}): {outcome}: {error}"
        found[outcome] += 1
    assert found["refused by name"] > 3 * found["accepted"]


@checked
def picture(x: np.ndarray, *, num: int = 2, seed: int | None = None, kind: Literal["a", "b"] = "a", even: bool = True):
    return num


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": "abc"}, "x must be an array of numbers, got 'abc'"),
        ({"num": 0}, "num must be an integer of at least 1, got 0"),
        ({"num": True}, "num must be an integer of at least 1, got True"),
        ({"num": 2**40}, "num must be at most 1000, got 1099511627776"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"kind": "c"}, "kind must be one of a, b, got 'c'"),
        ({"even": "no"}, "even must be True or False, got 'no'"),
    ],
)
def test_a_rule_is_a_names_or_an_annotations(monkeypatch, arguments, message):
    monkeypatch.setattr(picture.__wrapped__, "__module__", "tfvae.own")
    rules.rules_of.cache_clear()
    assert picture(np.zeros(2)) == 2
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        picture(**{"x": np.zeros(2), **arguments})


def test_a_checked_function_keeps_its_signature_and_what_a_graph_computes_is_not_tested():
    def weighted(weight: Annotated[float, lambda name, value: float(value)]):
        return weight

    assert inspect.signature(checked(weighted)) == inspect.signature(weighted)
    assert checked(weighted).__doc__ == weighted.__doc__
    assert tf.function(checked(weighted))(tf.constant(2.0)) == 2


def test_what_users_did_wrong_is_said_in_their_words():
    with pytest.raises(TypeError, match="exact_kl must be True or False, got 'no'"):
        objectives.beta_elbo(1.0, exact_kl="no")
    with pytest.raises(TypeError, match="hidden_sizes must be a tuple of integers of at least 1, got 5"):
        networks.mlp((2,), 5)
    with pytest.raises(ValueError, match="latent_size must be below 2\\^31, got 1099511627776"):
        posteriors.full_normal(networks.mlp((2,), [4]), 2**40)
    decoder = tfvae.likelihoods.bernoulli(networks.mlp((2,), [4]), (4, 4, 1))
    with pytest.raises(TypeError, match=r"encoder must give a tfd\.Distribution, got an array of float32"):
        tfvae.VAE(networks.mlp((4, 4, 1), [2]), decoder, tfvae.priors.standard_normal(2))


def test_objects_of_keras_3_are_refused_by_name():
    keras = pytest.importorskip("keras")
    own = type("Own", (keras.Model,), {"__module__": "my_models", "call": lambda self, x: x})
    decoder, prior = tfvae.likelihoods.bernoulli(networks.mlp((2,), [4]), (4, 4, 1)), tfvae.priors.standard_normal(2)
    encoder = posteriors.diagonal_normal(networks.mlp((4, 4, 1), [4]), 2)
    rule = r"must be callable, and no model of Keras 3 \(tf_keras, not keras\), got <"
    for network in (keras.Sequential(), own()):
        for argument, call in {
            "network": lambda network: posteriors.diagonal_normal(network, 2),
            "encoder": lambda network: tfvae.VAE(network, decoder, prior),
            "decoder": lambda network: tfvae.VAE(encoder, network, prior),
        }.items():
            with pytest.raises(TypeError, match=f"{argument} {rule}"):
                call(network)
    vae, x = tfvae.VAE(encoder, decoder, prior), np.zeros([2, 4, 4, 1])
    with pytest.raises(TypeError, match=r"optimizer must be a name, or of tf_keras.optim.* Keras 3\), got <keras"):
        vae.compile(keras.optimizers.Adam())
    vae.compile("adam")
    for call in (vae.fit, vae.evaluate, vae.predict):
        with pytest.raises(TypeError, match=r"callbacks must be a list of tf_keras\.callbacks\.Callback, got <keras"):
            call(x, verbose=0, callbacks=[keras.callbacks.LambdaCallback()])


@pytest.mark.parametrize("x", [np.full([2, 4, 4, 1], np.nan), np.full([2, 4, 4, 1], 255.0), np.zeros([2, 4, 4])])
def test_pictures_that_would_be_blank_are_refused(x):
    with pytest.raises(ValueError, match="x must be images"):
        plots.images(x)
