import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from conftest import ROOT

import tfvae
from tfvae import serving
from tfvae.cli import main

EXPORT = ROOT / "saved_models" / "digits" / "1"


def test_a_litert_file_answers_as_the_model(tmp_path, digits):
    path = tmp_path / "digits.tflite"
    done = CliRunner().invoke(main, ["litert", str(EXPORT), "--to", str(path)])
    assert done.exit_code == 0 and done.output.startswith(f"{path}: serving_default, encode, decode, 0.")
    interpreter = tf.lite.Interpreter(model_path=str(path))
    vae, x = tfvae.pretrained("digits"), digits.x_test[:7]
    answer = interpreter.get_signature_runner("serving_default")(image=x)
    np.testing.assert_allclose(answer["reconstruction"], vae.reconstruct(x), atol=1e-5)
    qz_x = vae.encode(x)
    found = interpreter.get_signature_runner("encode")(image=x)
    np.testing.assert_allclose(found["loc"], qz_x.mean(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["scale"], qz_x.stddev(), rtol=1e-5, atol=1e-5)
    z = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    image = interpreter.get_signature_runner("decode")(latent=z)["image"]
    np.testing.assert_allclose(image, vae.decode(z).mean(), atol=1e-5)


def test_what_is_no_export_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="path must be a version's directory with a saved_model"):
        serving.to_litert(tmp_path, tmp_path / "a.tflite")
    assert not list(tmp_path.iterdir())
