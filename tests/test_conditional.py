"""Models given labels: the theorems of `VAE` hold for p(x|y), and labels stay with their images all the way."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from click.testing import CliRunner
from conftest import StopAt, small_recipe, small_vae
from served import RestDouble, Served
from sklearn.linear_model import LogisticRegression
from test_combinations import KINDS, fields

import tfvae
from tfvae import (
    cli,
    data,
    diagnostics,
    likelihoods,
    networks,
    objectives,
    plots,
    posteriors,
    priors,
    recipes,
    runs,
    serving,
)
from tfvae.seeds import fold_in
from tfvae.serving.contract import check
from tfvae.support import files, pieces
from tfvae.train.loop import Loop

tfd = tfp.distributions


BUDGET = {"hidden_sizes": (64,), "latent_size": 4, "epochs": 40, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def trained(digits):
    vae = small_vae(digits, **BUDGET, conditional=True)
    vae.fit(digits.train(64, labels=True), epochs=40, verbose=0)
    return vae


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """What its numbers are, test_loaders.py tells."""
    return serving.export(trained, tmp_path_factory.mktemp("models"), num_samples=5)


@pytest.fixture(scope="module")
def served(exported):
    return Served(exported)


# What the labels do.


@pytest.mark.parametrize("name", pieces.of_kind("objective"))
def test_without_weights_for_the_label_it_is_the_unconditional_model(digits, name):
    own = {"discriminator_sizes": (8,)} if name == "factor_elbo" else {}
    options = {"objective": name, "num_samples": 2, **own}
    plain, conditional = small_vae(digits, **options), small_vae(digits, conditional=True, **options)
    for variable, value in zip(conditional.trainable_variables, plain.trainable_variables, strict=True):
        of_label = np.zeros([variable.shape[0] - value.shape[0], *value.shape[1:]])
        variable.assign(np.concatenate([of_label, value]))
    x, y = digits.x_test[:20], digits.y_test[:20]
    expected = plain.objective(plain, x, seed=3, step=5)
    for terms in zip(conditional.objective(conditional.given(y), x, seed=3, step=5), expected, strict=True):
        np.testing.assert_allclose(*terms, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(conditional.generate(y, seed=1), plain.generate(20, seed=1), rtol=1e-5, atol=1e-6)


def patterns(num_classes=4):
    """Images that their label tells."""
    of_class = np.random.default_rng(0).integers(0, 2, (num_classes, 4, 4)).astype(np.float32)
    y = np.tile(np.arange(num_classes), 256)
    return data.from_arrays(of_class[y], of_class[y[:40]], y, y[:40], validation_size=0, binarize="static")


def test_where_the_label_tells_all_the_latents_tell_nothing():
    """And log p(x|y) = 0 comes in reach, where no model of p(x) has more than -log 4 nats."""
    images = patterns()
    vae = small_vae(images, conditional=True, learning_rate=2e-2, schedule="constant")
    vae.fit(images.train(32, labels=True), epochs=15, verbose=0)
    seen = vae.evaluate(images.test(40, labels=True), return_dict=True, verbose=0)
    assert -0.1 < seen["elbo"] < 0 and seen["kl"] < 0.01
    expected = images.x_test[:4][np.argsort(images.y_test[:4])]
    np.testing.assert_allclose(vae.generate(range(4)), expected, atol=0.05)


def test_images_of_a_class_look_like_that_class(trained, digits):
    judge = LogisticRegression(max_iter=2000).fit(digits.x_train.reshape(-1, 64), digits.y_train)
    assert judge.score(digits.x_test.reshape(-1, 64), digits.y_test) > 0.95
    labels = np.repeat(np.arange(10), 50)
    assert judge.score(np.reshape(trained.generate(labels, seed=2), [-1, 64]), labels) > 0.9


def test_labels_are_worth_nats_at_an_equal_budget(trained, digits):
    plain = small_vae(digits, **BUDGET)
    plain.fit(digits.train(64), epochs=40, verbose=0)
    measured = [diagnostics.measure(vae, digits.x_test, 20) for vae in (plain, trained.given(digits.y_test))]
    assert measured[1].elbo.mean() > measured[0].elbo.mean() + 1


# The model that labels make is a VAE to objectives and measures.


def test_the_loss_is_minus_the_objective_given_the_labels(digits):
    vae, x, y = small_vae(digits, conditional=True), digits.x_test[:50], digits.y_test[:50]
    seen = vae.evaluate(x, y, batch_size=50, return_dict=True, verbose=0)
    terms = objectives.elbo(vae.given(y), x, seed=fold_in(0, 1, 0))
    np.testing.assert_allclose(seen["loss"], -np.mean(terms.objective), rtol=1e-6)
    np.testing.assert_allclose(seen["kl"], np.mean(terms.kl), rtol=1e-6)
    assert vae.evaluate(digits.test(50, labels=True).take(1), return_dict=True, verbose=0) == seen
    other = objectives.elbo(vae.given((y + 1) % 10), x, seed=fold_in(0, 1, 0))
    assert not np.allclose(other.objective, terms.objective, rtol=1e-3)


class Shifted:
    """The linear model moved by its label: x = W z + b + shift_y + noise, whose posterior is known for each label."""

    def __init__(self, model):
        self.model = model
        self.shifts = np.random.default_rng(1).normal(size=(3, 5))

    def encoder(self, v):
        return self.model.posterior(v[..., 3:] - v[..., :3] @ self.shifts)

    def decoder(self, v):
        px_z = self.model.likelihood(v[..., 3:])
        loc = px_z.mean() + tf.linalg.matmul(v[..., :3], self.shifts)
        return tfd.Independent(tfd.Normal(loc, px_z.stddev()), 1)

    def evidence(self, x, y):
        return self.model.evidence.log_prob(x - self.shifts[y])


@pytest.mark.parametrize("chunk", [2_000_000, 5 * 20 * 2])
def test_with_the_exact_posterior_the_evidence_given_the_label_is_exact(linear_model, linear_x, chunk, monkeypatch):
    """All images at once, or two at a time: each with its own label."""
    monkeypatch.setattr("tfvae.diagnostics.blocks.CHUNK", chunk)
    shifted, y = Shifted(linear_model), np.array([0, 2, 1, 1, 0, 2, 2])
    vae = tfvae.ConditionalVAE(shifted.encoder, shifted.decoder, linear_model.prior, 3)
    expected = shifted.evidence(linear_x, y)
    measured = diagnostics.measure(vae.given(y), linear_x, 20)
    np.testing.assert_allclose(measured.log_evidence, expected, rtol=0, atol=1e-9)
    assert np.all(np.abs(measured.elbo - expected) < 5 * measured.elbo_standard_error)
    assert not np.allclose(shifted.evidence(linear_x, y[::-1]), expected, atol=0.1)


def test_the_gap_and_annealing_take_each_image_with_its_label(linear_model, linear_x, monkeypatch):
    monkeypatch.setattr("tfvae.diagnostics.blocks.CHUNK", 5 * 16 * 3)
    shifted, y = Shifted(linear_model), np.array([0, 2, 1, 1, 0, 2])
    vae = tfvae.ConditionalVAE(shifted.encoder, shifted.decoder, linear_model.prior, 3).given(y)
    x = linear_x[:6]
    expected = shifted.evidence(x, y)
    annealed = diagnostics.annealed_log_evidence(vae, x, 16, 3, num_leapfrogs=1, from_posterior=True)
    np.testing.assert_allclose(annealed.value, expected, atol=1e-6)
    gap = diagnostics.inference_gap(vae, x, 20, num_steps=5, learning_rate=1e-9)
    np.testing.assert_allclose(gap.best_elbo, expected, atol=1e-6)


def test_one_label_for_all_is_as_that_label_for_each(trained, digits):
    x = digits.x_test[:30]
    one, each = trained.given(7), trained.given(np.full(30, 7))
    np.testing.assert_array_equal(one.encode(x).mean(), each.encode(x).mean())
    z = one.encode(x).sample(5, seed=[0, 1])
    np.testing.assert_allclose(one.decode(z).log_prob(x), each.decode(z).log_prob(x), rtol=1e-6)
    np.testing.assert_array_equal(one.generate(30), trained.generate(np.full(30, 7)))
    np.testing.assert_array_equal(diagnostics.active_units(one, x), diagnostics.active_units(each, x))


def test_the_three_nouns_take_labels(trained, digits):
    x, y = digits.x_test[:6], digits.y_test[:6]
    z = trained.encode(x, y).sample(seed=tfvae.seeds.stateless_seed(1))
    np.testing.assert_allclose(trained((x, y), seed=1).mean(), trained.decode(z, y).mean(), rtol=1e-5, atol=1e-6)
    expected = trained.decode(trained.encode(x, y).mean(), y).mean()
    np.testing.assert_array_equal(trained.reconstruct(x, y), expected)
    np.testing.assert_allclose(trained.predict(x, y, verbose=0), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        trained.predict(digits.test(6, labels=True).take(1), verbose=0), expected, rtol=1e-5, atol=1e-6
    )


def test_a_body_of_images_sees_the_label_as_channels():
    body = networks.labelled(tfk.Sequential([tfk.layers.InputLayer((2, 3, 4)), tfk.layers.Flatten()]), (2, 3, 1))
    y, x = np.array([[0.0, 0, 1]], np.float32), np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    seen = np.reshape(body(np.concatenate([y, x.reshape(1, 6)], axis=1)), [2, 3, 4])
    np.testing.assert_array_equal(seen[..., 3:], x[0])
    np.testing.assert_array_equal(seen[..., :3], np.tile(y, [2, 3, 1]))


COMBINATIONS = [*(("binomial", *kind, "mlp") for kind in KINDS), ("normal_optimal", "full_normal", "vamp", "conv")]


@pytest.mark.parametrize("row", COMBINATIONS, ids=str)
def test_every_kind_of_latents_takes_labels(row, digits, tmp_path):
    likelihood, *others = row
    vae = small_vae(digits, conditional=True, **fields((likelihood, None), *others))
    vae.run_eagerly = True
    x, y = digits.x_train[:32], digits.y_train[:32]
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(vae.objective(vae.given(y), x, seed=0, step=0).objective)
    for variable, gradient in zip(vae.trainable_variables, tape.gradient(loss, vae.trainable_variables), strict=True):
        assert gradient is not None and np.all(np.isfinite(gradient)) and np.any(gradient != 0), variable.name
    before = float(loss)
    vae.fit(x, y, batch_size=32, epochs=3, verbose=0)
    assert vae.evaluate(x, y, batch_size=32, verbose=0)[0] < before
    tfvae.save(vae, tmp_path / "model")
    loaded = tfvae.load(tmp_path / "model")
    np.testing.assert_array_equal(vae.reconstruct(x, y), loaded.reconstruct(x, y))
    np.testing.assert_array_equal(vae.generate(y), loaded.generate(y))


# Labels reach the training with their images.


def marked(binarize=None):
    """Images that are bright by their label: the 50 of label k have k lit pixels."""
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 10))
    x = (np.arange(9) < y[:, np.newaxis]).reshape(-1, 3, 3).astype(np.float32)
    return data.from_arrays(x, x, y, y, validation_size=10, binarize=binarize)


@pytest.mark.parametrize("binarize", [None, "static", "stochastic"])
def test_shuffling_keeps_an_image_and_its_label_together(binarize):
    images = marked(binarize)
    batches, orders = images.train(16, labels=True), []
    for _ in range(2):
        x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
        np.testing.assert_array_equal(x.sum(axis=(1, 2, 3)), y)
        orders.append(y)
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(images.y_train)
    assert not np.array_equal(*orders)
    for alone, (x, _) in zip(images.train(16), images.train(16, labels=True), strict=True):
        np.testing.assert_array_equal(alone, x)
    for held_out in (images.validation(4, labels=True), images.test(20, labels=True)):
        for x, y in held_out:
            np.testing.assert_array_equal(np.sum(x, axis=(1, 2, 3)), y)


def test_the_compiled_loop_gives_a_step_the_same_pairs():
    images, seen = marked(), []
    batches = images.train(16, labels=True)
    loop = Loop(seen.append, batches.in_memory, 16, eagerly=True)
    loop.start(0)
    loop.run(6)
    for looped, piped in zip(seen, [*batches, *batches], strict=True):
        for first, other in zip(looped, piped, strict=True):
            np.testing.assert_array_equal(first, other)


# Runs and exports.


def test_a_run_that_was_resumed_is_what_keras_own_loop_trains(tmp_path, monkeypatch, digits):
    """Images and labels from memory in the compiled step, interrupted; and the same batches through a pipeline."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        recipe = small_recipe(conditional=True, batch_size=256)
        runs.start(recipe, "run", num_samples=2, verbose=False, callbacks=[StopAt(1, 2)])
    done = CliRunner().invoke(cli.main, ["resume", "run", "--evaluation-samples", "2"])
    assert done.exit_code == 0 and "SavedModel: saved_models/digits/1" in done.output, done.output
    assert "360 test images of digits, given their labels" in done.output and pathlib.Path("run/samples.png").exists()
    vae = small_vae(digits, conditional=True, batch_size=256)
    pipeline = digits.train(256, labels=True).map(lambda x, y: (x, y))
    held_out = digits.x_validation, digits.y_validation
    history = vae.fit(pipeline, validation_data=held_out, epochs=2, verbose=0).history
    assert "val_elbo" in history and history["loss"][1] < history["loss"][0]
    for name in ("loss", "elbo", "kl"):
        np.testing.assert_allclose(files.read_json("run/history.json")[name], history[name], rtol=1e-6)
    for first, other in zip(runs.load("run").trainable_variables, vae.trainable_variables, strict=True):
        np.testing.assert_allclose(first, other, rtol=0, atol=1e-6)
    measured = diagnostics.measure(vae.given(digits.y_test), digits.x_test, 2)
    np.testing.assert_allclose(files.read_json("run/evaluation_card.json")["elbo"], measured.elbo.mean(), rtol=1e-5)


