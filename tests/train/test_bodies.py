"""Layers of a user's own body do in `fit`, `evaluate` and `predict` what they do in a plain Keras model."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

import tfvae
from tfvae import hierarchical, likelihoods, networks, objectives, posteriors, priors, train

layers = tfk.layers
SHAPE = (8, 8, 1)


class Calls(layers.Layer):
    """Counts its calls in training, in a variable of its own."""

    def build(self, shape):
        self.number = self.add_weight("number", (), trainable=False, initializer="zeros")

    def call(self, x, training=None):
        if training:
            self.number.assign_add(1.0)
        return x


class LossInTraining(layers.Layer):
    def call(self, x, training=None):
        if training:
            self.add_loss(tf.reduce_sum(x))
        return x


def body(size, layer):
    size = size if isinstance(size, tuple) else (size,)
    return tfk.Sequential([layers.InputLayer(size), layers.Flatten(), layers.Dense(4), layer])


def plain(layer):
    decoder = likelihoods.binomial(body(2, layers.Activation("tanh")), SHAPE, 16)
    return tfvae.VAE(posteriors.diagonal_normal(body(SHAPE, layer), 2), decoder, priors.standard_normal(2))


def conditional(layer):
    decoder = likelihoods.binomial(networks.mlp((12,), [4]), SHAPE, 16)
    encoder = posteriors.diagonal_normal(body(74, layer), 2)
    return tfvae.ConditionalVAE(encoder, decoder, priors.standard_normal(2), num_classes=10)


def layered(layer):
    prior = hierarchical.prior([body(2, layer)], (3, 2))
    encoder = hierarchical.bottom_up([networks.mlp(SHAPE, [4]), networks.mlp((3,), [4])], (3, 2))
    return tfvae.VAE(encoder, likelihoods.binomial(networks.first(networks.mlp((3,), [4]), 5), SHAPE, 16), prior)


MODELS = {"plain": plain, "conditional": conditional, "hierarchical": layered}
OBJECTIVES = {
    "elbo": objectives.elbo,
    "iwae": objectives.iwae(3),
    "factor": objectives.factor_elbo(4.0, 2, hidden_sizes=(4,)),
}


def compiled(vae, objective=objectives.elbo, **options):
    vae.compile(tfk.optimizers.SGD(1e-3), objective, **options)
    return vae


@pytest.mark.parametrize("model", MODELS)
def test_normalization_learns_its_means_in_training_only(model, digits):
    norm = layers.BatchNormalization()
    vae, y = compiled(MODELS[model](norm)), digits.y_train[:32] if model == "conditional" else None
    assert not np.any(norm.moving_mean)
    vae.fit(digits.x_train[:32], y, verbose=0)
    learned = norm.moving_mean.numpy()
    assert np.all(learned != 0)
    evaluations = [vae.evaluate(digits.x_test[:20], y if y is None else y[:20], verbose=0) for _ in range(2)]
    assert evaluations[0] == evaluations[1]
    np.testing.assert_array_equal(norm.moving_mean, learned)


def test_normalization_is_that_of_a_plain_keras_model(digits):
    """Moving means after a step: momentum 0.99 of the old and 0.01 of the batch's, whose inputs one Dense makes."""
    norm, x = layers.BatchNormalization(), digits.x_train[:32]
    vae = compiled(plain(norm))
    before = tfk.Sequential(vae.encoder.network.layers[:-1])(x)
    vae.fit(x, batch_size=32, verbose=0)
    np.testing.assert_allclose(norm.moving_mean, 0.01 * np.mean(before, axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("way", "objective"), [("loop", "elbo"), ("loop", "iwae"), ("loop", "factor"), ("eager", "elbo"), ("jit", "elbo")]
)
def test_a_layer_knows_that_it_trains_in_every_way_of_training(way, objective, digits):
    layer = Calls()
    options = {"eager": {"run_eagerly": True}, "jit": {"jit_compile": True}}.get(way, {})
    vae = compiled(plain(layer), OBJECTIVES[objective], **options)
    vae.fit(digits.train(500) if way == "loop" else digits.x_train[:96], verbose=0)
    # The discriminator of factor_elbo takes its own samples of z in each step.
    assert layer.number == 3 * (2 if objective == "factor" else 1)
    vae.train_on_batch(digits.x_train[:8])
    vae.evaluate(digits.x_train[:8], verbose=0), vae.predict(digits.x_train[:8], verbose=0)
    assert layer.number == 4 * (2 if objective == "factor" else 1)


def test_dropout_drops_in_training_and_repeats_by_keras_own_seed(digits):
    def run(rate):
        tfk.utils.set_random_seed(1)
        vae = compiled(plain(layers.Dropout(rate)))
        loss = vae.fit(digits.x_train[:64], verbose=0, shuffle=False).history["loss"]
        np.testing.assert_array_equal(vae.reconstruct(digits.x_test[:5]), vae.reconstruct(digits.x_test[:5]))
        return loss

    assert run(0.5) == run(0.5) != run(0.0)


def test_xla_is_not_chosen_where_a_layer_draws_numbers_that_it_would_not_repeat():
    assert not train.xla_pays(compiled(plain(layers.Dropout(0.5))), 64, 10**5)


def test_a_bad_step_leaves_no_trace_in_moving_means(digits):
    def broken(vae, x, *, seed, step=None):
        terms = objectives.elbo(vae, x, seed=seed)
        return terms._replace(objective=np.nan * terms.objective)

    layer = Calls()
    vae = compiled(plain(layer), broken)
    with pytest.raises(FloatingPointError, match="step 0"):
        vae.fit(digits.train(500), verbose=0)
    assert layer.number == 0


LOSSES = {
    "regularizer": lambda: layers.Dense(3, kernel_regularizer="l2"),
    "of the activity": lambda: layers.Dense(3, activity_regularizer="l2"),
    "add_loss": lambda: layers.Lambda(lambda x: x, activity_regularizer="l1"),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_hidden_loss_is_refused_with_the_layer(model, loss):
    layer = LOSSES[loss]()
    message = rf"layers must have no losses of their own \(regularizers, add_loss\), .* got {layer.name}: write"
    with pytest.raises(ValueError, match=message):
        MODELS[model](layer)


def test_a_loss_added_in_training_only_is_refused_before_a_step(digits):
    vae = compiled(plain(LossInTraining()))
    before = vae.get_weights()
    with pytest.raises(ValueError, match="layers must have no losses of their own"):
        vae.fit(digits.x_train[:32], verbose=0)
    for old, new in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


AUGMENTATIONS = {
    "flip": layers.RandomFlip,
    "rotation": lambda: layers.RandomRotation(0.2),
    "zoom": lambda: layers.RandomZoom(0.2),
    "contrast": lambda: layers.RandomContrast(0.2),
}


@pytest.mark.parametrize("make", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_layers_that_change_images_at_random_also_in_evaluation_are_refused(make):
    with pytest.raises(ValueError, match="layers must change nothing at random unless they are told to train, got ran"):
        encoder = tfk.Sequential([layers.InputLayer(SHAPE), make(), layers.Flatten(), layers.Dense(4)])
        tfvae.VAE(
            posteriors.diagonal_normal(encoder, 2),
            likelihoods.binomial(networks.mlp((2,), [4]), SHAPE, 16),
            priors.standard_normal(2),
        )


class Noisy(layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class Counting(layers.Layer):
    def build(self, shape):
        self.number = self.add_weight("number", (), trainable=False, initializer="zeros")

    def call(self, x):
        return x + self.number.assign_add(1.0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layer", [Noisy, Counting])
def test_a_body_whose_answer_changes_from_call_to_call_is_refused(model, layer):
    with pytest.raises(ValueError, match="encoder, decoder and prior must give the same answer to the same input"):
        MODELS[model](layer())


@pytest.mark.parametrize("piece", ["encoder", "decoder"])
def test_a_piece_that_hides_its_variables_is_refused_as_nothing_would_train_them(piece, digits):
    pieces = {
        "encoder": posteriors.diagonal_normal(networks.mlp(SHAPE, [4]), 2),
        "decoder": likelihoods.binomial(networks.mlp((2,), [4]), SHAPE, 16),
    }
    hidden = pieces[piece]
    pieces[piece] = lambda x: hidden(x)
    vae = tfvae.VAE(**pieces, prior=priors.standard_normal(2))
    vae.compile("adam")
    with pytest.raises(
        ValueError, match=r"encoder and decoder must hold the variables that they use, .* got .*kernel:0"
    ):
        vae.fit(digits.x_train[:32], verbose=0)


@pytest.mark.parametrize("cell", [layers.SimpleRNN, layers.GRU, layers.LSTM])
def test_recurrent_layers_with_dropout_train(cell, digits):
    rows = tfk.Sequential([layers.InputLayer(SHAPE), layers.Reshape((8, 8)), cell(4, dropout=0.3)])
    decoder = likelihoods.binomial(networks.mlp((2,), [4]), SHAPE, 16)
    vae = tfvae.VAE(posteriors.diagonal_normal(rows, 2), decoder, priors.standard_normal(2))
    vae.compile("adam")
    before = rows.get_weights()
    vae.fit(digits.x_train[:64], verbose=0)
    assert all(np.any(old != new) for old, new in zip(before, rows.get_weights(), strict=True))
    x = digits.x_test[:10]
    np.testing.assert_array_equal(vae.predict(x, verbose=0), vae.predict(x, verbose=0))
