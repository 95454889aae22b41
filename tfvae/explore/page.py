"""The page: a template filled with a decoder, codes of test images, and answers to check itself by."""

import base64
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfvae.diagnostics import measure
from tfvae.explore.decoder import described
from tfvae.support import files
from tfvae.support.rules import TestSet, checked

_MAX_IMAGES, _MAX_PIXELS = 600, 600_000  # of the strip of test images, in all
_PLACES = 3  # where the page checks its decoder


@checked
def write(vae, path, data: TestSet, *, title: str = "tfvae") -> pathlib.Path:
    """Writes a self-contained page on which a model's latent space can be walked; gives its path.

    The page draws a plane of two latents with the codes of test images by label, over log q(z) - log p(z), where q(z)
    is the mean of their q(z|x); what the decoder makes of the place; a slider for each latent; morphs between two
    images. Its decoder runs in the reader's browser, on the model's float32 weights, and checks itself against answers
    of the model at three places.

    >>> digits = tfvae.data.load("digits")
    >>> vae = tfvae.build(tfvae.Recipe(data="digits", hidden_sizes=(8,)).complete(digits))
    >>> tfvae.explore.write(vae, "page.html", digits).stat().st_size < 1_000_000
    True

    Args:
        vae: a `VAE` whose decoder is an `mlp` or a `transposed_conv` with a likelihood of bits, grey levels (not
            mixtures), normal or Laplace.
        path: of the .html file, which is replaced.
        data: its first test images are shown, as many as fit into 600 kB.

    Raises:
        ValueError: a conditional model, other pieces, images without three axes, other data than the model's.
    """
    path = files.local("path", path)
    if vae.num_classes:
        raise ValueError(f"vae must be unconditional, got one of {vae.num_classes} classes")
    if len(vae.event_shape) != 3 or vae.event_shape[2] not in (1, 3):
        raise ValueError(f"vae must decode images of 1 or 3 channels, got event_shape {vae.event_shape}")
    if tuple(data.event_shape) != tuple(vae.event_shape):
        raise ValueError(f"data must be of shape {vae.event_shape}, got {data.event_shape}")
    decoder = described(vae)
    x = data.x_test[: min(_MAX_IMAGES, max(10, _MAX_PIXELS // int(np.prod(vae.event_shape))))]
    qz_x = vae.encode(x)
    loc, scale = qz_x.mean().numpy(), qz_x.stddev().numpy()
    places = np.concatenate([loc[: _PLACES - 1], np.zeros([1, vae.latent_size], np.float32)])
    diagonal = isinstance(vae.prior, tfd.MultivariateNormalDiag)
    standard = diagonal and bool(np.all(vae.prior.mean() == 0) and np.all(vae.prior.stddev() == 1))
    content = {
        "title": title,
        "decoder": decoder,
        "loc": _rounded(loc),
        "scale": _rounded(scale),
        "labels": None if data.y_test is None else [str(label) for label in data.y_test[: len(x)]],
        "names": list(data.label_names),
        "bound": _rounded(measure(vae, x, 100).log_evidence, 1),
        "images": _strip(x),
        "standard_prior": standard,
        "places": places.tolist(),
        "answers": np.round(vae.decode(places).mean().numpy().reshape(len(places), -1), 6).tolist(),
    }
    template = pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    text = json.dumps(content, separators=(",", ":")).replace("</", "<\\/")
    page = template.replace("__TITLE__", title.replace("&", "&amp;").replace("<", "&lt;")).replace("__CONTENT__", text)
    files.write_bytes(path, page.encode())
    return path


def _rounded(values, digits=3) -> list[Any]:
    return np.round(np.asarray(values, np.float64), digits).tolist()


def _strip(x) -> str:
    """All images below each other, as a PNG in a data: address."""
    rows = np.round(np.clip(np.concatenate(np.asarray(x)), 0, 1) * 255).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(tf.io.encode_png(rows, compression=9).numpy()).decode()
