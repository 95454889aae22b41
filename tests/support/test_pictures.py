"""The rule by which picture files are read, against Pillow's reading of the same files."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfvae.support import pictures

READERS = {
    channels: tf.function(
        lambda content, channels=channels: pictures.decode("x", content, channels, where=["in a.png"]),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    for channels in (1, 3, 4)
}
RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8))


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content, channels=3):
    return READERS[channels](content).numpy()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "1"), ("JPEG", "RGB"), ("JPEG", "L")]
)
def test_an_opaque_picture_is_as_pillow_reads_it(kind, mode):
    content = file_of(RGB.convert(mode), kind)
    reference = Image.open(io.BytesIO(content)).convert("RGB")
    np.testing.assert_allclose(read(content).astype(int), np.asarray(reference), atol=4 if kind == "JPEG" else 0)
    np.testing.assert_allclose(read(content, 1)[..., 0].astype(int), np.asarray(reference.convert("L")), atol=4)
    np.testing.assert_array_equal(read(content, 4)[..., 3], 255)  # 1 bit a channel too


ALPHA = np.random.default_rng(1).integers(0, 256, (5, 7, 1)).astype(np.uint8)
PALETTE = RGB.quantize(8)
TRANSPARENT = {
    "RGBA": (Image.fromarray(np.concatenate([np.asarray(RGB), ALPHA], axis=-1)), {}),
    "LA": (Image.fromarray(np.concatenate([np.asarray(RGB)[..., :1], ALPHA], axis=-1)), {}),
    "palette": (PALETTE, {"transparency": 3}),
    "grey": (RGB.convert("L"), {"transparency": int(np.asarray(RGB.convert("L"))[2, 2])}),
    "colour": (RGB, {"transparency": RGB.getpixel((2, 2))}),
    "black on nothing": (Image.new("RGBA", (7, 5), (0, 0, 0, 0)), {}),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_lies_over_white(name):
    image, options = TRANSPARENT[name]
    content = file_of(image, **options)
    whole = Image.open(io.BytesIO(content)).convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    assert np.asarray(whole)[..., 3].min() < 255
    np.testing.assert_allclose(read(content).astype(int), np.asarray(white), atol=1)
    np.testing.assert_allclose(read(content, 1)[..., 0].astype(int), np.asarray(white.convert("L")), atol=2)
    np.testing.assert_array_equal(read(content, 4), np.asarray(whole))


def png(width, height, pixels):
    """A grey PNG file of that header and these bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


REFUSED = {
    "16 bits": (file_of(Image.fromarray(np.full((2, 2), 40000, np.uint16))), "at most 8 bits a channel, got] [16]"),
    "CMYK": (file_of(RGB.convert("CMYK"), "JPEG"), "pictures of 1 or 3 colours, not CMYK, got] [4]"),
    "rotated JPEG": (
        file_of(RGB, "JPEG", exif=exif(6)),
        "upright pictures, got one whose EXIF orientation is not] [1]",
    ),
    "rotated PNG": (file_of(RGB, exif=exif(3)), "upright pictures"),
    "rotated PNG, late": (file_of(RGB, exif=exif(6), icc_profile=bytes(range(250)) * 30), "upright pictures"),
    "rotated JPEG, late": (file_of(RGB, "JPEG", exif=exif(6), icc_profile=bytes(range(250)) * 30), "upright pictures"),
    "GIF": (file_of(RGB, "GIF"), "PNG or JPEG files, got one that starts with] [GIF]"),
    "BMP": (file_of(RGB, "BMP"), "PNG or JPEG files, got one that starts with] [BM"),
    "TIFF": (file_of(RGB, "TIFF"), "PNG or JPEG files"),
    "WebP": (file_of(RGB, "WEBP"), "PNG or JPEG files"),
    "not UTF-8": (b"BM\x8a", "got one that starts with] [BM?]"),
    "empty": (b"", "got one that starts with] [nothing]"),
    "the signature alone": (b"\x89PNG\r\n\x1a\n", "whole files, got one that is cut off after bytes:] [8]"),
    "half a PNG": (file_of(RGB)[:-30], "whole files, got one that is cut off after bytes"),
    "half a JPEG": (file_of(RGB, "JPEG")[:-30], "whole files, got one that is cut off after bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused(name):
    content, message = REFUSED[name]
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        read(content)
    assert message in caught.value.message
    assert "[in a.png]" in caught.value.message or "half" in name


def test_an_upright_orientation_is_read():
    for content in (file_of(RGB, "JPEG", exif=exif(1)), file_of(RGB, exif=exif(1))):
        assert read(content).shape == (5, 7, 3)


def test_a_small_file_of_many_pixels_is_refused_by_its_header():
    content = png(20_000, 20_000, bytes(20_001 * 2_000))
    started = time.perf_counter()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"1 to 67108864 pixels, got\] \[20000 20000\]"):
        read(content)
    assert time.perf_counter() - started < 0.5
