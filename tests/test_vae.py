import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from conftest import small_vae

import tfvae
from tfvae import diagnostics, likelihoods, networks, objectives, posteriors, priors

tfpl = tfp.layers

OBJECTIVES = {
    "elbo": objectives.elbo,
    "beta": objectives.beta_elbo(4.0, warmup_steps=10, free_bits=0.5),
    "capacity": objectives.capacity_elbo(5.0, 2.0),
    "tc": objectives.tc_elbo(1293, 4.0),
    "factor": objectives.factor_elbo(4.0, 2, hidden_sizes=(8,)),
    "dip": objectives.dip_elbo(5.0, 50.0, variant=1),
    "iwae": objectives.iwae(3),
    "reconstruction": objectives.weighted_elbo(1.0, 0.0),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_is_minus_the_objective_and_nothing_else(digits, name):
    vae, x = small_vae(digits), digits.x_test[:50]
    vae.compile("adam", OBJECTIVES[name])
    seen = vae.evaluate(x, batch_size=50, return_dict=True, verbose=0)
    terms = OBJECTIVES[name](vae, x, seed=tfvae.seeds.fold_in(0, 1, 0), step=0)
    np.testing.assert_allclose(seen["loss"], -np.mean(terms.objective), rtol=1e-6)
    np.testing.assert_allclose(seen["elbo"], np.mean(terms.log_likelihood - terms.kl), rtol=1e-6)
    np.testing.assert_allclose(seen["log_likelihood"], np.mean(terms.log_likelihood), rtol=1e-6)
    np.testing.assert_allclose(seen["kl"], np.mean(terms.kl), rtol=1e-6)
    assert vae.losses == []


def test_with_the_elbo_the_loss_is_kl_minus_log_likelihood_while_training(usual_history):
    for of in ("", "val_"):
        loss, elbo, log_likelihood, kl = (
            usual_history[f"{of}{name}"] for name in ("loss", "elbo", "log_likelihood", "kl")
        )
        np.testing.assert_allclose(loss, np.subtract(kl, log_likelihood), rtol=1e-6)
        np.testing.assert_allclose(elbo, np.negative(loss), rtol=1e-6)


def test_averages_are_over_examples_where_the_last_batch_is_smaller(digits):
    """A sampled term differs between batchings, so this objective is the deterministic KL."""
    vae, x = small_vae(digits), digits.x_test[:50]
    vae.compile("adam", objectives.weighted_elbo(0.0, 1.0))
    uneven = vae.evaluate(x, batch_size=16, return_dict=True, verbose=0)
    exact = np.mean(tfp.distributions.kl_divergence(vae.encode(x), vae.prior))
    np.testing.assert_allclose(uneven["kl"], exact, rtol=1e-5)
    np.testing.assert_allclose(uneven["loss"], exact, rtol=1e-5)


def test_training_is_gradient_ascent_on_the_elbo_by_hand(digits):
    x = digits.x_train[:32]
    vae, twin = small_vae(digits), small_vae(digits)
    vae.compile(tfk.optimizers.SGD(1e-3))
    vae.fit(x, batch_size=32, epochs=1, shuffle=False, verbose=0)
    with tf.GradientTape() as tape:
        elbo = tf.reduce_mean(objectives.elbo(twin, x, seed=tfvae.seeds.fold_in(0, 0, 0)).objective)
    gradients = tape.gradient(elbo, twin.trainable_variables)
    for after, before, gradient in zip(vae.trainable_variables, twin.trainable_variables, gradients, strict=True):
        np.testing.assert_allclose(after, before + 1e-3 * gradient, rtol=1e-4, atol=1e-6)


def test_training_raises_the_elbo(trained_vae, digits):
    before = small_vae(digits, hidden_sizes=(64,), latent_size=4).evaluate(
        digits.test(100), return_dict=True, verbose=0
    )
    after = trained_vae.evaluate(digits.test(100), return_dict=True, verbose=0)
    assert after["elbo"] > before["elbo"] + 50


def test_evaluating_twice_gives_the_same_numbers(trained_vae, digits):
    first, second = (trained_vae.evaluate(digits.test(100), return_dict=True, verbose=0) for _ in range(2))
    assert first == second


def history_of(images, **options):
    """Of an epoch with its validation."""
    vae = small_vae(images)
    vae.compile(tfk.optimizers.Adam(1e-3), **options)
    return vae.fit(images.train(128), validation_data=images.validation(100), epochs=1, verbose=0).history


@pytest.fixture(scope="module")
def usual_history(digits):
    return history_of(digits)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    # XLA makes other normals of the same random bits.
    [({"jit_compile": True}, 2e-2), ({"steps_per_execution": 7}, 1e-6), ({"run_eagerly": True}, 1e-4)],
)
def test_ways_of_running_agree(digits, usual_history, options, tolerance):
    history = history_of(digits, **options)
    assert history.keys() == usual_history.keys() >= {"loss", "val_elbo"}
    for name in ("loss", "log_likelihood", "val_loss", "val_log_likelihood"):
        np.testing.assert_allclose(usual_history[name], history[name], rtol=tolerance)


