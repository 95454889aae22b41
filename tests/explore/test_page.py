"""The page of `tfvae explore`: whole without a network; its decoder is the model's, in a browser where there is one."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from conftest import ROOT, small_recipe

import tfvae
from tfvae import data, explore, recipes
from tfvae.cli import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SHAPE = (7, 5, 3)


def arrays(shape):
    x = np.random.default_rng(0).integers(0, 256, [40, *shape]).astype(np.uint8)
    return data.from_arrays(x, x, np.arange(40) % 3, np.arange(40) % 3)


def model(found, **fields):
    recipe = small_recipe(**{"activation": "elu", "latent_size": 3, "batch_size": 8} | fields).complete(found)
    vae = recipes.build(recipe)
    for variable in vae.trainable_variables:  # biases are zero at the start
        variable.assign_add(0.1 * np.random.default_rng(1).normal(size=variable.shape))
    return vae


CASES = {
    "bits": ((6, 6, 1), {"likelihood": "binomial", "activation": "gelu"}),
    "levels": (SHAPE, {"network": "conv", "likelihood": "discretized_logistic", "activation": "relu"}),
    "kernels of 4": (SHAPE, {"network": "conv", "likelihood": "binomial", "kernel_size": 4, "dense_sizes": (5,)}),
    "normal": (SHAPE, {"likelihood": "normal", "activation": "swish", "prior": "normal_mixture"}),
}


@pytest.fixture(scope="module", params=CASES)
def page(request, tmp_path_factory):
    shape, fields = CASES[request.param]
    found = arrays(shape)
    path = tmp_path_factory.mktemp("page") / "page.html"
    return explore.write(model(found, **fields), path, found, title="a <b> & c"), fields


def content(path):
    return json.loads(re.search(r'type="application/json">(.*?)</script>', path.read_text(), re.DOTALL)[1])


def test_a_page_needs_nothing_else(page):
    path, fields = page
    text = path.read_text()
    assert not re.search(r"https?://|src=\"(?!data:)|@import|fetch\(", text)
    assert "<title>a &lt;b> &amp; c" in text
    found = content(path)
    assert found["standard_prior"] == ("prior" not in fields)
    assert np.shape(found["loc"]) == np.shape(found["scale"]) == (40, 3) and len(found["labels"]) == 40
    assert found["images"].startswith("data:image/png;base64,")


def test_a_page_holds_the_decoders_weights(digits, tmp_path):
    vae = model(digits, activation="tanh")
    found = content(explore.write(vae, tmp_path / "page.html", digits))
    z = np.array(found["places"])
    numbers = np.frombuffer(base64.b64decode(found["decoder"]["weights"]), "<f4").astype(np.float64)
    for layer in found["decoder"]["layers"]:
        (n,), (m,) = layer["in"], layer["out"]
        kernel, bias, numbers = np.split(numbers, [n * m, n * m + m])
        z = z @ kernel.reshape(n, m) + bias
        z = np.tanh(z) if layer["activation"] == "tanh" else z
    assert numbers.size == 0
    np.testing.assert_allclose(1 / (1 + np.exp(-z)), found["answers"], atol=1e-5)


@pytest.mark.skipif(BROWSER is None, reason="needs a browser")
def test_in_a_browser_the_decoder_is_the_models(page, tmp_path):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", page[0].as_uri()]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert float(re.search('data-largest-difference="(.*?)"', seen)[1]) < 1e-4
    assert "Checked: this page" in seen and "Test picture 2, labelled 1" in seen
    assert len(re.findall('aria-label="Test picture [0-9]', seen)) == 40
    hole = "log q - log p" in re.search('<p id="said".*?</p>', seen, re.DOTALL)[0]
    assert hole == ("prior" not in page[1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conditional": True}, "vae must be unconditional, got one of 10 classes"),
        ({"likelihood": "continuous_bernoulli"}, "likelihood whose mean the page can compute, got ContinuousBernoulli"),
        ({"activation": "selu"}, "activation must be one of linear, .*, got 'selu'"),
    ],
)
def test_other_models_are_refused_and_nothing_is_written(digits, tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        explore.write(model(digits, **fields), tmp_path / "page.html", digits)
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_the_page_beside_the_run(digits, tmp_path):
    tfvae.save(model(digits), tmp_path / "run")
    told = CliRunner().invoke(main, ["explore", str(tmp_path / "run")])
    assert told.exit_code == 0 and "explore.html: 0." in told.output, told.output
    assert content(tmp_path / "run/explore.html")["title"] == "digits"


def test_the_page_in_docs_is_of_the_exported_model():
    """Of its weights: the decoder that is served gives the page's own answers."""
    found = content(ROOT / "docs/explore.html")
    assert (ROOT / "docs/explore.html").stat().st_size < 3_000_000
    served = tf.saved_model.load(str(ROOT / "saved_models/mnist10k/1")).signatures["decode"]
    image = served(latent=tf.constant(found["places"], tf.float32))["image"]
    np.testing.assert_allclose(np.reshape(image, [3, -1]), found["answers"], atol=1e-5)
