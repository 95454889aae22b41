"""Export as a SavedModel that TF Serving can trust, and the check that it gives what the model gives."""

import contextlib
import pathlib
import re
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_serving.apis import prediction_log_pb2

from tfvae import diagnostics, objectives
from tfvae.serving import card as model_card
from tfvae.serving.contract import TOLERANCE, largest_difference
from tfvae.serving.signatures import anomaly, bytes_to_images, inputs_of, prior_draws, signatures
from tfvae.support import checks, files
from tfvae.support.rules import TestSet, checked
from tfvae.support.weights import model_variables

WARMUP = "tf_serving_warmup_requests"


@checked
def export(
    vae,
    directory,
    data: TestSet | None = None,
    *,
    num_samples: int = 100,
    evaluation=None,
    licence=None,
    keep=None,
    false_alarm_rate: float = 0.05,
) -> pathlib.Path:
    """Writes the next version, `directory`/<integer>/, in one step, and gives its path.

    Signatures have a free batch dimension B and named tensors. An answer depends on its row alone; but one bad row and
    the whole batch is refused, with all requests that the server merged into it.

        serving_default   image [B, *event_shape]                    -> reconstruction [B, *event_shape], latent [B, D]
        encode            image [B, *event_shape]                    -> loc, scale [B, D] (and scale_tril [B, D, D])
        decode            latent [B, D]                              -> image [B, *event_shape]
        generate          seed int64 [B]                             -> image [B, *event_shape], latent [B, D]
        elbo              image [B, *event_shape], seed int64 [B]    -> elbo, log_likelihood, kl [B], nats per image
        log_evidence      image [B, *event_shape], seed int64 [B]    -> log_evidence [B], nats per image
        anomaly           image [B, *event_shape], seed int64 [B]    -> anomaly bool [B], log_evidence [B]
        serving_uint8     image uint8 [B, *event_shape]              -> as serving_default
        serving_bytes     image_bytes [B], PNG or JPEG files         -> as serving_default

    A `ConditionalVAE` takes `label` int64 [B] too. `anomaly` says which images have a `log_evidence` outside of the
    `diagnostics.usual_range` of the validation images; it is there if these are 2 / false_alarm_rate - 1 or more. The
    last two need images of three axes (files: 1, 3 or 4 channels). An `image` must be finite, in [0, 1] if it has three
    axes, and for `elbo`, `log_evidence` and `anomaly` in the likelihood's support: the graph refuses anything else, and
    names the input. Files are read by the rule of `data.from_image_folder`, 2^26 pixels a request. The version also
    holds a card (model_card.json and .md) and warmup requests.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.serving.export(vae, "saved_models/digits", num_samples=0)
    Traceback (most recent call last):
    ValueError: num_samples must be an integer of at least 1, got 0

    Args:
        data: an `ImageData`; the card then states the export's own mean `elbo` and `log_evidence` of the first 10,000
            test images, and the share of them that are anomalies to it.
        num_samples: S of `elbo` and `log_evidence`.
        evaluation, licence: `diagnostics.evaluation_card` of the model, and its licence, for the card.
        keep: removes older versions than this many. A folder that holds no SavedModel is none.
        false_alarm_rate: of `anomaly`.

    Raises:
        ValueError: num_samples or keep below 1, a rate that is not in (0, 1], a model that does not compute in float32.
        OSError: the directory cannot be written.
    """
    directory = files.local("directory", directory)
    files.check_writable(directory)
    functions = signatures(vae, num_samples)
    if usual := _usual_range(functions, vae, data, false_alarm_rate):
        functions["anomaly"] = anomaly(vae, functions, usual)
    module = tf.Module()
    # Only the variables: TensorFlow would save a tracked Keras model layer by layer.
    module.variables_of_the_model = model_variables(vae)
    while True:
        version = directory / str(max(_numbered(directory), default=0) + 1)
        try:
            with files.staged_directory(version) as staged:
                with _writing(directory):
                    tf.saved_model.save(module, str(staged), signatures=functions)
                    _write_warmup(staged, functions, vae.event_shape)
                served = None if data is None else _measured(staged, vae, data, num_samples, usual)
                model_card.write(staged, vae, functions, num_samples, evaluation, served, licence)
            break
        except FileExistsError:  # a concurrent export took the number
            if not version.exists():
                raise
    found = {number: path for number, path in _numbered(directory).items() if (path / "saved_model.pb").is_file()}
    for old in sorted(found)[:-keep] if keep else ():
        with contextlib.suppress(FileNotFoundError):  # a concurrent export removed it
            files.remove_directory(found[old])
    return version


