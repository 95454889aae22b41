"""The contract of what is served, as a server meets it: a v1 Session, which checks nothing before the graph does."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_vae
from served import Served
from tensorflow.core.protobuf import saved_model_pb2

import tfvae
from tfvae import diagnostics, likelihoods, networks, objectives, posteriors, priors, serving

NUM_SAMPLES = 16
# As the server of tfvae's contract has them; outputs in the order of their names.
CONTRACT = {
    "serving_default": ({"image": [-1, 8, 8, 1]}, {"latent": [-1, 4], "reconstruction": [-1, 8, 8, 1]}),
    "encode": ({"image": [-1, 8, 8, 1]}, {"loc": [-1, 4], "scale": [-1, 4]}),
    "decode": ({"latent": [-1, 4]}, {"image": [-1, 8, 8, 1]}),
    "generate": ({"seed": [-1]}, {"image": [-1, 8, 8, 1], "latent": [-1, 4]}),
    "elbo": ({"image": [-1, 8, 8, 1], "seed": [-1]}, {"elbo": [-1], "kl": [-1], "log_likelihood": [-1]}),
    "log_evidence": ({"image": [-1, 8, 8, 1], "seed": [-1]}, {"log_evidence": [-1]}),
    "serving_uint8": ({"image": [-1, 8, 8, 1]}, {"latent": [-1, 4], "reconstruction": [-1, 8, 8, 1]}),
    "serving_bytes": ({"image_bytes": [-1]}, {"latent": [-1, 4], "reconstruction": [-1, 8, 8, 1]}),
}
DTYPES = {"seed": "int64", "image_bytes": "string"}


@pytest.fixture(scope="module")
def path(trained_vae, tmp_path_factory):
    return serving.export(trained_vae, tmp_path_factory.mktemp("models"), num_samples=NUM_SAMPLES)


@pytest.fixture(scope="module")
def served(path):
    return Served(path)


@pytest.fixture(scope="module")
def x(digits):
    return digits.x_test[:6]


def png(image):
    return tf.io.encode_png(np.round(image * 255).astype(np.uint8)).numpy()


def test_names_shapes_and_types_are_those_of_the_contract(served):
    assert {name for name in served.signatures if not name.startswith("__")} == CONTRACT.keys()
    for name, sides in CONTRACT.items():
        signature = served.signatures[name]
        for tensors, expected in zip((signature.inputs, signature.outputs), sides, strict=True):
            assert {k: [d.size for d in v.tensor_shape.dim] for k, v in tensors.items()} == expected
            for key, tensor in tensors.items():
                dtype = (
                    "uint8" if name == "serving_uint8" and tensors is signature.inputs else DTYPES.get(key, "float32")
                )
                assert tf.dtypes.as_dtype(tensor.dtype).name == dtype


def test_the_graph_holds_no_python_no_xla_no_state_and_no_other_ops(path):
    """Operations of TensorFlow alone; randomness only from seeds; nothing that reads a file or a table."""
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph = model.meta_graphs[0].graph_def
    functions = [f for f in graph.library.function if "_traced_" not in f.signature.name]
    nodes = [node for f in functions for node in f.node_def]
    for node in nodes:
        assert node.op in dir(tf.raw_ops) or node.op in {f.signature.name for f in graph.library.function}, node.op
        assert "_XlaMustCompile" not in node.attr
        assert not any(word in node.op for word in ("PyFunc", "ReadFile", "LookupTable", "RandomUniform", "Iterator"))
        assert node.op not in ("RandomStandardNormal", "TruncatedNormal", "Multinomial", "StatefulStandardNormalV2")
        assert node.attr["T"].type != tf.float64.as_datatype_enum or "_traced_" in node.name
    assert not any("_XlaMustCompile" in f.attr for f in graph.library.function)
    # What is said once, not once for each layer: the signatures, their loops and checks, saving and restoring.
    assert not any("layer" in f.signature.name for f in graph.library.function)


def test_a_jitted_function_would_be_seen(tmp_path):
    """The check above can fail: XLA's mark is where it looks for it."""
    module = tf.Module()
    module.f = tf.function(lambda x: x + 1, jit_compile=True, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(tmp_path), signatures=module.f)
    graph = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    assert any("_XlaMustCompile" in f.attr for f in graph.library.function)


def test_train_is_serve(served, trained_vae, x):
    """What the server says of a row is what the training objective says of it, with the row's seed."""
    seed = np.array([3, -1, 2**40, 0, 7, 7], np.int64)
    answers = served("elbo", image=x, seed=seed) | served("log_evidence", image=x, seed=seed)
    for i in range(len(x)):
        terms = objectives.elbo(trained_vae, x[i : i + 1], seed=seed[i], num_samples=NUM_SAMPLES)
        np.testing.assert_allclose(answers["elbo"][i], terms.objective[0], rtol=1e-5)
        np.testing.assert_allclose(answers["log_likelihood"][i], terms.log_likelihood[0], rtol=1e-5)
        np.testing.assert_allclose(answers["kl"][i], terms.kl[0], rtol=1e-5)
        bound = objectives.iwae(NUM_SAMPLES)(trained_vae, x[i : i + 1], seed=seed[i]).objective
        np.testing.assert_allclose(answers["log_evidence"][i], bound[0], rtol=1e-5)


