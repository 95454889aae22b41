"""Binary shapes of known factors."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfvae.data.sprites import FACTOR_SIZES, Sprites

SQUARE, ELLIPSE, HEART = 0, 1, 2
MIDDLE = 15


@functools.cache
def sprites(size):
    return Sprites(size)


def drawn(size, *factors):
    """Images [n, size, size] of integer factors, each a number or [n]."""
    numbers = np.ravel_multi_index(np.broadcast_arrays(*np.atleast_1d(*factors)), FACTOR_SIZES)
    return sprites(size).gather(tf.constant(numbers)).numpy()[..., 0]


def by_hand(size, shape, scale, orientation, x, y, samples=16):
    """An image's coverage by black, [size, size], from the definition: one image, many samples a pixel."""
    places = (np.arange(size * samples) + 0.5) / samples * 64 / size
    right, up = places - 16.5 - x, -(places - 16.5 - y)[:, np.newaxis]
    angle, unit = 2 * np.pi * orientation / 40, 21 * (0.5 + 0.1 * scale)
    u = (np.cos(angle) * right + np.sin(angle) * up) / unit
    v = (-np.sin(angle) * right + np.cos(angle) * up) / unit
    if shape == SQUARE:
        inside = np.maximum(abs(u), abs(v)) <= 0.5
    elif shape == ELLIPSE:
        inside = (u / np.sqrt(1.7 / np.pi)) ** 2 + (v / np.sqrt(1 / (1.7 * np.pi))) ** 2 <= 1
    else:
        u, v = u * np.sqrt(3.662), v * np.sqrt(3.662) + 0.2935
        inside = (u**2 + v**2 - 1) ** 3 - u**2 * v**3 <= 0
    return inside.reshape(size, samples, size, samples).mean(axis=(1, 3))


def test_the_full_grid_has_the_size_of_dsprites():
    assert len(sprites(64)) == len(sprites(32)) == 737_280 == 3 * 6 * 40 * 32 * 32


@pytest.mark.parametrize("size", [32, 64])
def test_images_are_what_their_factors_say(size):
    rng = np.random.default_rng(size)
    for row in rng.integers(0, FACTOR_SIZES, (12, 5)):
        image, coverage = drawn(size, *row)[0], by_hand(size, *row)
        assert set(np.unique(image)) == {0, 1}
        clear = np.abs(coverage - 0.5) > 0.15  # a pixel is drawn of 16 samples
        np.testing.assert_array_equal(image[clear], coverage[clear] > 0.5)
        assert clear.mean() > 0.96


def test_graphs_and_xla_draw_the_same_bits():
    numbers = tf.constant(np.random.default_rng(0).integers(0, 737_280, 200))
    for size in (32, 64):
        eager = sprites(size).gather(numbers).numpy()
        for jit in (False, True):
            compiled = tf.function(sprites(size).gather, jit_compile=jit)
            np.testing.assert_array_equal(compiled(numbers), eager)
        np.testing.assert_array_equal(Sprites(size).gather(numbers), eager)


@pytest.mark.parametrize(("size", "step"), [(64, 1), (32, 2)])
def test_positions_shift_by_whole_pixels(size, step):
    rng = np.random.default_rng(1)
    shape, scale, orientation = rng.integers(0, FACTOR_SIZES[:3], (50, 3)).T
    x, y = rng.integers(0, 32 - 3 * step, (2, 50))
    first = drawn(size, shape, scale, orientation, x, y)
    np.testing.assert_array_equal(drawn(size, shape, scale, orientation, x + 3 * step, y), np.roll(first, 3, axis=2))
    np.testing.assert_array_equal(drawn(size, shape, scale, orientation, x, y + 3 * step), np.roll(first, 3, axis=1))


def test_shapes_stay_inside():
    """At the corners of the positions no image has lost a pixel: there are as many as in the middle."""
    shape, scale, orientation = np.indices(FACTOR_SIZES[:3]).reshape(3, -1)
    for size in (32, 64):
        for x in (0, 31):
            for y in (0, 31):
                middle = 14 + x % 2, 14 + y % 2  # where it lies in the same way between pixels
                corner = drawn(size, shape, scale, orientation, x, y)
                counts = drawn(size, shape, scale, orientation, *middle).sum(axis=(1, 2))
                np.testing.assert_array_equal(corner.sum(axis=(1, 2)), counts)