def test_samples_are_drawn_one_class_a_row(trained):
    figure = plots.samples(trained, columns=4, seed=1)
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert len(shown) == 40
    np.testing.assert_allclose(shown[4 * 3 + 2], 1 - trained.given(3).generate(4, seed=1)[2, :, :, 0], atol=1e-6)


def test_every_signature_takes_a_label(served):
    signatures = {name: s for name, s in served.signatures.items() if not name.startswith("__")}
    assert len(signatures) == 8
    for signature in signatures.values():
        label = signature.inputs["label"]
        assert (tf.dtypes.as_dtype(label.dtype), label.tensor_shape.dim[0].size) == (tf.int64, -1)


def test_a_row_answers_by_its_own_label(served, digits):
    x, y, seed = digits.x_test[:6], digits.y_test[:6], np.arange(6, dtype=np.int64)
    order = np.array([3, 3, 0, 5])
    for name, inputs in {
        "encode": {"image": x, "label": y},
        "generate": {"seed": seed, "label": y},
        "log_evidence": {"image": x, "seed": seed, "label": y},
    }.items():
        whole, part = served(name, **inputs), served(name, **{k: v[order] for k, v in inputs.items()})
        other = served(name, **{**inputs, "label": (y + 1) % 10})
        for key, value in whole.items():
            np.testing.assert_allclose(part[key], value[order], rtol=1e-5, atol=1e-5)
            assert key == "latent" or not np.allclose(other[key], value, atol=1e-3)


