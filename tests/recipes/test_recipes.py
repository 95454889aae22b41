import json

import numpy as np
import pytest
import tf_keras as tfk
from conftest import ROOT, small_recipe

import tfvae
from tfvae import data, objectives, recipes
from tfvae.recipes import Recipe
from tfvae.support.pieces import of_kind

LAYERED = {"posterior": "bottom_up", "prior": "hierarchical", "latent_sizes": (3, 2)}


def test_latent_size_is_the_sum_of_the_layers(digits):
    recipe = small_recipe(**LAYERED).complete(digits)
    assert recipe.latent_size == 5
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    vae = recipes.build(recipe)
    assert (vae.latent_size, vae.decoder.network.layers[-1].input_shape) == (5, (None, 3))


@pytest.mark.parametrize(
    "pieces", [{"posterior": "iaf", "prior": "vamp"}, {"posterior": "coupling", "prior": "flow"}, LAYERED]
)
def test_fields_of_posterior_and_prior_reach_them(digits, pieces):
    def sizes(**fields):
        return [tuple(v.shape) for v in recipes.build(small_recipe(**pieces, **fields).complete(digits)).weights]

    plain = sizes()
    changes = {
        "iaf": ("flow_steps", "flow_hidden_sizes", "num_pseudo_inputs"),
        "coupling": ("flow_steps", "flow_hidden_sizes"),
    }
    values = {"flow_steps": 1, "flow_hidden_sizes": (7,), "num_pseudo_inputs": 3, "layer_hidden_sizes": (9,)}
    for name in changes.get(pieces["posterior"], ("layer_hidden_sizes",)):
        assert sizes(**{name: values[name]}) != plain, name


def test_a_recipe_survives_json(digits):
    recipe = small_recipe(prior="normal_mixture", num_samples=3).complete(digits)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_default_data_bring_defaults_and_a_choice_wins():
    recipe = Recipe(latent_size=3)
    assert (recipe.data, recipe.binarize, recipe.hidden_sizes) == ("mnist10k", "stochastic", (200, 200))
    assert (recipe.latent_size, recipe.mean_bias) == (3, True)
    assert Recipe(binarize=None).binarize is None
    assert not Recipe(likelihood="logistic_mixture").mean_bias  # which has no such bias
    other = Recipe(data="digits")
    assert (other.binarize, other.hidden_sizes, other.latent_size) == (None, (256, 256), 8)


def test_all_epochs_may_be_averaged():
    assert Recipe(epochs=3, averaged_epochs=3).averaged_epochs == 3


def test_equal_recipes_give_equal_weights_and_another_seed_does_not(digits):
    first, again, other = (
        recipes.build(small_recipe(prior="normal_mixture", seed=seed).complete(digits)).get_weights()
        for seed in (4, 4, 5)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("options", "likelihood", "total_count"),
    [({}, "binomial", 16), ({"binarize": "static"}, "bernoulli", None)],
)
def test_the_likelihood_follows_the_data(options, likelihood, total_count):
    recipe = Recipe(**options).complete(data.load("digits", **options))
    assert (recipe.likelihood, recipe.total_count, recipe.event_shape) == (likelihood, total_count, (8, 8, 1))


def test_continuous_grey_levels_are_normal():
    x = np.random.default_rng(0).random((80, 4, 4))
    images = data.from_arrays(x, x)
    assert Recipe(batch_size=8).complete(images).likelihood == "normal"
    with pytest.raises(ValueError, match="likelihood must fit continuous grey levels, got binomial"):
        Recipe(likelihood="binomial", batch_size=8).complete(images)


def test_the_cosine_ends_at_a_hundredth_of_the_rate(digits):
    recipe = small_recipe(schedule="cosine", learning_rate=0.5, epochs=3, batch_size=1000).complete(digits)
    vae = recipes.build(recipe)
    recipes.compile(vae, recipe, 1293)
    schedule = tfk.optimizers.schedules.deserialize(vae.optimizer.get_config()["learning_rate"])
    np.testing.assert_allclose([schedule(0), schedule(3), schedule(6)], [0.5, 0.2525, 0.005], rtol=1e-6)


