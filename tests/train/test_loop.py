import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk
from conftest import small_vae

from tfvae import objectives
from tfvae.train.loop import Loop, xla_pays


def test_xla_compiles_one_program_for_all_steps_of_an_epoch(binary_digits, monkeypatch):
    """Of each call that the loop makes of its compiled function, the program is looked at, and not run."""
    vae, programs = small_vae(binary_digits), []
    vae.optimizer.build(vae.trainable_variables)
    data, function = binary_digits.train(64), tf.function

    def lowered(steps, jit_compile):
        compiled = function(steps, jit_compile=jit_compile)
        return lambda *inputs: programs.append(compiled.experimental_get_compiler_ir(*inputs)(stage="hlo"))

    with monkeypatch.context() as patched:
        patched.setattr(tf, "function", lowered)
        loop = Loop(vae.train_step, data.in_memory, data.batch_size, jit=True)
    for epoch, *counts in ((0, 1, 7), (2, 2)):
        loop.start(epoch)
        for count in counts:
            loop.run(count)
    assert len(programs) == 3 and len(set(programs)) == 1


def test_a_training_is_traced_once(binary_digits):
    """An optimizer that made its variables in the first step would have it traced anew."""
    vae, traced = small_vae(binary_digits), []

    def noted(vae, x, *, seed, step=None):
        traced.append(x.shape)
        return objectives.elbo(vae, x, seed=seed, step=step)

    vae.compile("adam", noted, jit_compile=False)
    vae.fit(binary_digits.train(431), epochs=2, verbose=0)  # all batches of one size
    assert traced == [(431, 8, 8, 1)]


@pytest.mark.parametrize(
    ("fields", "batch_size", "num_steps", "pays"),
    [
        ({}, 64, 5000, True),
        ({}, 64, 4999, False),
        ({}, 257, 5000, False),
        ({"objective": "iwae", "num_samples": 4}, 64, 5000, True),
        ({"objective": "iwae", "num_samples": 5}, 64, 5000, False),
        ({"network": "conv"}, 64, 5000, False),
    ],
    ids=str,
)
def test_xla_is_chosen_for_long_runs_of_small_batches_through_dense_layers(
    binary_digits, fields, batch_size, num_steps, pays
):
    assert xla_pays(small_vae(binary_digits, **fields), batch_size, num_steps) == pays


def test_xla_is_not_chosen_for_an_objective_that_does_not_state_its_samples(binary_digits):
    vae = small_vae(binary_digits)
    vae.compile("adam", lambda *args, **kwargs: objectives.elbo(*args, **kwargs))
    assert not xla_pays(vae, 64, 5000)


def test_xla_is_not_chosen_in_half_precision(binary_digits):
    tfk.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert not xla_pays(small_vae(binary_digits), 64, 5000)
    finally:
        tfk.mixed_precision.set_global_policy(None)  # as floatx says


def test_the_choice_is_that_of_the_whole_run_and_of_the_user_first(binary_digits):
    """XLA draws other normals, so that the loss says whether it compiled the steps."""
    losses, data = {}, binary_digits.train(64)
    assert data.num_steps < 5000 < data.num_steps * 300
    for jit in (None, True, False):
        vae = small_vae(binary_digits, jit=jit)
        (losses[jit],) = vae.fit(data, initial_epoch=299, epochs=300, verbose=0).history["loss"]
    assert losses[None] == losses[True]
    assert abs(losses[None] - losses[False]) > 1e-3
    assert np.isfinite(vae.evaluate(binary_digits.x_test, verbose=0)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": np.zeros([4, 8, 8, 1])}, "epochs must be of type Epochs, got an array"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"eagerly": np.zeros(2)}, "eagerly must be True or False, got an array"),
    ],
)
def test_bad_arguments_are_named(digits, arguments, message):
    with pytest.raises(ValueError, match=message):
        Loop(**{"step": print, "epochs": digits.train(1000).in_memory, "batch_size": 1000, **arguments})
