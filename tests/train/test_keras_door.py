"""Every form of the data that Keras documents for `fit`, `evaluate` and calls on one batch: as there, or refused."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk
from conftest import small_vae

WEIGHTS = "must have no sample_weight or class_weight"


@pytest.fixture(scope="module")
def vae(digits):
    return small_vae(digits, hidden_sizes=(8,))


@pytest.fixture(scope="module")
def x(digits):
    return digits.x_train[:32]


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