def test_its_elbo_is_the_measured_one(served, trained_vae, digits):
    """Over the test set, within five standard errors of both."""
    x = digits.x_test
    answers = served("elbo", image=x, seed=np.arange(len(x), dtype=np.int64))
    measured = diagnostics.measure(trained_vae, x, 200)
    noise = np.sqrt(np.sum(measured.elbo_standard_error**2 * (1 + 200 / NUM_SAMPLES))) / len(x)
    assert abs(answers["elbo"].mean() - measured.elbo.mean()) < 5 * noise


def test_rows_answer_for_themselves_alone(served, digits):
    """1,000 random batches, in random order and with repetitions: each row as when it was alone."""
    rng = np.random.default_rng(0)
    pool = digits.x_test[:40]
    seeds = rng.integers(-(2**63), 2**63, size=40, dtype=np.int64)
    asked = {
        "serving_default": {"image": pool},
        "encode": {"image": pool},
        "decode": {"latent": rng.normal(size=(40, 4)).astype(np.float32)},
        "generate": {"seed": seeds},
        "elbo": {"image": pool, "seed": seeds},
        "log_evidence": {"image": pool, "seed": seeds},
        "serving_uint8": {"image": np.round(pool * 255).astype(np.uint8)},
        "serving_bytes": {"image_bytes": np.array([png(image) for image in pool], object)},
    }
    alone = {}
    for name, inputs in asked.items():
        rows = [served(name, **{k: v[i : i + 1] for k, v in inputs.items()}) for i in range(40)]
        alone[name] = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    names = list(asked)
    for i in range(1000):
        name = names[i % len(names)]
        index = rng.integers(0, 40, size=rng.integers(1, 33))
        answer = served(name, **{k: v[index] for k, v in asked[name].items()})
        for key, value in answer.items():
            np.testing.assert_allclose(value, alone[name][key][index], rtol=1e-5, atol=1e-5)
        if name == "generate":  # the random numbers themselves
            np.testing.assert_array_equal(answer["latent"], alone[name]["latent"][index])
    assert len(np.unique(alone["generate"]["latent"], axis=0)) == 40


@pytest.mark.parametrize("name", CONTRACT)
def test_an_empty_batch_has_an_empty_answer(served, name):
    inputs, outputs = CONTRACT[name]
    dtypes = {key: {"string": object}.get(DTYPES.get(key), DTYPES.get(key, np.float32)) for key in inputs}
    dtypes |= {"image": np.uint8} if name == "serving_uint8" else {}
    answer = served(name, **{key: np.zeros([0, *shape[1:]], dtypes[key]) for key, shape in inputs.items()})
    assert {key: list(value.shape) for key, value in answer.items()} == {k: [0, *v[1:]] for k, v in outputs.items()}


def changed(x, value, where=(1, 2, 3, 0)):
    x = x.copy()
    x[where] = value
    return x