@pytest.mark.parametrize("size", [32, 64])
def test_symmetries_and_only_they_make_images_equal(size):
    """A square looks the same after 90 degrees, an ellipse after 180, a heart after 360."""
    orientations = np.arange(40)
    for shape, period in ((SQUARE, 10), (ELLIPSE, 20), (HEART, 40)):
        for scale in range(6):
            images = drawn(size, shape, scale, orientations, MIDDLE, MIDDLE)
            np.testing.assert_array_equal(images[: 40 - period], images[period:])
            # The smallest shapes of 32 x 32 are too coarse to tell all orientations.
            assert (size == 32 and scale == 0) or len({image.tobytes() for image in images}) == period


@pytest.mark.parametrize(("size", "smallest"), [(32, 1), (64, 0)])
def test_every_step_of_every_factor_changes_the_image(size, smallest):
    rows = np.random.default_rng(2).integers((0, smallest, 0, 0, 0), FACTOR_SIZES, (300, 5))
    before = drawn(size, *rows.T)
    for factor, count in enumerate(FACTOR_SIZES):
        moved = rows.copy()
        moved[:, factor] = (moved[:, factor] + 1) % count
        assert np.any(before != drawn(size, *moved.T), axis=(1, 2)).all()


def test_no_two_images_of_a_small_grid_are_equal_but_by_symmetry():
    """Of 8 orientations a square shows 2, an ellipse 4, a heart 8."""
    images = Sprites(32, (3, 6, 8, 4, 4)).gather(tf.range(3 * 6 * 8 * 4 * 4)).numpy()
    assert len({image.tobytes() for image in images}) == 6 * (2 + 4 + 8) * 4 * 4


def test_area_grows_with_the_square_of_the_scale_whatever_the_shape():
    for shape in (SQUARE, ELLIPSE, HEART):
        for scale in range(6):
            area = drawn(64, shape, scale, np.arange(40), MIDDLE, MIDDLE).sum(axis=(1, 2)).mean()
            assert abs(area / (21 * (0.5 + 0.1 * scale)) ** 2 - 1) < 0.02


def test_a_heart_stands_on_its_tip_and_turns_anticlockwise():
    upright, left = drawn(64, HEART, 5, [0, 10], MIDDLE, MIDDLE)
    rows, columns = np.flatnonzero(upright.any(axis=1)), np.flatnonzero(left.any(axis=0))
    assert upright[rows[-1]].sum() < 4 < upright[rows[0]].sum()
    assert left[:, columns[-1]].sum() < 4 < left[:, columns[0]].sum()
    # x = 15 has its centre at pixel 31, counted from 0: left and right of it the heart is the same.
    np.testing.assert_array_equal(upright[:, :31], upright[:, 32:63][:, ::-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 28}, "image_size must be one of 32, 64, got 28"),
        ({"factor_sizes": (3, 6, 7, 8, 8)}, r"factor_sizes must divide \(3, 6, 40, 32, 32\), one by one, got"),
        ({"factor_sizes": (3, 6, 0, 8, 8)}, r"factor_sizes must divide .* got \(3, 6, 0, 8, 8\)"),
        ({"factor_sizes": (3, 6, 8)}, r"factor_sizes must divide .* got \(3, 6, 8\)"),
    ],
)
def test_bad_grids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sprites(**arguments)


def test_a_smaller_grid_is_a_part_of_the_full_one_evenly_spaced():
    small = Sprites(32, (3, 2, 8, 4, 1))
    factors = np.indices(small.factor_sizes).reshape(5, -1)
    shape, scale, orientation, x, y = factors
    expected = drawn(32, shape, 1 + 3 * scale, 5 * orientation, 3 + 8 * x, 15 + y)
    np.testing.assert_array_equal(small.gather(tf.range(len(small)))[..., 0], expected)
