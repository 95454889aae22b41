import numpy as np
import pytest
import tensorflow as tf

from tfvae.seeds import fold_in, stateless_seed


def test_an_integer_and_its_pair_are_the_same_seed():
    np.testing.assert_array_equal(stateless_seed(stateless_seed(5)), stateless_seed(5))


def test_seeds_of_64_bits_differ_in_either_half():
    pairs = {tuple(stateless_seed(seed).numpy()) for seed in (0, 1, 2**32, 2**32 + 1, -1)}
    assert len(pairs) == 5


def test_fold_in_separates_sequences_and_repeats_itself():
    sequences = [(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1)]
    pairs = {tuple(fold_in(7, *numbers).numpy()) for numbers in sequences}
    assert len(pairs) == len(sequences)
    np.testing.assert_array_equal(fold_in(7, 3, 4), fold_in(7, tf.constant(3, tf.int64), tf.constant(4)))


@pytest.mark.parametrize("seed", [None, 1.5, (0.0, 1.0)])
def test_other_seeds_are_refused(seed):
    with pytest.raises(ValueError, match=r"seed must be an integer or a pair of integers, got"):
        stateless_seed(seed)