SEED = np.arange(6, dtype=np.int64)
MALFORMED = {  # name of the case: (signature, inputs of the six images x, the error)
    "NaN": ("serving_default", lambda x: {"image": changed(x, np.nan)}, "image must be finite, got] [nan]"),
    "NaN to encode": ("encode", lambda x: {"image": changed(x, np.nan)}, "image must be finite"),
    "infinity": ("encode", lambda x: {"image": changed(x, np.inf)}, "image must be finite, got] [inf]"),
    "minus infinity": ("encode", lambda x: {"image": changed(x, -np.inf)}, "image must be finite, got] [-inf]"),
    "above 1": ("serving_default", lambda x: {"image": changed(x, 1.5)}, "image must be in [0, 1], got] [1.5]"),
    "below 0": ("serving_default", lambda x: {"image": changed(x, -0.25)}, "image must be in [0, 1], got] [-0.25]"),
    "bytes as floats": ("encode", lambda x: {"image": x * 255}, "image must be in [0, 1]"),
    "larger": ("serving_default", lambda x: {"image": np.zeros([2, 9, 9, 1], "f4")},
               "image must have shape [batch, 8, 8, 1], got] [2 9 9 1]"),
    "as many pixels": ("encode", lambda x: {"image": np.zeros([2, 4, 16, 1], "f4")}, "8, 8, 1], got] [2 4 16 1]"),
    "no channel": ("encode", lambda x: {"image": x[..., 0]}, "image must have shape [batch, 8, 8, 1], got] [6 8 8]"),
    "no batch": ("encode", lambda x: {"image": x[0]}, "image must have shape [batch, 8, 8, 1], got] [8 8 1]"),
    "three channels": ("encode", lambda x: {"image": np.repeat(x, 3, -1)}, "[batch, 8, 8, 1], got] [6 8 8 3]"),
    "one axis more": ("encode", lambda x: {"image": x[None]}, "[batch, 8, 8, 1], got] [1 6 8"),
    "flat": ("serving_default", lambda x: {"image": x.reshape(6, 64)}, "[batch, 8, 8, 1], got] [6 64]"),
    "a number": ("serving_default", lambda x: {"image": np.float32(0)}, "must have shape [batch, 8, 8, 1], got] []"),
    "doubles": ("encode", lambda x: {"image": x.astype("f8")}, "encode_image"),
    "integers": ("encode", lambda x: {"image": x.astype("i4")}, "encode_image"),
    "latents of another model": ("decode", lambda x: {"latent": np.zeros([2, 5], "f4")},
                                 "latent must have shape [batch, 4], got] [2 5]"),
    "one latent vector": ("decode", lambda x: {"latent": np.zeros(4, "f4")}, "latent must have shape [batch, 4], got]"),
    "NaN latent": ("decode", lambda x: {"latent": np.full([1, 4], np.nan, "f4")}, "latent must be finite"),
    "infinite latent": ("decode", lambda x: {"latent": np.full([1, 4], np.inf, "f4")}, "latent must be finite"),
    "seeds in two axes": ("generate", lambda x: {"seed": SEED[None]}, "seed must have shape [batch], got] [1 6]"),
    "scalar seed": ("generate", lambda x: {"seed": np.int64(1)}, "seed must have shape [batch], got] []"),
    "seed of 32 bits": ("generate", lambda x: {"seed": SEED.astype("i4")}, "generate_seed"),
    "off the support": ("elbo", lambda x: {"image": changed(x, 0.3), "seed": SEED},
                        "image must be a multiple of 1/16 in [0, 1] under the binomial likelihood, got] [0.3]"),
    "evidence off the support": ("log_evidence", lambda x: {"image": changed(x, 0.3), "seed": SEED}, "a multiple of"),
    "NaN to elbo": ("elbo", lambda x: {"image": changed(x, np.nan), "seed": SEED}, "image must be finite"),
    "above 1 to elbo": ("log_evidence", lambda x: {"image": changed(x, 2), "seed": SEED}, "image must be in [0, 1]"),
    "fewer seeds": ("log_evidence", lambda x: {"image": x, "seed": SEED[:5]},
                    "image and seed must have the same batch size, got] [6] [5]"),
    "one seed": ("elbo", lambda x: {"image": x, "seed": SEED[:1]}, "the same batch size, got] [6] [1]"),
    "no seeds": ("elbo", lambda x: {"image": x, "seed": SEED[:0]}, "the same batch size, got] [6] [0]"),
    "no images": ("elbo", lambda x: {"image": x[:0], "seed": SEED}, "the same batch size, got] [0] [6]"),
    "seeds left out": ("elbo", lambda x: {"image": x}, "elbo_seed"),
    "images left out": ("log_evidence", lambda x: {"seed": SEED}, "log_evidence_image"),
    "shape to elbo": ("elbo", lambda x: {"image": x[:, :7], "seed": SEED}, "[batch, 8, 8, 1], got] [6 7 8"),
    "scalar seed to elbo": ("elbo", lambda x: {"image": x, "seed": np.int64(1)}, "seed must have shape [batch], got]"),
    "bytes of another size": ("serving_uint8", lambda x: {"image": np.zeros([1, 28, 28, 1], "u1")},
                              "image must have shape [batch, 8, 8, 1], got] [1 28 28"),
    "floats for bytes": ("serving_uint8", lambda x: {"image": x}, "serving_uint8_image"),
    "a file of another size": ("serving_bytes", lambda x: {"image_bytes": np.array([png(x[0]), png(x[0, :7])], object)},
                               "image_bytes must hold pictures of 8 x 8 pixels, got] [7 8]"),
    "text for a file": ("serving_bytes", lambda x: {"image_bytes": np.array([b"hello"], object)},
                        'image_bytes must hold PNG or JPEG files, got one that starts with] [hel]'),
    "an empty file": ("serving_bytes", lambda x: {"image_bytes": np.array([b""], object)}, "PNG or JPEG files"),
    "a GIF": ("serving_bytes", lambda x: {"image_bytes": np.array([b"GIF89a"], object)}, "starts with] [GIF]"),
    "a million files": ("serving_bytes", lambda x: {"image_bytes": np.array([b""] * (2**20 + 1), object)},
                        "image_bytes must hold at most 1048576 pictures of 8 x 8 pixels, got] [1048577]"),
    "a BMP": ("serving_bytes", lambda x: {"image_bytes": np.array([b"BM\x8a\x00"], object)}, "starts with] [BM?]"),
    "half a file": ("serving_bytes", lambda x: {"image_bytes": np.array([png(x[0])[:40]], object)}, "image_bytes"),
    "files in two axes": ("serving_bytes", lambda x: {"image_bytes": np.array([[png(x[0])]], object)},
                          "image_bytes must have shape [batch], got] [1 1]"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_inputs_are_refused_by_name_and_the_next_request_works(served, x, case):
    name, inputs, message = MALFORMED[case]
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError, TypeError)) as caught:
        served(name, **inputs(x))
    assert message in str(caught.value)
    assert served("encode", image=x)["loc"].shape == (6, 4)
    assert np.all(np.isfinite(served("elbo", image=x, seed=SEED)["elbo"]))


