"""Batches iterate as a Dataset does, and know their epoch."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_vae

from tfvae import data


def epoch(batches):
    return np.concatenate([x.numpy() for x in batches])


def test_batches_iterate_as_a_dataset_does(digits):
    batches, dataset = digits.train(100), digits.train(100).dataset
    assert len(batches) == len(dataset) == len(list(batches)) == 13
    assert batches.element_spec == dataset.element_spec
    assert batches.element_spec.shape.as_list() == [None, 8, 8, 1]
    np.testing.assert_array_equal(epoch(batches), epoch(digits.train(100, first_epoch=1)))
    np.testing.assert_array_equal(epoch(dataset), epoch(digits.train(100)))


@pytest.mark.parametrize(
    "change",
    [lambda batches: batches, lambda batches: batches.map(tf.identity), lambda batches: batches.take(3)],
    ids=["as they are", "map", "take"],
)
def test_two_and_two_epochs_are_four(digits, change):
    whole, halves = small_vae(digits), small_vae(digits)
    halves.set_weights(whole.get_weights())
    whole.fit(change(digits.train(100)), epochs=4, verbose=0)
    for _ in range(2):
        halves.fit(change(digits.train(100)), epochs=2, verbose=0)
    assert int(whole.optimizer.iterations) == 4 * len(change(digits.train(100)))
    for weight, expected in zip(halves.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_map_reaches_images_and_labels(digits):
    pairs = digits.train(100, labels=True)
    mapped = digits.train(100, labels=True).map(lambda x, y: (1 - x, y + 1))
    assert len(mapped) == len(pairs)
    for (x, y), (mapped_x, mapped_y) in zip(pairs, mapped, strict=True):
        np.testing.assert_array_equal(mapped_x, 1 - x)
        np.testing.assert_array_equal(mapped_y, y + 1)


def test_take_gives_the_first_batches_of_each_epoch(digits):
    taken, whole = digits.train(100).take(3), digits.train(100)
    for _ in range(2):
        np.testing.assert_array_equal(epoch(taken), epoch(whole)[:300])
    assert (len(taken), len(digits.train(100).take(20))) == (3, 13)
    with pytest.raises(ValueError, match="count must be an integer of at least 1, got 0"):
        taken.take(0)


@pytest.mark.parametrize("method", ["shuffle", "repeat", "batch", "prefetch"])
def test_other_methods_are_refused_by_name_and_the_dataset_has_them(digits, method):
    batches = digits.train(100)
    with pytest.raises(AttributeError, match=rf"which {method} would lose: use map or take, or `\.dataset\.{method}`"):
        getattr(batches, method)
    assert callable(getattr(batches.dataset, method))
    with pytest.raises(AttributeError, match="'Batches' object has no attribute 'nothing'"):
        batches.nothing  # noqa: B018 (asking for it is the test)


def test_several_workers_take_no_first_batches(digits):
    strategy = tf.distribute.get_strategy()
    assert callable(data.shares.training(digits.train(100).map(tf.identity), 0, strategy))
    with pytest.raises(ValueError, match="x must not be taken in part under several workers"):
        data.shares.training(digits.train(100).take(3), 0, strategy)


def test_loading_a_run_as_data_names_the_other_load(tmp_path):
    for path in ("runs/digits-1", tmp_path):
        with pytest.raises(ValueError, match=r"name must be one of .*digits, .*: `tfvae.load` reads a run"):
            data.load(path)


def test_batches_are_evaluated_and_validated_on_as_their_dataset(digits):
    """A new dataset for each use, as iterating twice gives two orders of one set."""
    vae = small_vae(digits)
    found = vae.evaluate(digits.train(64), verbose=0)
    np.testing.assert_allclose(found, vae.evaluate(digits.train(64).dataset, verbose=0), rtol=1e-6)
    history = vae.fit(digits.train(64), validation_data=digits.train(64), epochs=1, verbose=0).history
    assert np.isfinite(history["val_elbo"]).all()
    assert vae.predict(digits.train(64), verbose=0).shape == (digits.num_images, *digits.event_shape)