def test_every_field_reaches_the_objective(digits):
    recipe = small_recipe(objective="beta_elbo", beta=4.0, warmup_steps=10, free_bits=0.1, num_samples=2)
    vae = recipes.build(recipe.complete(digits))
    x = digits.x_test[:8]
    made = recipes.objective_of(recipe)(vae, x, seed=0, step=5)
    expected = objectives.beta_elbo(4.0, warmup_steps=10, free_bits=0.1, num_samples=2)(vae, x, seed=0, step=5)
    np.testing.assert_array_equal(made.objective, expected.objective)
    for other in ({"beta": 3.0}, {"warmup_steps": 20}, {"free_bits": 9.0}, {"num_samples": 3}):
        changed = recipes.objective_of(recipe.replace(**other))(vae, x, seed=0, step=5)
        assert not np.allclose(changed.objective, made.objective)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"objective": "capacity_elbo", "gamma": 3.0, "capacity": 2.0, "warmup_steps": 10},
            lambda: objectives.capacity_elbo(3.0, 2.0, annealing_steps=10),
        ),
        (
            {"objective": "iwae", "num_samples": 9, "warmup_steps": 10},
            lambda: objectives.iwae(9, warmup_steps=10),
        ),
        (
            {"objective": "dreg_iwae", "num_samples": 9, "warmup_steps": 10},
            lambda: objectives.dreg_iwae(9, warmup_steps=10),
        ),
        ({"objective": "tc_elbo", "beta": 6.0}, lambda: objectives.tc_elbo(1293, 6.0)),
        (
            {"objective": "factor_elbo", "gamma": 3.0, "discriminator_sizes": [5, 4], "seed": 7},
            lambda: objectives.factor_elbo(3.0, 2, hidden_sizes=(5, 4), seed=7),
        ),
        (
            {"objective": "dip_elbo", "dip_variant": 1, "dip_off_diagonal": 2.0, "dip_diagonal": 3.0},
            lambda: objectives.dip_elbo(2.0, 3.0, variant=1),
        ),
    ],
    ids=lambda value: value["objective"] if isinstance(value, dict) else "",
)
def test_objectives_are_made_of_their_fields(digits, fields, expected):
    recipe = small_recipe(**fields)
    vae, x = recipes.build(recipe.complete(digits)), digits.x_test[:8]
    made = recipes.objective_of(recipe, num_images=1293)(vae, x, seed=0, step=5)
    np.testing.assert_array_equal(made.objective, expected()(vae, x, seed=0, step=5).objective)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_iwae_takes_the_samples(digits):
    vae, x = recipes.build(small_recipe().complete(digits)), digits.x_test[:8]
    made = recipes.objective_of(small_recipe(objective="iwae", num_samples=7))(vae, x, seed=0, step=0)
    np.testing.assert_array_equal(made.objective, objectives.iwae(7)(vae, x, seed=0).objective)


@pytest.mark.parametrize("name", ["stl_elbo", "dreg_iwae", "wake_phase", "score_function_elbo"])
def test_objectives_with_another_gradient_take_the_samples(digits, name):
    vae, x = recipes.build(small_recipe().complete(digits)), digits.x_test[:8]
    made = recipes.objective_of(small_recipe(objective=name, num_samples=4))(vae, x, seed=0, step=0)
    np.testing.assert_array_equal(made.objective, getattr(objectives, name)(4)(vae, x, seed=0).objective)


def test_every_field_reaches_the_logistics(digits):
    recipe = small_recipe(likelihood="logistic_mixture", likelihood_components=3).complete(digits)
    mixture = recipes.build(recipe).decode(np.zeros([1, 2], np.float32)).distribution
    assert recipe.total_count == mixture.components_distribution.distribution.total_count == 16
    assert mixture.mixture_distribution.logits.shape[-1] == 3


