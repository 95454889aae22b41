import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_vae

from tfvae import serving

SIGNATURES = {"serving_default", "encode", "decode", "generate"}


@pytest.fixture(scope="module")
def exported(trained_vae, tmp_path_factory):
    return serving.export(trained_vae, tmp_path_factory.mktemp("models") / "digits")


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures


def test_the_export_agrees_with_the_model(exported, trained_vae, digits):
    differences = serving.verify(exported, trained_vae, digits.x_test[:50])
    assert differences.keys() == SIGNATURES
    assert max(differences.values()) < 1e-5


def test_a_different_model_does_not_pass_for_it(exported, digits):
    with pytest.raises(ValueError, match="signature serving_default must agree with the model to 1e-5"):
        serving.verify(exported, small_vae(digits, latent_size=4), digits.x_test[:5])


def test_names_and_shapes_are_those_of_the_contract(signatures):
    assert set(signatures) == SIGNATURES
    for name, inputs, outputs in (
        ("serving_default", {"image": [None, 8, 8, 1]}, {"reconstruction": [None, 8, 8, 1], "latent": [None, 4]}),
        ("encode", {"image": [None, 8, 8, 1]}, {"loc": [None, 4], "scale": [None, 4]}),
        ("decode", {"latent": [None, 4]}, {"image": [None, 8, 8, 1]}),
        ("generate", {"seed": [None]}, {"image": [None, 8, 8, 1], "latent": [None, 4]}),
    ):
        signature = signatures[name]
        assert {k: v.shape.as_list() for k, v in signature.structured_input_signature[1].items()} == inputs
        assert {k: v.shape.as_list() for k, v in signature.structured_outputs.items()} == outputs


def test_a_full_covariance_is_served(digits, tmp_path):
    vae = small_vae(digits, posterior="full_normal")
    answer = tf.saved_model.load(str(serving.export(vae, tmp_path))).signatures["encode"](image=digits.x_test[:3])
    np.testing.assert_allclose(answer["scale_tril"], vae.encode(digits.x_test[:3]).scale.to_dense(), atol=1e-6)


def test_a_generated_image_depends_on_its_own_seed_alone(signatures):
    together = signatures["generate"](seed=tf.constant([5, 6, 5, 2**40], tf.int64))
    alone = signatures["generate"](seed=tf.constant([5], tf.int64))
    np.testing.assert_array_equal(together["latent"][0], alone["latent"][0])
    np.testing.assert_array_equal(together["latent"][0], together["latent"][2])
    np.testing.assert_allclose(together["image"][2], alone["image"][0], atol=1e-6)
    assert len({row.tobytes() for row in together["latent"].numpy()}) == 3


@pytest.mark.parametrize(("value", "message"), [(np.nan, "image must be finite"), (2.0, r"image must be in \[0, 1\]")])
def test_bad_pixels_are_refused_in_the_graph(signatures, digits, value, message):
    bad = digits.x_test[:2].copy()
    bad[0, 0, 0, 0] = value
    for name in ("serving_default", "encode"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            signatures[name](image=tf.constant(bad))
        signatures[name](image=tf.constant(digits.x_test[:2]))


def test_versions_count_up_and_nothing_is_overwritten(trained_vae, tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "kept").write_text("1")
    (tmp_path / "notes").mkdir()
    assert serving.export(trained_vae, tmp_path) == tmp_path / "4"
    assert serving.versions(tmp_path) == [3, 4]
    assert (tmp_path / "3" / "kept").exists()


def test_it_loads_where_nothing_but_tensorflow_does(exported, trained_vae, digits, tmp_path):
    np.save(tmp_path / "x.npy", digits.x_test[:4])
    code = f"""
import sys
for name in ("tfvae", "tensorflow_probability", "tf_keras"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
x = np.load({str(tmp_path / "x.npy")!r})
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta = tf.compat.v1.saved_model.load(session, ["serve"], {str(exported)!r})
    signature = meta.signature_def["serving_default"]
    answer = session.run(signature.outputs["reconstruction"].name, {{signature.inputs["image"].name: x}})
np.save({str(tmp_path / "y.npy")!r}, answer)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), trained_vae.reconstruct(digits.x_test[:4]), atol=1e-6)


def test_the_graph_holds_no_python_and_no_xla(exported):
    content = (pathlib.Path(exported) / "saved_model.pb").read_bytes()
    for forbidden in (b"PyFunc", b"EagerPyFunc", b"_XlaMustCompile"):
        assert forbidden not in content
