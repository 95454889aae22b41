"""Order and binarization of images in memory."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfvae.data.epochs import Epochs, Stored, random_bits


def draws(levels, max_level, num_steps, dtype=np.uint8):
    """[num_steps, N]: the same row of grey levels, binarized again and again."""
    images = np.asarray(levels, dtype).reshape(1, 1, -1, 1)
    epochs = Epochs(Stored(images), max_level=max_level, stochastic=True, seed=3)
    steps = tf.range(num_steps, dtype=tf.int64)
    read = tf.function(lambda: tf.map_fn(lambda i: epochs.read(tf.zeros([], tf.int64), i, [0]), steps, tf.float32))
    return read().numpy().reshape(num_steps, -1)


@pytest.mark.parametrize(("max_level", "dtype"), [(255, np.uint8), (16, np.uint8), (1, np.float32)])
def test_a_pixel_is_one_as_often_as_it_is_grey(max_level, dtype):
    levels = np.linspace(0, max_level, 33).astype(dtype)
    x = draws(levels, max_level, 4000, dtype)
    grey = levels / max_level
    assert set(np.unique(x)) == {0, 1}
    assert x[:, grey == 0].max() == 0 and x[:, grey == 1].min() == 1
    inner = (grey > 0) & (grey < 1)
    z = (x.mean(0) - grey)[inner] / np.sqrt(grey * (1 - grey) / len(x))[inner]
    assert np.abs(z).max() < 4.5 and 0.5 < z.std() < 1.6


def test_pixels_and_steps_are_drawn_independently():
    x = draws(np.full(64, 128), 255, 4000)
    assert np.abs(np.corrcoef(x.T) - np.eye(64)).max() < 5 / np.sqrt(4000)
    following = [np.corrcoef(x[:-1, i], x[1:, i])[0, 1] for i in range(64)]
    assert np.abs(following).max() < 5 / np.sqrt(4000)


def test_bits_are_uniform_in_every_byte_and_change_by_half_with_the_seed():
    words = random_bits([200_000], [1, 2]).numpy()
    for byte in words.view(np.uint8).reshape(-1, 4).T:
        assert stats.chisquare(np.bincount(byte, minlength=256)).pvalue > 1e-4
    for seed in ([1, 3], [2, 2]):
        flipped = np.unpackbits((words ^ random_bits([200_000], seed).numpy()).view(np.uint8)).mean()
        assert abs(flipped - 0.5) < 0.002
    assert abs(np.corrcoef(words[:-1], words[1:])[0, 1]) < 5 / np.sqrt(len(words))


@pytest.mark.parametrize("seeds", [([7, 2985], [7, 553]), ([7, 3214], [7, 2632]), ([0, 1], [0, 2])])
def test_two_steps_share_no_words(seeds):
    """The first two pairs share all but 300 words, shifted, where one key of the hash is the same for all seeds."""
    first, second = (random_bits([100_000], seed).numpy() for seed in seeds)
    # 2.3 of the 10^10 pairs of words are equal by chance.
    assert len(np.intersect1d(first, second)) < 15


def test_compiled_bits_are_the_same():
    compiled = tf.function(random_bits, jit_compile=True)
    np.testing.assert_array_equal(compiled(tf.constant([3, 5]), tf.constant([7, 8])), random_bits([3, 5], [7, 8]))