def test_latents_that_are_refused_when_served_are_refused_in_python(trained_vae, digits):
    given = small_vae(digits, latent_size=4, conditional=True).given([0])
    for z, message in (
        (np.full([1, 4], np.nan, "f4"), r"z must be finite, got nan at \[0, 0\]"),
        (np.full([2, 1, 4], -np.inf), r"z must be finite, got -inf at \[0, 0, 0\]"),
        (np.zeros([1, 5], "f4"), r"z must have shape \[..., 4\], got \[1, 5\]"),
        (np.float32(0), r"z must have shape \[..., 4\], got \[\]"),
        (np.zeros([1, 4], complex), "z must hold floats, got complex128"),
        (np.zeros([1, 4], int), "z must hold floats, got int64"),
    ):
        for vae in (trained_vae, given):
            with pytest.raises(ValueError, match=message):
                vae.decode(z)


def test_bytes_are_taken_to_the_support(digits, binary_digits, tmp_path):
    """Rounded under a binomial, cut at one half under a Bernoulli, as they are under a normal likelihood."""
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) * 4
    grey = image / np.float32(255)
    for images, likelihood, known in (
        (digits, "binomial", np.round(grey * 16) / 16),
        (binary_digits, "bernoulli", (grey >= 0.5).astype(np.float32)),
        (digits, "normal", grey),
    ):
        vae = small_vae(images, likelihood=likelihood)
        served = Served(serving.export(vae, tmp_path / likelihood))
        expected = vae.reconstruct(vae.check_support(known))
        np.testing.assert_allclose(served("serving_uint8", image=image)["reconstruction"], expected, atol=1e-6)
        file = np.array([tf.io.encode_png(image[0]).numpy()], object)
        np.testing.assert_allclose(served("serving_bytes", image_bytes=file)["reconstruction"], expected, atol=1e-6)
        rule = json.loads((tmp_path / likelihood / "1" / "model_card.json").read_text())["bytes"]
        assert rule.startswith("divided by 255")


def test_black_on_transparent_is_black_on_white(served):
    drawn = np.zeros([8, 8, 4], np.uint8)
    drawn[2:5, 3, 3] = 255
    file = np.array([tf.io.encode_png(drawn).numpy()], object)
    expected = served("serving_uint8", image=255 - drawn[np.newaxis, ..., 3:])["latent"]
    np.testing.assert_allclose(served("serving_bytes", image_bytes=file)["latent"], expected, atol=1e-6)


def test_jpeg_is_read(served):
    image = np.full([8, 8, 1], 128, np.uint8)
    file = np.array([tf.io.encode_jpeg(image, quality=100).numpy()], object)
    expected = served("serving_uint8", image=image[None])["reconstruction"]
    np.testing.assert_allclose(served("serving_bytes", image_bytes=file)["reconstruction"], expected, atol=1e-6)


def test_a_model_of_vectors_is_served_without_bytes(tmp_path):
    vae = tfvae.VAE(
        posteriors.diagonal_normal(networks.mlp((5,), [8]), 2),
        likelihoods.normal(networks.mlp((2,), [8]), (5,)),
        priors.standard_normal(2),
    )
    served = Served(serving.export(vae, tmp_path, num_samples=NUM_SAMPLES))
    names = {name for name in served.signatures if not name.startswith("__")}
    assert names == CONTRACT.keys() - {"serving_uint8", "serving_bytes"}
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert served("encode", image=x)["loc"].shape == (3, 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image must be finite"):
        served("elbo", image=changed(x, np.nan, (0, 0)), seed=SEED[:3])


def test_only_float32_is_served(linear_vae, tmp_path):
    with pytest.raises(ValueError, match="vae must compute in float32 to be served, got float64"):
        serving.export(linear_vae, tmp_path)
    assert not list(tmp_path.iterdir())