IMAGES, LABELS = np.zeros([3, 8, 8, 1], np.float32), np.arange(3)
MALFORMED = {
    "a class above": ({"label": np.array([0, 10, 1])}, r"label must be in [0, 9], got] [10]"),
    "a class below": ({"label": np.array([0, -1, 1])}, r"label must be in [0, 9], got] [-1]"),
    "too few": ({"label": LABELS[:2]}, "image and label must have the same batch size, got] [3] [2]"),
    "one for all": ({"label": LABELS[:1]}, "image and label must have the same batch size, got] [3] [1]"),
    "in two axes": ({"label": LABELS[:, np.newaxis]}, "label must have shape [batch], got] [3 1]"),
    "floats": ({"label": LABELS.astype(np.float32)}, "label"),
    "a bad image": ({"image": np.full_like(IMAGES, np.nan)}, "image must be finite"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_labels_are_refused_by_name_and_the_next_request_works(served, case):
    changes, message = MALFORMED[case]
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)) as caught:
        served("encode", **{"image": IMAGES, "label": LABELS, **changes})
    assert message in str(caught.value)
    assert served("encode", image=IMAGES, label=LABELS)["loc"].shape == (3, 4)
    assert served("decode", latent=np.zeros([0, 4], np.float32), label=LABELS[:0])["image"].shape == (0, 8, 8, 1)