class Counter(tfk.callbacks.Callback):
    """Listens to batches."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)


def endless(images):
    """The same batches from a generator, whose number nobody knows."""
    return tf.data.Dataset.from_generator(
        lambda: iter(images.train(128)), output_signature=tf.TensorSpec([None, 8, 8, 1])
    )


def test_steps_are_taken_together_unless_someone_listens(digits):
    """And the weights are the same, bit for bit: in one call, step by step, from a dataset of unknown length."""
    counter, weights = Counter(), []
    calls = []
    for data, callbacks in ((digits.train(128), []), (digits.train(128), [counter]), (endless(digits), [])):
        vae = small_vae(digits)
        make = vae.make_train_function
        vae.make_train_function = lambda force=False, make=make: counted(make(force), calls)
        calls.append(0)
        vae.fit(data, validation_data=digits.validation(50), epochs=1, verbose=0, callbacks=callbacks)
        weights.append([variable.numpy() for variable in vae.trainable_variables])
    num_steps = -(-len(digits.x_train) // 128)
    assert counter.batches == list(range(num_steps))
    assert calls == [1, num_steps, num_steps + 1]  # the last finds the end
    for others in weights[1:]:
        for first, other in zip(weights[0], others, strict=True):
            np.testing.assert_array_equal(first, other)


def test_batches_are_heard_after_a_training_that_was_interrupted(digits):
    class Interrupt(tfk.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    vae, counter = small_vae(digits), Counter()
    with pytest.raises(KeyboardInterrupt):
        vae.fit(digits.train(128), epochs=1, verbose=0, callbacks=[Interrupt()])
    vae.fit(digits.train(128), epochs=1, verbose=0, callbacks=[counter])
    assert counter.batches == list(range(digits.train(128).num_steps))


class Careful(tfvae.VAE):
    """Has a train_step of its own, which looks at what it is given."""

    def train_step(self, data):
        assert data.shape[1:] == self.event_shape and data.dtype == tf.float32
        return super().train_step(data) | {"batch_mean": tf.reduce_mean(data)}


def test_a_train_step_of_ones_own_is_given_images(digits):
    own = small_vae(digits)
    vae = Careful(own.encoder, own.decoder, own.prior)
    vae.compile("adam")
    assert 0 < vae.fit(digits.train(128), epochs=1, verbose=0).history["batch_mean"][0] < 1


def test_sources_of_images_can_change_between_fits(digits):
    """From memory, from a pipeline, with another batch size, from memory again: as one model fed all by pipelines."""
    weights = []
    for looped in (True, False):
        vae = small_vae(digits)
        for first_epoch, batch_size in ((0, 128), (1, 128), (2, 256), (3, 128)):
            data = digits.train(batch_size, first_epoch=first_epoch)
            vae.optimizer.iterations.assign(first_epoch * len(data))  # what fit starts from
            vae.fit(data if looped and first_epoch != 1 else data.map(tf.identity), epochs=1, verbose=0)
        weights.append(vae.get_weights())
    for first, other in zip(*weights, strict=True):
        np.testing.assert_allclose(first, other, rtol=0, atol=1e-6)


def counted(function, calls):
    def call(iterator):
        calls[-1] += 1
        return function(iterator)

    return call


def test_the_same_seed_trains_the_same_weights_and_another_does_not(digits):
    def weights(seed):
        vae = small_vae(digits)
        vae.seed = seed
        vae.fit(digits.train(64), epochs=1, verbose=0)
        return vae.get_weights()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_distributions_have_the_shapes_that_they_should(trained_vae, digits):
    qz_x, px_z = trained_vae.encode(digits.x_test[:3]), trained_vae.decode(np.zeros((5, 3, 4), np.float32))
    assert (qz_x.batch_shape, qz_x.event_shape) == ((3,), (4,))
    assert (px_z.batch_shape, px_z.event_shape) == ((5, 3), (8, 8, 1))
    called = trained_vae(digits.x_test[:3], seed=1)
    assert isinstance(called, tfp.distributions.Distribution)
    assert called.log_prob(digits.x_test[:3]).shape == (3,)


def test_calling_draws_one_z(trained_vae, digits):
    x = digits.x_test[:3]
    z = trained_vae.encode(x).sample(seed=tfvae.seeds.stateless_seed(1))
    np.testing.assert_allclose(trained_vae(x, seed=1).mean(), trained_vae.decode(z).mean(), rtol=1e-5, atol=1e-6)
    assert not np.allclose(trained_vae(x).mean(), trained_vae(x).mean())


def test_predict_is_the_reconstruction_at_the_mean(trained_vae, digits):
    expected = trained_vae.decode(trained_vae.encode(digits.x_test).mean()).mean()
    np.testing.assert_allclose(trained_vae.reconstruct(digits.x_test), expected, rtol=1e-6)
    np.testing.assert_allclose(trained_vae.predict(digits.x_test, batch_size=50, verbose=0), expected, rtol=1e-5)


def test_generated_images_repeat_by_seed(trained_vae):
    first, again, other = (trained_vae.generate(4, seed=s) for s in (0, 0, 1))
    assert first.shape == (4, 8, 8, 1)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_keras_models_that_end_in_a_tfp_layer_are_pieces(binary_digits):
    encoder = tfk.Sequential(
        [
            tfk.layers.InputLayer((8, 8, 1)),
            tfk.layers.Flatten(),
            tfk.layers.Dense(tfpl.MultivariateNormalTriL.params_size(2)),
            tfpl.MultivariateNormalTriL(2),
        ]
    )
    decoder = tfk.Sequential([tfk.layers.InputLayer((2,)), tfk.layers.Dense(64), tfpl.IndependentBernoulli((8, 8, 1))])
    vae = tfvae.VAE(encoder, decoder, priors.standard_normal(2))
    vae.compile("adam", objectives.iwae(5))
    history = vae.fit(binary_digits.train(64), epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    x, z = binary_digits.x_test[:3], np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    one_by_one = [decoder(z[s]).log_prob(x) for s in range(4)]
    np.testing.assert_allclose(vae.decode(z).log_prob(x), one_by_one, rtol=1e-5)
    assert vae.decode(z).mean().shape == vae.decode(z).variance().shape == (4, 3, 8, 8, 1)
    assert vae.decode(z).sample(2, seed=[0, 1]).shape == (2, 4, 3, 8, 8, 1)


def test_weights_files_hold_every_variable(binary_digits, tmp_path):
    first = small_vae(binary_digits, prior="normal_mixture", num_components=3)
    second = small_vae(binary_digits, prior="normal_mixture", num_components=3, seed=1)
    first.save_weights(tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    for a, b in zip(first.trainable_variables, second.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_mixed_precision_keeps_the_terms_in_float32(binary_digits):
    tfk.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        vae = small_vae(binary_digits)
        terms = objectives.elbo(vae, binary_digits.x_test[:8], seed=0)
        history = vae.fit(binary_digits.train(64), epochs=2, verbose=0).history
    finally:
        tfk.mixed_precision.set_global_policy(None)  # as floatx says
    assert {term.dtype for term in terms} == {tf.float32}
    assert history["loss"][1] < history["loss"][0]


def test_float16_scales_its_loss(binary_digits):
    tfk.mixed_precision.set_global_policy("mixed_float16")
    try:
        vae = small_vae(binary_digits)
        history = vae.fit(binary_digits.train(64), epochs=3, verbose=0).history
    finally:
        tfk.mixed_precision.set_global_policy(None)  # as floatx says
    assert history["loss"][2] < history["loss"][0]


def test_training_that_turns_non_finite_stops_and_keeps_the_last_good_weights(digits):
    kept = []

    def explodes_at_step_five(vae, x, *, seed, step):
        terms = objectives.elbo(vae, x, seed=seed)
        return terms._replace(objective=tf.where(tf.equal(step, 5), np.nan, 1.0) * terms.objective)

    class Keep(tfk.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept.append(self.model.get_weights())

    vae = small_vae(digits)
    vae.compile(tfk.optimizers.Adam(1e-3), explodes_at_step_five)
    with pytest.raises(FloatingPointError, match=r"non-finite at step 5 .*the weights are those before that step"):
        vae.fit(digits.train(64), epochs=3, verbose=0, callbacks=[Keep()])
    trained = [i for i, variable in enumerate(vae.weights) if variable.trainable]
    for i in trained:
        np.testing.assert_array_equal(vae.get_weights()[i], kept[4][i])


@pytest.mark.parametrize("jit", [False, True])
def test_an_exploding_gradient_is_caught_though_the_loss_is_finite(digits, jit):
    @tf.custom_gradient
    def with_bad_gradient(x):
        return tf.identity(x), lambda upstream: upstream * np.nan

    def objective(vae, x, *, seed, step):
        terms = objectives.elbo(vae, x, seed=seed)
        return terms._replace(objective=with_bad_gradient(terms.objective))

    vae = small_vae(digits)
    before = [v.numpy() for v in vae.trainable_variables]
    vae.compile(tfk.optimizers.Adam(1e-3), objective, jit_compile=jit)
    with pytest.raises(FloatingPointError, match="non-finite at step 0"):
        vae.fit(digits.train(64), epochs=1, verbose=0)
    for a, b in zip(before, vae.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


def altered(x, value):
    x = x.copy()
    x[3, 2, 1, 0] = value
    return x


BAD_IMAGES = {
    "masked": (lambda x: np.ma.masked_array(x, x > 0.9), "x must have no masked values, got \\d+"),
    "nan": (lambda x: altered(x, np.nan), "x must be finite, got nan at \\[3, 2, 1, 0\\]"),
    "infinity": (lambda x: altered(x, np.inf), "x must be finite, got inf"),
    "bytes as floats": (lambda x: 255 * x, "x must be in \\[0, 1\\], got"),
    "negative": (lambda x: altered(x, -0.5), "x must be in \\[0, 1\\], got -0.5"),
    "off the support": (lambda x: altered(x, 0.3), "x must be a multiple of 1/16 in \\[0, 1\\] .*, got 0.3"),
    "no channels": (lambda x: x[..., 0], "x must have shape \\[batch, 8, 8, 1\\], got \\[20, 8, 8\\]"),
    "two channels": (lambda x: np.repeat(x, 2, -1), "x must have shape .*, got \\[20, 8, 8, 2\\]"),
    "a single image": (lambda x: x[0], "x must have shape .*, got \\[8, 8, 1\\]"),
    "integers": (lambda x: x.astype(np.uint8), "x must hold floats in \\[0, 1\\], got uint8"),
    "empty": (lambda x: x[:0], "x must hold at least one image, got shape \\(0, 8, 8, 1\\)"),
    "a list": (lambda x: x.tolist(), "x must be an array or a tf.data.Dataset, got list"),
    "a generator": (lambda x: (image for image in x), "x must be an array or a tf.data.Dataset, got generator"),
}


@pytest.mark.parametrize("call", ["fit", "evaluate"])
@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_are_refused_before_anything_happens(digits, case, call):
    make, message = BAD_IMAGES[case]
    vae = small_vae(digits)
    before = [v.numpy() for v in vae.trainable_variables]
    with pytest.raises(ValueError, match=message):
        getattr(vae, call)(make(digits.x_test[:20]), verbose=0)
    for a, b in zip(before, vae.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "jit"])
def refusing_vae(digits, request):
    """Takes no image all its life, and is compiled once."""
    return small_vae(digits, jit=request.param)


@pytest.mark.parametrize("case", ["nan", "bytes as floats", "off the support"])
def test_bad_images_in_a_pipeline_are_refused_too(digits, refusing_vae, case):
    make, message = BAD_IMAGES[case]
    dataset = tf.data.Dataset.from_tensor_slices(make(digits.x_test[:20])).batch(10)
    with pytest.raises(ValueError, match=message.split(", got")[0]):
        refusing_vae.fit(dataset, verbose=0)


def test_a_pipeline_of_the_wrong_shape_is_refused(digits):
    dataset = tf.data.Dataset.from_tensor_slices(digits.x_test[..., 0]).batch(10)
    with pytest.raises(ValueError, match="x must have shape"):
        small_vae(digits).fit(dataset, verbose=0)


def test_the_width_of_floats_does_not_matter(digits):
    """A division in NumPy gives float64."""
    x, vaes = digits.x_train[:64], [small_vae(digits) for _ in range(3)]
    wide = x.astype(np.float64)
    sources = (x, wide, tf.data.Dataset.from_tensor_slices(wide).batch(32))
    for vae, source in zip(vaes, sources, strict=True):
        vae.fit(source, epochs=2, shuffle=False, verbose=0)
    for vae in vaes[1:]:
        for weight, expected in zip(vae.get_weights(), vaes[0].get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
    assert vaes[0].evaluate(wide, verbose=0) == vaes[0].evaluate(x, verbose=0)
    for call in (vaes[0].reconstruct, lambda x: diagnostics.measure(vaes[0], x, 4).log_evidence):
        np.testing.assert_array_equal(call(x), call(wide))


def test_labels_are_ignored(digits):
    vae = small_vae(digits)
    labelled = tf.data.Dataset.from_tensor_slices((digits.x_test[:64], digits.y_test[:64])).batch(32)
    plain = tf.data.Dataset.from_tensor_slices(digits.x_test[:64]).batch(32)
    assert vae.evaluate(labelled, verbose=0) == vae.evaluate(plain, verbose=0)
    assert vae.evaluate(digits.x_test[:64], digits.y_test[:64], verbose=0) == vae.evaluate(plain, verbose=0)


def test_encode_takes_what_has_no_likelihood_but_not_what_is_no_image(digits):
    vae, x = small_vae(digits), digits.x_test[:20]
    vae.encode(altered(x, 0.3))
    for case in ("nan", "bytes as floats", "no channels"):
        make, message = BAD_IMAGES[case]
        with pytest.raises(ValueError, match=message):
            vae.encode(make(x))


def pieces(latents=(2, 2, 2)):
    shape = (8, 8, 1)
    return (
        posteriors.diagonal_normal(networks.mlp(shape, [4]), latents[0]),
        likelihoods.binomial(networks.mlp((latents[1],), [4]), shape, 16),
        priors.standard_normal(latents[2]),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae, x: tfvae.VAE(*pieces((3, 2, 2))), "encoder must give the prior's 2 latents, got 3"),
        (lambda vae, x: tfvae.VAE(*pieces((2, 3, 2))), "decoder must take the prior's 2 latents, got one that takes 3"),
        (lambda vae, x: vae.fit(x, epochs=0), "epochs must be an integer of at least 1, got 0"),
        (lambda vae, x: vae.fit(x, batch_size=0), "batch_size must be an integer of at least 1, got 0"),
        (lambda vae, x: vae.fit(x, batch_size=21), "batch_size must be at most the number of images, 20, got 21"),
        (
            lambda vae, x: vae.compile("adam", "elbo"),
            "objective must be a callable such as objectives.elbo, got 'elbo'",
        ),
        (lambda vae, x: vae.compile("adam", loss="mse"), "compile must get no losses or metrics .* got loss"),
        (lambda vae, x: vae.generate(0), "n must be an integer of at least 1, got 0"),
        (lambda vae, x: vae.fit(x, validation_data=255 * x), "validation_data must be in"),
    ],
)
def test_bad_arguments_are_refused(digits, call, message):
    with pytest.raises(ValueError, match=message):
        call(small_vae(digits), digits.x_test[:20])


def test_keras_own_files_are_refused_with_what_to_use(digits, tmp_path):
    with pytest.raises(NotImplementedError, match=r"tfvae.save\(vae, directory\)"):
        small_vae(digits).save(tmp_path / "model.keras")


def test_a_model_says_what_it_is(digits):
    vae = tfvae.build(tfvae.Recipe(data="digits", hidden_sizes=(8,), latent_size=2).complete(digits))
    assert repr(vae) == "<VAE 'vae': 8 x 8 x 1, 2 latents, 1,156 parameters>"
