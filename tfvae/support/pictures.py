"""Picture files as arrays, by one rule for data sets and for what is served: TensorFlow operations alone."""

import tensorflow as tf

from tfvae.support import tensors

MOST_PIXELS = 2**26
# An EXIF entry of the orientation (272 is 0x112), little or big endian, that asks for a rotation or a mirroring.
_ROTATED = (
    r"\C*(Exif\x00\x00|eXIf)"
    r"(II\C*\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]\x00|MM\C*\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08])\C*"
)


def decode(argument: str, content: tf.Tensor, channels: int, size: tuple | None = None, where=()) -> tf.Tensor:
    """A PNG or JPEG file, a string [], as uint8 [H, W, C]; C is 1 for grey, 3 for RGB, 4 for RGBA.

    The content decides, not the name; GIF, BMP, TIFF, WebP and others are refused. So are, before they are decoded:
    files without an end marker, more than 8 bits a channel (fewer bits and palettes are read), CMYK, an EXIF
    orientation that asks for a rotation, and more than 2^26 pixels. What is transparent is composited over white,
    unless C is 4 (what is opaque then gets alpha 255). Grey is 0.299 R + 0.587 G + 0.114 B of the values as stored:
    colour profiles are not applied.

    Args:
        size: the height and width that the header must state, or None.
        where: what an error ends in, strings [].

    Raises:
        InvalidArgumentError: a file that is refused or broken.
    """

    def must(rule, good, *got):
        return tensors.after(good, [f"{argument} must hold {rule}", *got, *where], content)

    is_png = tf.equal(tf.strings.substr(content, 0, 8), b"\x89PNG\r\n\x1a\n")
    is_jpeg = tf.equal(tf.strings.substr(content, 0, 3), b"\xff\xd8\xff")
    # As the message of an error must be UTF-8.
    readable = {"errors": "replace", "replacement_char": ord("?"), "replace_control_characters": True}
    start = tf.strings.unicode_transcode(tf.strings.substr(content, 0, 3), "UTF-8", "UTF-8", **readable)
    start = tf.where(tf.equal(start, ""), "nothing", start)
    content = must("PNG or JPEG files, got one that starts with", is_png | is_jpeg, start)
    of_jpeg_end = tf.size(tf.strings.split(content, b"\xff\xd9")) > 1  # no regular expression: those are of UTF-8
    ends = tf.where(is_png, tf.strings.regex_full_match(content, r"\C*IEND\C*"), of_jpeg_end)
    content = must("whole files, got one that is cut off after bytes:", ends, tf.strings.length(content))
    header = tf.strings.regex_replace(content, r"IDAT\C*", "")  # of a PNG file, what precedes its pixels

    def of_png():
        first = tf.strings.join([tf.strings.substr(header, 0, 26), b"\0" * 26])
        width, height = tf.unstack(tf.io.decode_raw(tf.strings.substr(first, 16, 8), tf.int32, little_endian=False), 2)
        bits, kind = tf.unstack(tf.cast(tf.io.decode_raw(tf.strings.substr(first, 24, 2), tf.uint8), tf.int32), 2)
        has_alpha = (kind >= 4) | tf.strings.regex_full_match(header, r"\C*tRNS\C*")
        return tf.stack([height, width]), bits, tf.constant(3), has_alpha

    def of_jpeg():
        shape = tf.io.extract_jpeg_shape(content)
        return shape[:2], tf.constant(8), shape[2], tf.constant(False)

    pixels, bits, colours, has_alpha = tf.cond(is_png, of_png, of_jpeg)
    if size is not None:
        fits = tf.reduce_all(tf.equal(pixels, size))
        content = must(f"pictures of {size[0]} x {size[1]} pixels, got", fits, pixels)
    fits = tf.reduce_all(pixels > 0) & (tf.reduce_prod(tf.cast(pixels, tf.int64)) <= MOST_PIXELS)
    content = must(f"pictures of 1 to {MOST_PIXELS} pixels, got", fits, pixels)
    content = must("pictures of at most 8 bits a channel, got", bits <= 8, bits)
    content = must("pictures of 1 or 3 colours, not CMYK, got", colours < 4, colours)
    is_upright = ~tf.strings.regex_full_match(content, _ROTATED)
    content = must("upright pictures, got one whose EXIF orientation is not", is_upright, "1")
    colour = tf.io.decode_image(content, channels=min(channels, 3), expand_animations=False)
    if channels == 4:
        opaque = tf.fill(tf.concat([tf.shape(colour)[:2], [1]], 0), tf.constant(255, tf.uint8))
        alpha = tf.cond(has_alpha, lambda: tf.io.decode_png(content, 4)[..., 3:], lambda: opaque)
        return tf.concat([colour, alpha], axis=-1)

    def over_white():
        alpha = tf.cast(tf.io.decode_png(content, 4)[..., 3:], tf.float32) / 255
        return tf.cast(tf.round(tf.cast(colour, tf.float32) * alpha + 255 * (1 - alpha)), tf.uint8)

    return tf.cond(has_alpha, over_white, lambda: colour)
