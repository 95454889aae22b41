import numpy as np
import pytest
import tensorflow as tf

from tfvae import networks


@pytest.mark.parametrize("shape", [(8, 8, 1), (5,), (4, 6)])
def test_mlp_maps_any_input_shape_to_its_last_size(shape):
    assert networks.mlp(shape, [7, 3])(tf.zeros([2, *shape])).shape == (2, 3)


def test_mlp_without_hidden_layers_is_the_identity():
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    body = networks.mlp((2, 3), [])
    assert not body.weights
    np.testing.assert_array_equal(body(x), x.reshape(2, 6))


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (30, 25, 3)])
def test_convolutions_go_down_and_up_again(shape):
    assert networks.conv(shape, (4, 5))(tf.zeros([2, *shape])).shape == (2, -(-shape[0] // 4) * -(-shape[1] // 4) * 5)
    assert networks.transposed_conv((3,), shape, (5, 4))(tf.zeros([2, 3])).shape == (2, *shape[:2], 4)


def test_dense_layers_follow_the_convolutions_and_come_before_the_transposed_ones():
    down = networks.conv((8, 8, 1), (4,), kernel_size=4, dense_sizes=(7, 6))
    up = networks.transposed_conv((3,), (8, 8, 1), (4,), kernel_size=4, dense_sizes=(6, 7))
    assert down(tf.zeros([2, 8, 8, 1])).shape == (2, 6) and up(tf.zeros([2, 3])).shape == (2, 8, 8, 4)
    assert [w.shape for w in down.weights[::2]] == [(4, 4, 1, 4), (64, 7), (7, 6)]
    assert [w.shape for w in up.weights[::2]] == [(3, 6), (6, 7), (7, 64), (4, 4, 4, 4)]


def test_a_seed_fixes_the_weights_and_layers_do_not_share_them():
    first, second = (networks.mlp((4,), [4, 4], seed=3).get_weights() for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(first[0], first[2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.mlp((4,), [0]), "hidden_sizes must be an integer of at least 1, got 0"),
        (lambda: networks.conv((8, 8), (4,)), r"input_shape must be \(height, width, channels\), got \(8, 8\)"),
        (lambda: networks.conv((8, 8, 1), (0,)), "filters must be an integer of at least 1, got 0"),
        (lambda: networks.conv((8, 8, 1), (4,), 0), "kernel_size must be an integer of at least 1, got 0"),
        (
            lambda: networks.conv((8, 8, 1), (4,), dense_sizes=(0,)),
            "dense_sizes must be an integer of at least 1, got 0",
        ),
        (lambda: networks.transposed_conv((2,), (8, 8), (4,)), r"image_shape must be .*, got \(8, 8\)"),
    ],
)
def test_bad_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