def test_the_full_size_configuration_has_the_encoder_of_the_large_study():
    path = ROOT / "benchmarks" / "recipes" / "sprites_full.json"
    recipe = Recipe.from_dict(json.loads(path.read_text()))
    vae = recipes.build(recipe.replace(event_shape=(64, 64, 1), likelihood="bernoulli"))
    shapes = [(4, 4, 1, 32), (4, 4, 32, 32), (4, 4, 32, 64), (4, 4, 64, 64), (1024, 256), (256, 20)]
    assert [tuple(w.shape) for w in vae.encoder.weights[::2]] == shapes
    assert 0.99 < recipe.epochs * -(-735_280 // recipe.batch_size) / 300_000 < 1


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["binomial", "normal", "laplace"])
def test_the_mean_bias_makes_the_decoder_start_at_the_mean_image(digits, likelihood, network):
    vae = recipes.build(small_recipe(likelihood=likelihood, network=network, mean_bias=True).complete(digits))
    recipes.start_at_mean(vae, digits)
    kernel, bias = vae.decoder.params.weights
    kernel.assign(np.zeros(kernel.shape))
    mean = np.clip(digits.x_train.mean(axis=0, dtype=np.float64), *((0, 1) if network == "conv" else (0.001, 0.999)))
    decoded = vae.decode(np.zeros([1, 2], np.float32)).mean()[0]
    np.testing.assert_allclose(decoded, mean.mean() if network == "conv" else mean, rtol=0, atol=1e-6)
    assert bias.shape == [1 if network == "conv" else 64]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"dense_sizes": [0]}, "dense_sizes must hold sizes of at least 1"),
        ({"likelihood_components": 0}, "likelihood_components must be at least 1, got 0"),
        ({"objective": "score_function_elbo"}, "num_samples must be at least 2 for score_function_elbo, got 1"),
        ({"objective": "wake_phase"}, "num_samples must be at least 2 for wake_phase, got 1"),
        (
            {"likelihood": "normal_optimal", "mean_bias": True},
            "likelihood under mean_bias must be one of bernoulli, binomial, normal, laplace, got 'normal_optimal'",
        ),
        (
            {"objective": "iwae", "num_samples": 5, "warmup_steps": 10, "jit": True},
            "jit must not be true while samples grow, warmup_steps = 10, got true",
        ),
        ({"latent_size": 0}, "latent_size must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be of type int, got 1.5"),
        ({"epochs": True}, "epochs must be of type int, got True"),
        ({"batch_size": -3}, "batch_size must be at least 1, got -3"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"objective": "beta_elbo", "beta": -1.0}, "beta must be at least 0, got -1.0"),
        ({"objective": "beta_elbo", "beta": float("nan")}, "beta must be finite, got nan"),
        ({"beta": 4.0}, "beta must be 1.0 unless objective is beta_elbo or tc_elbo, got 4.0"),
        ({"objective": "tc_elbo", "free_bits": 0.5}, "free_bits must be 0.0 unless objective is beta_elbo, got 0.5"),
        ({"gamma": 3.0}, "gamma must be 10.0 unless objective is capacity_elbo or factor_elbo, got 3.0"),
        ({"flow_steps": 7}, "flow_steps must be 4 unless posterior is iaf or coupling or prior is flow, got 7"),
        (
            {"network": "conv", "hidden_sizes": (9,)},
            r"hidden_sizes must be \(200, 200\) unless network is mlp, got \(9,\)",
        ),
        (
            {"layer_hidden_sizes": (9,)},
            r"unless posterior is bottom_up or top_down or prior is hierarchical, got \(9,\)",
        ),
        ({"image_size": 32}, "image_size must be None unless data is sprites or folder:PATH, got 32"),
        (
            {"likelihood": "bernoulli", "scale": 0.5},
            "scale must be None unless likelihood is normal or laplace, got 0.5",
        ),
        ({"objective": "capacity_elbo", "capacity": -1.0}, "capacity must be at least 0, got -1.0"),
        ({"objective": "dip_elbo", "dip_variant": 3}, "dip_variant must be 1 or 2, got 3"),
        ({"objective": "factor_elbo", "discriminator_sizes": [0]}, "discriminator_sizes must hold sizes of at least 1"),
        ({"data": ["digits"]}, r"data must be of type str, got \['digits'\]"),
        ({"averaged_epochs": 151}, "averaged_epochs must be at most epochs, 60, got 151"),
        ({"averaged_epochs": -1}, "averaged_epochs must be at least 0, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"learning_rate": float("inf")}, "learning_rate must be finite, got inf"),
        ({"scale": -1}, "scale must be above 0, got -1.0"),
        ({"hidden_sizes": [16, 0]}, "hidden_sizes must hold sizes of at least 1"),
        ({"hidden_sizes": "16"}, "hidden_sizes must be a list of integers, got '16'"),
        ({"seed": -1}, r"seed must be in \[0, 2\^31\), got -1"),
        ({"posterior": "diagonal"}, r"posterior must be one of .*got 'diagonal' \(did you mean diagonal_normal"),
        ({"prior": "vmp"}, r"prior must be one of .*got 'vmp' \(did you mean vamp"),
        ({"prior": "hierarchical"}, "posterior must be bottom_up or top_down with prior hierarchical, got diagonal"),
        ({"posterior": "top_down"}, "prior must be hierarchical with posterior top_down, got standard_normal"),
        ({**LAYERED, "latent_sizes": None}, "latent_sizes must hold at least two sizes of at least 1, got None"),
        ({"latent_sizes": (3, 2)}, r"latent_sizes must be None with posterior diagonal_normal, got \(3, 2\)"),
        ({**LAYERED, "latent_sizes": (3,)}, r"latent_sizes must hold at least two sizes of at least 1, got \(3,\)"),
        ({**LAYERED, "latent_size": 4}, "latent_size must be the sum of latent_sizes, 5, got 4"),
        ({"epochs": 2**31}, r"epochs must be below 2\^31, got 2147483648"),
        ({"filters": (8, 2**31)}, r"filters must be below 2\^31, got \(8, 2147483648\)"),
        ({"filters": ()}, r"filters must hold at least one size, got \(\)"),
        ({"posterior": "iaf", "latent_size": 1}, "latent_size must be at least 2 for iaf, got 1"),
        ({"prior": "flow", "latent_size": 1}, "latent_size must be at least 2 for flow, got 1"),
        ({"flow_steps": 0}, "flow_steps must be at least 1, got 0"),
        ({"flow_hidden_sizes": ()}, "flow_hidden_sizes must hold at least one size"),
        ({"layer_hidden_sizes": (0,)}, "layer_hidden_sizes must hold sizes of at least 1"),
        ({"flow_steps": 1_000_000}, "flow_steps must be at most 100, got 1000000"),
        ({"num_pseudo_inputs": 10**9}, "num_pseudo_inputs must be at most 100000, got 1000000000"),
        ({"num_components": 10**9}, "num_components must be at most 100000, got 1000000000"),
        ({"num_pseudo_inputs": 0}, "num_pseudo_inputs must be at least 1, got 0"),
        ({"likelihood": np.zeros([2, 3])}, r"likelihood must be of type str, got array"),
        ({"likelihood": "binomal"}, r"likelihood must be one of .*\(did you mean binomial"),
        ({"objective": "elbow"}, r"objective must be one of .*\(did you mean elbo"),
        ({"network": "resnet"}, "network must be one of mlp, conv, got 'resnet'"),
        ({"activation": "tanhh"}, "activation must be one of Keras' activations, got 'tanhh'"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**fields)


@pytest.mark.parametrize("posterior", ["diagonal_normal", "full_normal", "iaf", "coupling", "bottom_up", "top_down"])
def test_recipes_refuse_exactly_the_objectives_that_their_posterior_cannot_train(digits, posterior):
    layers = {**LAYERED, "posterior": posterior} if posterior in ("bottom_up", "top_down") else {"posterior": posterior}
    fields = {"batch_size": 8, "num_samples": 2, "hidden_sizes": (4,)}
    vae = recipes.build(small_recipe(**fields, **layers).complete(digits))
    for objective in of_kind("objective"):
        found = recipes.objective_of(small_recipe(**fields, latent_size=vae.latent_size, objective=objective), 8)
        try:
            small_recipe(**fields, **layers, objective=objective)
        except ValueError as refused:
            assert f"posterior must be diagonal_normal or full_normal with objective {objective}" in str(refused)
            with pytest.raises(ValueError, match="must be a multivariate normal"):
                found(vae, digits.x_test[:8], seed=0, step=0)
        else:
            assert np.all(np.isfinite(found(vae, digits.x_test[:8], seed=0, step=0).objective))


def test_unknown_fields_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"recipe field must be one of .*got 'latent_dim' \(did you mean latent_size"):
        Recipe.from_dict({"latent_dim": 3})
    with pytest.raises(ValueError, match="recipe must be a mapping of fields to values, got list"):
        Recipe.from_dict([1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"likelihood": "bernoulli"}, "likelihood must fit the data's grey levels, got bernoulli for digits"),
        ({"scale": 0.5}, "scale must be None unless likelihood is normal or laplace, got 0.5"),
        ({"batch_size": 1294}, "batch_size must be at most the number of training images, 1293, got 1294"),
    ],
)
def test_a_recipe_must_fit_its_data(digits, fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**fields).complete(digits)


