"""Every documented form of every argument of `fit`, `evaluate`, `predict` and calls on a batch: as in Keras, or no."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk
from conftest import StopAt, small_vae

from tfvae import train

callbacks = tfk.callbacks

WEIGHTS = "must have no sample_weight or class_weight"


@pytest.fixture(scope="module")
def vae(digits):
    return small_vae(digits, hidden_sizes=(8,))


@pytest.fixture(scope="module")
def x(digits):
    return digits.x_train[:32]


class Pairs(tfk.utils.Sequence):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return np.zeros([4, 8, 8, 1], np.float32)


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays[0] if len(arrays) == 1 else arrays).batch(16)


@pytest.mark.parametrize(
    "form",
    [
        lambda v: v,
        lambda v: tf.constant(v),
        lambda v: (v,),
        lambda v: (v, None),
        lambda v: (v, v),
        lambda v: (v, np.arange(len(v))),
        lambda v: (v, None, None),
        lambda v: dataset(v),
        lambda v: dataset(v, v),
    ],
)
def test_validation_data_of_every_form(form, vae, x, digits):
    validation = digits.x_validation[:16]
    found = vae.fit(x, validation_data=form(validation), batch_size=16, verbose=0).history["val_elbo"][0]
    np.testing.assert_allclose(
        found, vae.evaluate(validation, batch_size=16, verbose=0, return_dict=True)["elbo"], rtol=1e-5
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda vae, x, w: vae.fit(x, sample_weight=w, verbose=0),
        lambda vae, x, w: vae.fit(x, class_weight={0: 1.0}, verbose=0),
        lambda vae, x, w: vae.fit(x, sample_weight=None, class_weight={0: 1.0}, verbose=0),
        lambda vae, x, w: vae.fit(dataset(x, x, w), verbose=0),
        lambda vae, x, w: vae.fit(x, validation_data=(x, x, w), verbose=0),
        lambda vae, x, w: vae.fit(x, validation_data=(x, x, None, w), verbose=0),
        lambda vae, x, w: vae.fit(x, validation_data=dataset(x, x, w), verbose=0),
        lambda vae, x, w: vae.evaluate(x, sample_weight=w, verbose=0),
        lambda vae, x, w: vae.evaluate(dataset(x, x, w), verbose=0),
        lambda vae, x, w: vae.train_on_batch(x, sample_weight=w),
        lambda vae, x, w: vae.train_on_batch(x, x, class_weight={0: 1.0}),
        lambda vae, x, w: vae.test_on_batch(x, sample_weight=w),
    ],
)
def test_weights_of_examples_are_refused(call, vae, x):
    before = [v.numpy() for v in vae.trainable_variables]
    with pytest.raises(ValueError, match=WEIGHTS):
        call(vae, x, np.ones(len(x), np.float32))
    for old, variable in zip(before, vae.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_a_batch_that_is_not_finite_is_an_error_and_the_next_one_trains(x, digits):
    vae = small_vae(digits, hidden_sizes=(8,))
    vae.compile(tfk.optimizers.SGD(1e-3), lambda vae, x, *, seed, step=None: broken(vae, x, seed))
    poison = tf.Variable(np.nan, trainable=False)

    def broken(vae, x, seed):
        from tfvae import objectives

        terms = objectives.elbo(vae, x, seed=seed)
        return terms._replace(objective=terms.objective * (1 + poison))

    before = [v.numpy() for v in vae.trainable_variables]
    with pytest.raises(FloatingPointError, match="step 0"):
        vae.train_on_batch(x)
    for old, variable in zip(before, vae.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    poison.assign(0.0)
    vae.train_on_batch(x)
    assert any(not np.array_equal(old, v) for old, v in zip(before, vae.trainable_variables, strict=True))


def test_a_batch_is_tested_twice_alike(vae, x):
    first, again = (vae.test_on_batch(x, return_dict=True) for _ in range(2))
    assert first == again
    np.testing.assert_allclose(first["elbo"], vae.evaluate(x, verbose=0, return_dict=True)["elbo"], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, 2),
        ({"y": np.arange(32)}, 2),
        ({"y": "anything, as it is ignored"}, 2),
        ({"batch_size": 32}, 1),
        ({"batch_size": None}, 1),
        ({"epochs": 3, "initial_epoch": 1}, 4),
        ({"epochs": 1, "initial_epoch": 1}, 0),
        ({"steps_per_epoch": 1}, 1),
        ({"steps_per_epoch": 9}, 2),  # Keras warns, and stops where the data end
        ({"shuffle": False}, 2),
        ({"validation_split": 0.5}, 1),
        ({"validation_split": 0.0}, 2),
        ({"validation_batch_size": 8, "validation_steps": 1, "validation_split": 0.5}, 1),
        ({"validation_split": 0.5, "validation_freq": 2, "epochs": 2}, 2),
        ({"validation_split": 0.5, "validation_freq": [1], "epochs": 2}, 2),
        ({"sample_weight": None, "class_weight": None}, 2),
        ({"callbacks": callbacks.History()}, 2),
        ({"callbacks": []}, 2),
        ({"max_queue_size": 3, "workers": 1, "use_multiprocessing": False}, 2),
    ],
)
def test_arguments_of_fit_that_work_as_in_keras(arguments, steps, vae, x):
    before = int(vae.optimizer.iterations)
    history = vae.fit(x, **{"batch_size": 16, "verbose": 0, **arguments}).history
    assert int(vae.optimizer.iterations) - before == steps
    assert ("val_elbo" in history) == bool(arguments.get("validation_split"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": "2"}, "epochs must be an integer of at least 1, got '2'"),
        ({"epochs": True}, "epochs must be an integer of at least 1, got True"),
        ({"initial_epoch": -1}, "initial_epoch must be an integer of at least 0, got -1"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be an integer of at least 1, got 0"),
        ({"steps_per_epoch": -1}, "steps_per_epoch must be an integer of at least 1, got -1"),
        ({"validation_split": 1.0}, "validation_split must be below 1, got 1.0"),
        ({"validation_split": -0.1}, "validation_split must be a finite number of at least 0, got -0.1"),
        ({"validation_batch_size": 0}, "validation_batch_size must be an integer of at least 1, got 0"),
        ({"validation_steps": 0}, "validation_steps must be an integer of at least 1, got 0"),
        ({"validation_freq": 0}, "validation_freq must be an integer of at least 1, got 0"),
        ({"callbacks": ["a"]}, "callbacks must be a list of tf_keras.callbacks.Callback, got 'a'"),
        ({"callbacks": callbacks.CallbackList([])}, "callbacks must be a list of tf_keras.callbacks.Callback, got <"),
        ({"callbacks": callbacks.EarlyStopping("val_elbo")}, "callbacks must maximise val_elbo, got a EarlyStopping"),
        ({"callbacks": [callbacks.ReduceLROnPlateau("elbo")]}, "callbacks must maximise elbo, got a ReduceLROnPlateau"),
        (
            {"callbacks": callbacks.ModelCheckpoint("a.weights.h5", "val_log_likelihood", save_weights_only=True)},
            "callbacks must maximise val_log_likelihood, got a ModelCheckpoint without mode='max'",
        ),
        (
            {"callbacks": np.zeros([2, 3])},
            "callbacks must be a list of tf_keras.callbacks.Callback, got an array",
        ),
        ({"verbose": np.zeros([2, 3])}, "verbose must be one of auto, 0, 1, 2, got an array of float64"),
        ({"shuffle": np.zeros([2, 3])}, "shuffle must be one of True, False, batch, got an array of float64"),
        ({"validation_data": ()}, "validation_data must be an array or a tf.data.Dataset, got NoneType"),
        ({"validation_data": [1.0]}, "validation_data must be an array or a tf.data.Dataset, got list"),
        ({"validation_data": {"a": 1.0}}, "validation_data must be an array or a tf.data.Dataset, got dict"),
        ({"validation_data": Pairs()}, "validation_data must be an array or a tf.data.Dataset, got Pairs"),
    ],
)
def test_arguments_of_fit_that_are_refused_by_name(arguments, message, vae, x):
    before = int(vae.optimizer.iterations)
    with pytest.raises(ValueError, match=message):
        vae.fit(x, **{"verbose": 0, **arguments})
    assert int(vae.optimizer.iterations) == before


@pytest.mark.parametrize(
    ("method", "name"),
    [("compile", name) for name in ("jit_compile", "run_eagerly", "steps_per_execution")]
    + [(method, name) for method in ("evaluate", "predict") for name in ("verbose", "callbacks", "steps")],
)
def test_an_array_is_refused_by_the_arguments_name(method, name, vae, x):
    given = {name: np.zeros([2, 3])} if method == "compile" else {"x": x, name: np.zeros([2, 3])}
    with pytest.raises(ValueError, match=f"^{name} must be .*, got an array of float64"):
        getattr(vae, method)(**given)


@pytest.mark.parametrize("arguments", [{"mode": "max"}, {"monitor": "val_loss"}])
def test_early_stopping_of_what_it_knows_works(arguments, vae, x):
    stops = callbacks.EarlyStopping(**{"monitor": "val_elbo", **arguments})
    assert "val_elbo" in vae.fit(x, validation_data=x, verbose=0, callbacks=[stops]).history


CALLS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")
REFUSED = {
    "list": (lambda x: [x], "must be an array or a tf.data.Dataset, got list"),
    "tuple": (lambda x: (x, x), "must be an array or a tf.data.Dataset, got tuple"),
    "dict": (lambda x: {"image": x}, "must be an array or a tf.data.Dataset, got dict"),
    "sequence": (lambda x: Pairs(), "must be an array or a tf.data.Dataset, got Pairs"),
    "generator": (lambda x: (v for v in x), "must be an array or a tf.data.Dataset, got generator"),
    "creator": (
        lambda x: tfk.utils.experimental.DatasetCreator(lambda context: dataset(x)),
        "must be an array or a tf.data.Dataset, got DatasetCreator",
    ),
    "nothing": (lambda x: None, "must be an array or a tf.data.Dataset, got NoneType"),
    "empty": (lambda x: x[:0], "must hold at least one image"),
    "not a number": (lambda x: x * np.nan, "must be finite, got nan"),
    "bytes": (lambda x: (255 * x).astype(np.uint8), "must hold floats in .*, got uint8: divide bytes by 255"),
    "bytes as floats": (lambda x: 255 * x, r"must be in \[0, 1\], got"),
    "rank 3": (lambda x: x[..., 0], r"got \[32, 8, 8\]: add the channel's axis, x\[..., None\]"),
    "one image": (lambda x: x[0], r"got \[8, 8, 1\]: add the batch axis, x\[None\]"),
    "channels first": (lambda x: np.moveaxis(x, -1, 1), r"got \[32, 1, 8, 8\]: channels come last, tf.einsum"),
    "flat": (lambda x: x.reshape(32, 64), r"got \[32, 64\]: tf.reshape\(x, \[-1, 8, 8, 1\]\)"),
}
REFUSED_DATASETS = {
    "of dicts": (
        lambda x: dataset({"image": x, "label": x}),
        r"must give images or \(images, labels\): .*map.*dict of",
    ),
    "nested": (lambda x: dataset((x, x), x), r"must give images or \(images, labels\): .*, got tuple"),
    "unbatched": (lambda x: dataset(x).unbatch(), r"got \[8, 8, 1\]: add the batch axis, .* dataset.batch"),
    "rank 3": (lambda x: dataset(x[..., 0]), r"got \[\?, 8, 8\]: add the channel's axis"),
    "channels first": (lambda x: dataset(np.moveaxis(x, -1, 1)), r"got \[\?, 1, 8, 8\]: channels come last"),
}


@pytest.mark.parametrize("call", CALLS)
def test_data_that_are_refused_with_what_to_do(call, vae, x):
    options = {} if call.endswith("batch") else {"verbose": 0}
    for make, message in (REFUSED if options == {} else REFUSED | REFUSED_DATASETS).values():
        with pytest.raises(ValueError, match="x " + (".*" if message.startswith("got") else "") + message):
            getattr(vae, call)(make(x), **options)
    if options == {}:
        with pytest.raises(ValueError, match="x must be one batch, an array, got _BatchDataset"):
            getattr(vae, call)(dataset(x))


@pytest.mark.parametrize("form", [lambda x: x, tf.constant, lambda x: x.astype(np.float64)])
def test_arrays_of_every_kind_are_one_to_evaluate_predict_and_batches(form, vae, x):
    first = vae.evaluate(x, batch_size=32, verbose=0)
    assert vae.evaluate(form(x), batch_size=32, verbose=0) == vae.test_on_batch(form(x)) == first
    assert vae.evaluate(form(x), np.arange(32), batch_size=32, verbose=0) == first
    assert vae.evaluate(form(x), batch_size=32, steps=1, verbose=0) == first
    assert list(vae.evaluate(form(x), batch_size=32, verbose=0, return_dict=True).values()) == first
    np.testing.assert_allclose(vae.predict(form(x), verbose=0), vae.reconstruct(x), rtol=1e-5)
    np.testing.assert_allclose(vae.predict(dataset(form(x), x), verbose=0), vae.reconstruct(x), rtol=1e-5)
    np.testing.assert_allclose(vae.predict_on_batch(form(x)), vae.reconstruct(x), rtol=1e-5)
    assert vae.predict(form(x), batch_size=8, steps=3, verbose=0).shape == (24, 8, 8, 1)


@pytest.mark.parametrize("call", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 33}, "batch_size must be at most the number of images, 32, got 33"),
    ],
)
def test_arguments_of_an_evaluation_that_are_refused_by_name(call, arguments, message, vae, x):
    with pytest.raises(ValueError, match=message):
        getattr(vae, call)(x, verbose=0, **arguments)


def test_metrics_of_batches_add_up_unless_they_are_reset(vae, x):
    halves = [vae.test_on_batch(part, return_dict=True)["kl"] for part in (x[:16], x[16:])]
    joint = [vae.test_on_batch(part, reset_metrics=i == 0)[3] for i, part in enumerate((x[:16], x[16:]))]
    np.testing.assert_allclose(joint, [halves[0], np.mean(halves)], rtol=1e-6)


def test_a_batch_after_a_fit_is_what_is_trained_on(x, digits):
    fitted, plain = (small_vae(digits, hidden_sizes=(8,)) for _ in range(2))
    fitted.fit(digits.train(500), verbose=0)
    plain.set_weights(fitted.get_weights())
    plain.optimizer.iterations.assign(fitted.optimizer.iterations)
    assert fitted.train_on_batch(x) == plain.train_on_batch(x)


def test_a_conditional_model_takes_a_batch_with_its_labels(x, digits):
    vae, y = small_vae(digits, hidden_sizes=(8,), conditional=True), digits.y_train[:32]
    assert vae.test_on_batch(x, y) == vae.evaluate(x, y, batch_size=32, verbose=0)
    vae.train_on_batch(x, y)
    assert vae.optimizer.iterations == 1
    for call in (vae.train_on_batch, vae.test_on_batch, vae.predict_on_batch):
        with pytest.raises(ValueError, match="x must come with labels y for a conditional model"):
            call(x)


@pytest.mark.parametrize("hook", ["on_batch_end", "on_train_batch_end", "on_batch_begin"])
def test_a_lambda_is_called_at_every_batch(hook, vae, x):
    batches = []

    class Hooked(callbacks.Callback):
        def __init__(self):
            super().__init__()
            setattr(self, hook, lambda batch, logs=None: batches.append(batch))

    for callback in (Hooked(), callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))):
        batches.clear()
        vae.fit(x, batch_size=8, verbose=0, callbacks=callback)
        assert batches == [0, 1, 2, 3]


def test_backup_and_restore_goes_on_with_the_epochs_that_are_left(digits, tmp_path):
    whole, stopped, resumed = (small_vae(digits, hidden_sizes=(8,)) for _ in range(3))
    whole.fit(digits.train(500), epochs=3, verbose=0)
    backup = callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(digits.train(500), epochs=3, verbose=0, callbacks=[backup, StopAt(1, 0)])
    history = resumed.fit(digits.train(500), epochs=3, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path)])
    assert history.epoch == [1, 2]
    for expected, found in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, found)


def test_backup_and_restore_is_refused_where_the_order_would_start_anew(digits, tmp_path):
    own = small_vae(digits, hidden_sizes=(8,))

    class Own(train.VAE):
        def train_step(self, data):
            return super().train_step(data)

    vae = Own(own.encoder, own.decoder, own.prior)
    vae.compile("sgd")
    with pytest.raises(ValueError, match=r"callbacks must have no BackupAndRestore .* tfvae.runs.resume goes on"):
        vae.fit(digits.train(500), verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path)])


@pytest.mark.parametrize("call", [name for name in CALLS if "predict" not in name])
def test_a_model_that_is_not_compiled_says_so(call, digits, x):
    own = small_vae(digits, hidden_sizes=(8,))
    vae = train.VAE(own.encoder, own.decoder, own.prior)
    with pytest.raises(RuntimeError, match=r"vae must be compiled, vae.compile\(tf_keras.optimizers.Adam"):
        getattr(vae, call)(x)


@pytest.mark.parametrize("optimizer", [tfk.optimizers.legacy.Adam(), keras.optimizers.Adam(), None, 0.1])
def test_optimizers_of_another_kind_are_refused(optimizer, digits):
    vae = small_vae(digits, hidden_sizes=(8,))
    with pytest.raises(TypeError, match=r"optimizer must be a name, or of tf_keras.optimizers \(not of its legacy"):
        vae.compile(optimizer)


KERAS_FILES = {
    "saved_model.save": tf.saved_model.save,
    "save_model": tfk.models.save_model,
    "save": lambda vae, path: vae.save(path),
    "save to .keras": lambda vae, path: vae.save(path + ".keras"),
    "export": lambda vae, path: vae.export(path),
    "clone_model": lambda vae, path: tfk.models.clone_model(vae),
    "pickle": lambda vae, path: pickle.dumps(vae),
    "deepcopy": lambda vae, path: copy.deepcopy(vae),
    "to_json": lambda vae, path: vae.to_json(),
}


@pytest.mark.parametrize("way", KERAS_FILES)
def test_files_and_copies_that_cannot_be_loaded_are_refused_and_the_model_still_trains(way, vae, x, tmp_path):
    with pytest.raises(NotImplementedError, match=r"cannot hold TFP layers: use tfvae.save\(vae, directory\)"):
        KERAS_FILES[way](vae, str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())
    vae.train_on_batch(x)


def test_a_strategy_by_name_is_the_same_at_each_call():
    assert train.strategies.named("mirrored") is train.strategies.named("mirrored")