@contextlib.contextmanager
def _writing(directory):
    """No line of TensorFlow's that names the staged folder, and OSError for its own errors, such as of a full disk."""
    level = tf.get_logger().level
    tf.get_logger().setLevel("ERROR")
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"{directory} could not be written: {error.message}") from None
    finally:
        tf.get_logger().setLevel(level)


@checked
def versions(directory) -> list[int]:
    """The versions in a model's directory, as a server sees them: subdirectories named by integers, ascending.

    >>> tfvae.serving.versions("saved_models/digits")
    []
    """
    return sorted(number for number, path in _numbered(files.local("directory", directory)).items() if path.is_dir())


def _numbered(directory):
    """{number: path} of what is named by an integer that a server can read."""
    return {int(path.name): path for path in directory.glob("*") if re.fullmatch("[0-9]{1,18}", path.name)}


@checked
def verify(path, vae, x, num_samples: int | None = None) -> dict[str, float]:
    """Loads an export and compares it with the model in Python on images x: {signature: largest difference}.

    Row i has the seed i. Differences are relative where a number exceeds 1; ValueError for one above 1e-5.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.serving.verify("saved_models/digits/1", vae, np.zeros([2, 8, 8, 1]))
    Traceback (most recent call last):
    FileNotFoundError: path must be a version's directory with a saved_model.pb, got saved_models/digits/1

    Args:
        vae: the model; a `ConditionalVAE` as its `given(labels)`.
        x: [B, *event_shape] in the likelihood's support, B at least 1.
        num_samples: S of the export; default: as its card states.
    """
    path = files.exported("path", path, model_card.CARD)
    card = files.read_json(path / model_card.CARD)
    stated = checks.count(f"num_samples of {path / model_card.CARD}", card.get("num_samples"))
    expected = expected_answers(vae, x, num_samples or stated)
    served = tf.saved_model.load(str(path)).signatures
    if "anomaly" in served:
        usual = diagnostics.UsualRange(**card["served"]["usual_range"])
        inputs, outputs = expected["log_evidence"]
        expected["anomaly"] = inputs, {"anomaly": usual.outside(outputs["log_evidence"]), **outputs}
    differences = {}
    for name, (inputs, outputs) in expected.items():
        answer = served[name](**{key: tf.convert_to_tensor(value) for key, value in inputs.items()})
        differences[name] = largest_difference(answer, outputs)
        if not differences[name] <= TOLERANCE:
            raise ValueError(f"signature {name} must agree with the model to 1e-5, got {differences[name]}")
    return differences