def test_an_incomplete_recipe_is_not_built():
    with pytest.raises(ValueError, match="recipe must know event_shape and likelihood"):
        recipes.build(Recipe())


def test_options_of_pieces_that_are_chosen_no_more_fall_to_their_defaults():
    flow = Recipe(posterior="iaf", flow_steps=7, hidden_sizes=(9,))
    assert flow.replace(posterior="full_normal") == Recipe(posterior="full_normal", hidden_sizes=(9,))
    assert flow.replace(prior="flow", posterior="full_normal").flow_steps == 7  # which uses it too
    assert flow.replace(network="conv").hidden_sizes == Recipe().hidden_sizes
    with pytest.raises(ValueError, match="flow_steps must be 4 unless"):
        flow.replace(posterior="full_normal", flow_steps=6)


def test_the_least_time_counts_the_products_of_all_layers(digits):
    """64-16-4 and 2-16-64: three products a layer, two for the first."""
    small = recipes.build(Recipe(hidden_sizes=(16,), latent_size=2).complete(digits))
    wide = recipes.build(Recipe(hidden_sizes=(1600,), latent_size=2).complete(digits))
    found = [min(recipes.least_seconds(vae, 10**6) for _ in range(3)) for vae in (small, wide)]
    weights = [64 * w + w * 4 + 2 * w + w * 64 for w in (16, 1600)]
    operations = [6 * of - 2 * 64 * w for of, w in zip(weights, (16, 1600), strict=True)]
    assert 0.2 < found[1] / found[0] / (operations[1] / operations[0]) < 5  # both are timed anew
    heads = recipes.build(Recipe(hidden_sizes=(), latent_size=2).complete(digits))
    assert recipes.least_seconds(heads, 10**6) > 0  # the last layers count, which are in no Keras model
    with pytest.raises(ValueError, match=r"vae must be one of recipes\.build, got one without a recipe"):
        recipes.least_seconds(tfvae.VAE(small.encoder, small.decoder, small.prior), 1)
