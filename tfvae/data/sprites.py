"""Binary images of a square, an ellipse or a heart, made from five factors when they are read: no download.

The factors and their grid are those of dSprites (Matthey et al. 2017, github.com/deepmind/dsprites-dataset); the
drawing is ours. A shape in one size and orientation is drawn once: as one word of bits for each row of pixels. An image
is that drawing moved: down by reading its words from further up, to the right by shifting their bits.
"""

import functools
import math

import numpy as np
import tensorflow as tf

FACTOR_NAMES = ("shape", "scale", "orientation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)

# Lengths are in 64ths of an image. All shapes of one scale have the same area, so that area does not reveal the shape.
_UNITS = 21 * np.linspace(0.5, 1, 6)  # the roots of the areas
# Quarter turns are exact, so that a square turned by one is the same square.
_TURNS = (np.array([1, 1j, -1, -1j])[:, np.newaxis] * np.exp(2j * np.pi * np.arange(10) / 40)).ravel()
# The centre at x = 0; at x = 31 it is as far from the other side, and every shape stays inside.
_FIRST_CENTRE = 16.5
# A pixel is black if half of its 4 x 4 samples are.
_SAMPLES = 4


class Sprites:
    """The images of a grid of factors, numbered row by row: the last factor, y, changes quickest.

    The shapes are square, ellipse and heart; the scale goes from 0.5 to 1; the orientation is a multiple of 9 degrees,
    anticlockwise; the centre lies at (16.5 + x, 16.5 + y) 64ths of the image from the left and from the top. So one
    step of x or y is one pixel of 64 x 64, and half a pixel of 32 x 32. A square looks the same after 90 degrees, an
    ellipse after 180. All other images differ, except one in twenty neighbouring orientations of the smallest ellipses
    and hearts of 32 x 32.

    Args:
        image_size: 64 or 32, pixels a side.
        factor_sizes: how many values of each factor, which must divide `FACTOR_SIZES`: evenly spaced out of the full
            grid, orientations from 0, the others from the middle of the values that they stand for.
    """

    levels = np.array([0, 1], np.float32)

    def __init__(self, image_size=64, factor_sizes=FACTOR_SIZES):
        if image_size not in (32, 64):
            raise ValueError(f"image_size must be one of 32, 64, got {image_size!r}")
        sizes = tuple(factor_sizes)
        fits = len(sizes) == len(FACTOR_SIZES) and all(isinstance(size, int | np.integer) for size in sizes)
        if not fits or any(size < 1 or full % size for size, full in zip(sizes, FACTOR_SIZES, strict=True)):
            raise ValueError(f"factor_sizes must divide {FACTOR_SIZES}, one by one, got {factor_sizes!r}")
        self.factor_sizes = sizes = tuple(int(size) for size in sizes)
        self.event_shape = (image_size, image_size, 1)
        # Of each factor: how many values, the first of them on the full grid, and the step to the next.
        steps = [full // size for size, full in zip(sizes, FACTOR_SIZES, strict=True)]
        firsts = [0 if name == "orientation" else (s - 1) // 2 for name, s in zip(FACTOR_NAMES, steps, strict=True)]
        self._spacings = list(zip(sizes, firsts, steps, strict=True))
        words = _drawings(image_size)
        self._rows_a_drawing = words.shape[1]
        self._words = tf.constant(words.ravel())  # a tensor: captured by reference, as in `epochs`
        # Eight pixels at a time, by their byte: the quickest of four ways that were timed.
        octets = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], 1, bitorder="little")
        self._octets = tf.constant(octets, tf.float32)

    def __len__(self):
        return math.prod(self.factor_sizes)

    def gather(self, numbers):
        """The images of these numbers: [B] -> float32 [B, H, W, 1]."""
        size = self.event_shape[0]
        pitch = 64 // size
        values, rest = [], tf.cast(numbers, tf.int32)
        for count, first, step in reversed(self._spacings):
            values.append(first + step * (rest % count))  # on the full grid
            rest //= count
        y, x, orientation, scale, shape = values  # [B] each
        drawing = (shape * FACTOR_SIZES[1] + scale) * FACTOR_SIZES[2] + orientation
        drawing = (drawing * pitch + y % pitch) * pitch + x % pitch
        top = (drawing + 1) * self._rows_a_drawing - size - y // pitch
        words = tf.gather(self._words, top[:, tf.newaxis] + tf.range(size))  # [B, H]
        words = tf.bitwise.left_shift(words, tf.cast(x // pitch, words.dtype)[:, tf.newaxis])
        pixels = tf.gather(self._octets, tf.cast(tf.bitcast(words, tf.uint8), tf.int32))  # [B, H, W / 8, 8]
        return tf.reshape(pixels, [-1, *self.event_shape])


@functools.cache
def _drawings(size):
    """Each shape, scale, orientation and place between pixels (y, x), as words: [drawings, rows].

    The lowest bit of a word is the leftmost pixel. The empty rows above each drawing are read when it moves down.
    """
    pitch = 64 // size
    width = size // 2 + 1
    places = (np.arange(width * _SAMPLES) + 0.5) / _SAMPLES * pitch - _FIRST_CENTRE
    pixels = np.empty([*FACTOR_SIZES[:3], pitch, pitch, width, width], bool)
    for orientation, turn in enumerate(_TURNS):
        for y, x in np.ndindex(pitch, pitch):
            turned = np.conj(turn) * (places - x - 1j * (places - y)[:, np.newaxis])
            for shape, inside in enumerate(_SHAPES):
                for scale, unit in enumerate(_UNITS):
                    samples = inside(turned.real / unit, turned.imag / unit)
                    shares = samples.reshape(width, _SAMPLES, width, _SAMPLES).mean(axis=(1, 3))
                    pixels[shape, scale, orientation, y, x] = shares >= 0.5
    word = np.dtype(f"uint{size}")
    words = (pixels << np.arange(width, dtype=word)).sum(axis=-1, dtype=word).reshape(-1, width)
    return np.pad(words, ((0, 0), (size // 2 - 1, size - width)))  # size // 2 - 1 pixels from first to last position


def _in_heart(u, v):
    """(u^2 + v^2 - 1)^3 <= u^2 v^3, whose area is 3.662 and whose centre of mass lies at v = 0.2935."""
    u, v = math.sqrt(3.662) * u, math.sqrt(3.662) * v + 0.2935
    return (u**2 + v**2 - 1) ** 3 <= u**2 * v**3


# Square, ellipse and heart of area 1 about their centre of mass; u to the right, v upwards.
_SHAPES = (
    lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.5,
    lambda u, v: u**2 / 1.7 + v**2 * 1.7 <= 1 / np.pi,  # semi-axes sqrt(1.7 / pi) and sqrt(1 / (1.7 pi))
    _in_heart,
)