def test_a_server_of_it_keeps_the_contract(served, exported):
    client = serving.Client(RestDouble(served).address, "digits")
    findings = list(check(client, exported))
    assert [finding for finding in findings if not finding.passed] == []
    assert any(finding.about == "refused: a label that is no class" for finding in findings)
    with pytest.raises(ValueError, match="generate must be given label and seed, got seed"):
        client.predict("generate", seed=[1])


# What is refused.


def pieces(encoder=74, decoder=12):
    return (
        posteriors.diagonal_normal(networks.mlp((encoder,), [4]), 2),
        likelihoods.binomial(networks.mlp((decoder,), [4]), (8, 8, 1), 16),
        priors.standard_normal(2),
    )


BAD = {
    "no labels": (lambda vae, x, y: vae.fit(x), "x must come with labels y for a conditional model, got none"),
    "no labels in memory": (lambda vae, x, y: vae.fit(SMALL.train(8)), "x must come with labels"),
    "no labels in a pipeline": (
        lambda vae, x, y: vae.evaluate(tf.data.Dataset.from_tensors(x)),
        "x must come with labels",
    ),
    "no labels to validate": (
        lambda vae, x, y: vae.fit(x, y, validation_data=x),
        "validation_data must come with labels",
    ),
    "no labels to predict": (lambda vae, x, y: vae.predict(x), "x must come with labels"),
    "a class above": (lambda vae, x, y: vae.fit(x, y + 10), r"the labels of x, must be in \[0, 9\], got 1\d"),
    "a class below": (lambda vae, x, y: vae.given(-1), r"labels must be in \[0, 9\], got -1"),
    "a class above in a pipeline": (
        lambda vae, x, y: vae.fit(tf.data.Dataset.from_tensors((x, y + 10))),
        r"the labels of x, must be in \[0, 9\], got 1\d",
    ),
    "fewer": (lambda vae, x, y: vae.fit(x, y[:5]), "the labels of x, must be 20, one an image, got 5"),
    "fewer in a pipeline": (
        lambda vae, x, y: vae.fit(tf.data.Dataset.from_tensors((x, y[:5]))),
        "the labels of x, must be as many as the images, got 5",
    ),
    "floats": (lambda vae, x, y: vae.fit(x, y.astype(float)), "the labels of x, must be integers, got float64"),
    "words": (lambda vae, x, y: vae.given(["seven"]), "labels must be integers, got"),
    "nothing": (lambda vae, x, y: vae.given(None), "labels must be an array of integers or of words, got None"),
    "one-hot": (lambda vae, x, y: vae.fit(x, np.eye(10, dtype=int)[y]), r"must have shape \[batch\], got \[20, 10\]"),
    "one-hot given": (lambda vae, x, y: vae.given(np.eye(10, dtype=int)), r"labels must have shape \[batch\] or \[\]"),
    "other images": (
        lambda vae, x, y: vae.given(y[:5]).encode(x),
        "x or z must have a row for each of the 5 labels, got 20",
    ),
    "other latents": (
        lambda vae, x, y: vae.given(y[:5]).decode(np.zeros((7, 4, vae.latent_size), np.float32)),
        "x or z must have a row for each of the 5 labels, got 4",
    ),
    "more labels": (
        lambda vae, x, y: diagnostics.measure(vae.given(y), x[:5], 2),
        "x must have a row for each of the 20 labels, got 5",
    ),
    "a short decoder": (
        lambda vae, x, y: tfvae.ConditionalVAE(*pieces(decoder=2), 10),
        "decoder must take the prior's 2 latents and 10 classes, got one that takes 2",
    ),
    "a short encoder": (
        lambda vae, x, y: tfvae.ConditionalVAE(*pieces(encoder=64), 10),
        r"encoder must take 10 classes and 64 pixels in one vector, got one that takes \[64\]",
    ),
    "one class": (
        lambda vae, x, y: tfvae.ConditionalVAE(*pieces(), 1),
        "num_classes must be an integer of at least 2, got 1",
    ),
    "images without labels": (
        lambda vae, x, y: recipes.Recipe(conditional=True, batch_size=8).complete(data.from_arrays(x, x)),
        "conditional must be False for images without labels, got True for arrays",
    ),
    "labels that are not there": (
        lambda vae, x, y: data.from_arrays(x, x).train(8, labels=True),
        "labels of arrays must be there, got None",
    ),
    "labels that are words": (
        lambda vae, x, y: data.from_arrays(x, x, y.astype(str), y.astype(str), validation_size=0).num_classes,
        r"labels of arrays must be integers \[N\], got str",
    ),
    "labels from -1": (
        lambda vae, x, y: data.from_arrays(x, x, -y, -y, validation_size=0).test(8, labels=True),
        "labels of arrays must be at least 0, got -9",
    ),
    "a recipe without classes": (
        lambda vae, x, y: recipes.build(small_recipe(conditional=True)),
        "recipe must know event_shape and likelihood and num_classes, got None",
    ),
    "classes without a use": (
        lambda vae, x, y: small_recipe(num_classes=10),
        "num_classes must be None unless conditional is true, got 10",
    ),
    "labels for a model without": (
        lambda vae, x, y: small_vae(SMALL, batch_size=8).generate(y),
        "n must be an integer of at least 1, got",
    ),
    "channels": (lambda vae, x, y: networks.labelled(networks.conv((8, 8, 1), (4,)), (8, 8, 1)), "network must take"),
}
SMALL = marked()


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(trained, digits, case):
    call, message = BAD[case]
    before = [variable.numpy() for variable in trained.trainable_variables]
    with pytest.raises(ValueError, match=message):
        call(trained, digits.x_test[:20], digits.y_test[:20])
    for old, variable in zip(before, trained.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)
