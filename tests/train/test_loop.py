import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk
from conftest import small_vae

from tfvae import objectives
from tfvae.train.loop import Loop, xla_pays


def test_xla_compiles_one_program_for_all_steps_of_an_epoch(binary_digits):
    vae = small_vae(binary_digits)
    vae.optimizer.build(vae.trainable_variables)
    data = binary_digits.train(64)
    loop = Loop(vae.train_step, data.in_memory, data.batch_size, jit=True)
    loop.start(0)
    programs = {
        loop._compiled.experimental_get_compiler_ir(
            loop._batches, *(tf.constant(number, tf.int64) for number in (epoch, first, count))
        )(stage="hlo")
        for epoch, first, count in ((0, 0, 1), (0, 3, 7), (2, 5, 2))
    }
    assert len(programs) == 1


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


def test_xla_is_not_chosen_for_an_objective_that_does_not_tell_its_samples(binary_digits):
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
    chosen = {}
    for jit in (None, False):
        vae = small_vae(binary_digits, jit=jit)
        data = binary_digits.train(64)
        vae.fit(data, initial_epoch=299, epochs=300, verbose=0)
        chosen[jit] = vae._loop.jit
    assert data.num_steps * 300 > 5000
    assert chosen == {None: True, False: False}
    assert np.isfinite(vae.evaluate(binary_digits.x_test, verbose=0)).all()