@checked
def expected_answers(vae, x, num_samples: int) -> dict[str, tuple[dict, dict]]:
    """What the model in Python answers for images x: {signature: (inputs, outputs)}, each {name: array}.

    `elbo` and `log_evidence` are computed independently of the served graphs. Arguments are those of `verify`.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> inputs, outputs = tfvae.serving.expected_answers(vae, np.zeros([2, 8, 8, 1]), num_samples=3)["elbo"]
    >>> inputs["seed"], outputs["kl"].shape
    (array([0, 1]), (2,))
    """
    x = vae.check_support(x)
    seed = np.arange(len(x), dtype=np.int64)
    qz_x, z = vae.encode(x), prior_draws(vae, seed)
    rows = [(vae.rows(int(s)), row[np.newaxis], s) for row, s in zip(x, seed, strict=True)]
    terms = [objectives.elbo(of_row, row, seed=s, num_samples=num_samples) for of_row, row, s in rows]
    bound = [objectives.iwae(num_samples)(of_row, row, seed=s).objective for of_row, row, s in rows]
    log_likelihood, kl = (np.concatenate(column) for column in list(zip(*terms, strict=True))[1:])
    answers = {
        "serving_default": ({"image": x}, {"reconstruction": vae.reconstruct(x), "latent": qz_x.mean()}),
        "encode": ({"image": x}, {"loc": qz_x.mean(), "scale": qz_x.stddev()}),
        "decode": ({"latent": z}, {"image": vae.decode(z).mean()}),
        "generate": ({"seed": seed}, {"image": vae.decode(z).mean(), "latent": z}),
        "elbo": ({"image": x, "seed": seed}, {"elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl}),
        "log_evidence": ({"image": x, "seed": seed}, {"log_evidence": np.concatenate(bound)}),
    }
    if isinstance(qz_x, tfp.distributions.MultivariateNormalTriL):
        answers["encode"][1]["scale_tril"] = qz_x.scale.to_dense()
    if len(vae.event_shape) == 3:
        image = np.round(x * 255).astype(np.uint8)
        known = bytes_to_images(vae, image)
        outputs = {"reconstruction": vae.reconstruct(known), "latent": vae.encode(known).mean()}
        answers["serving_uint8"] = ({"image": image}, outputs)
        if vae.event_shape[-1] in (1, 3, 4):
            png = np.array([tf.io.encode_png(picture).numpy() for picture in image], object)
            answers["serving_bytes"] = ({"image_bytes": png}, outputs)
    for inputs, _ in answers.values():
        inputs.update({name: np.broadcast_to(value, len(x)) for name, value in vae.condition.items()})
    return tf.nest.map_structure(np.asarray, answers)


def _usual_range(functions, vae, data, false_alarm_rate):
    """That of the validation images' `log_evidence`, row i with seed i; None if they are too few."""
    if data is None or not diagnostics.anomalies.rank(false_alarm_rate, len(data.x_validation)):
        return None
    _, inputs = _seeded(vae, data.x_validation, data.y_validation)
    return diagnostics.usual_range(functions["log_evidence"](**inputs)["log_evidence"].numpy(), false_alarm_rate)


def _seeded(vae, x, y):
    """The model given labels y, and the inputs of `log_evidence` for the first 10,000 of images x."""
    x = x[:10_000]
    given = vae.for_labels(y).rows(slice(len(x)))
    return given, {"image": tf.constant(x), "seed": tf.range(len(x), dtype=tf.int64), **given.condition}


def _measured(path, vae, data, num_samples, usual):
    """The export's own means over the test set, row i with seed i, and their standard errors over seeds."""
    given, inputs = _seeded(vae, data.x_test, data.y_test)
    x = inputs["image"].numpy()
    served = tf.saved_model.load(str(path)).signatures
    errors = diagnostics.measure(given, x, max(2, num_samples))
    measured = {"num_images": len(x), "num_samples": num_samples, "seeds": "image i of the test set has the seed i"}
    for name, error in (("elbo", errors.elbo_standard_error), ("log_evidence", errors.log_evidence_standard_error)):
        values = served[name](**inputs)[name].numpy()
        measured[name] = float(np.mean(values, dtype=np.float64))
        measured[f"{name}_mc_standard_error"] = float(np.sqrt(np.sum(error**2)) / len(x))
    if usual:  # values are those of log_evidence, the last
        measured |= {"usual_range": usual._asdict(), "anomalies": float(np.mean(usual.outside(values)))}
    return measured


def _write_warmup(staged, functions, event_shape):
    """A request of zeros (in every support) for each signature, one row, which TF Serving replays before it serves."""
    (staged / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(staged / "assets.extra" / WARMUP)) as writer:
        for name, function in functions.items():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = name
            for spec in inputs_of(function):
                if spec.dtype == tf.string:
                    zeros: Any = [tf.io.encode_png(np.zeros(event_shape, np.uint8)).numpy()]
                else:
                    zeros = np.zeros([1, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(zeros))
            writer.write(log.SerializeToString())
