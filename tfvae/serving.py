"""Export as a SavedModel that TF Serving can trust: named inputs and outputs, the batch first, no Python inside."""

import contextlib
import os
import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.files import staged_directory
from tfvae.seeds import stateless_seed

tfd = tfp.distributions


def export(vae, directory):
    """Writes `directory`/<next integer>/, in one step: a crash leaves nothing that a server would pick up.

    Signatures, each with a free batch dimension B and named tensors:

        serving_default   image [B, *event_shape]   -> reconstruction [B, *event_shape], latent [B, D]
        encode            image [B, *event_shape]   -> loc [B, D], scale [B, D] (and scale_tril [B, D, D])
        decode            latent [B, D]             -> image [B, *event_shape]
        generate          seed int64 [B]            -> image [B, *event_shape], latent [B, D]

    `image` must be finite, and in [0, 1] where it is an image (three axes); the graph refuses anything else.
    `generate` is a function of each row's seed alone.

    Returns:
        The path of the version that was written.

    Raises:
        OSError: the directory cannot be written.
    """
    directory = pathlib.Path(directory)
    module = tf.Module()
    # The variables and nothing else: tracked Keras models would be saved layer by layer.
    module.variables_of_the_model = [*vae.encoder.variables, *vae.decoder.variables, *vae.prior.variables]
    signatures = _signatures(vae)
    while True:
        version = directory / str(max([0, *versions(directory)]) + 1)
        try:
            with staged_directory(version) as staged, _no_remarks():
                tf.saved_model.save(module, str(staged), signatures=signatures)
            return version
        except FileExistsError:  # another export took the number
            continue


def versions(directory):
    """The versions in a model's directory, as a server sees them: the names that are integers, ascending."""
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in os.scandir(directory) if entry.is_dir() and entry.name.isdecimal())


def verify(path, vae, x, seeds=(0, 1, 2)):
    """Loads an export and compares it with the model in Python on images x: {signature: largest difference}.

    Raises:
        ValueError: a difference above 1e-5.
    """
    signatures = tf.saved_model.load(str(path)).signatures
    x, seeds = tf.convert_to_tensor(x), tf.constant(seeds, tf.int64)
    qz_x, z = vae.encode(x), _prior_draws(vae, seeds)
    expected = {
        "serving_default": ({"image": x}, {"reconstruction": vae.reconstruct(x), "latent": qz_x.mean()}),
        "encode": ({"image": x}, {"loc": qz_x.mean(), "scale": qz_x.stddev()}),
        "decode": ({"latent": z}, {"image": vae.decode(z).mean()}),
        "generate": ({"seed": seeds}, {"image": vae.decode(z).mean(), "latent": z}),
    }
    differences = {}
    for name, (inputs, outputs) in expected.items():
        answer = signatures[name](**inputs)
        differences[name] = max(float(np.max(np.abs(answer[key] - value))) for key, value in outputs.items())
        if not differences[name] <= 1e-5:
            raise ValueError(f"signature {name} must agree with the model to 1e-5, got {differences[name]}")
    return differences


@contextlib.contextmanager
def _no_remarks():
    """TensorFlow says where it wrote its assets: to a folder that is gone by then."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def _signatures(vae):
    image = tf.TensorSpec([None, *vae.event_shape], tf.float32, name="image")
    latent = tf.TensorSpec([None, vae.latent_size], tf.float32, name="latent")
    seed = tf.TensorSpec([None], tf.int64, name="seed")

    def serving_default(image):
        z = vae.encode(_checked(vae, image)).mean()
        return {"reconstruction": vae.decode(z).mean(), "latent": z}

    def encode(image):
        qz_x = vae.encode(_checked(vae, image))
        moments = {"loc": qz_x.mean(), "scale": qz_x.stddev()}
        if isinstance(qz_x, tfd.MultivariateNormalTriL):
            moments["scale_tril"] = qz_x.scale.to_dense()
        return moments

    def decode(latent):
        with tf.control_dependencies([_assert(tf.math.is_finite(latent), "latent must be finite")]):
            return {"image": vae.decode(tf.identity(latent)).mean()}

    def generate(seed):
        z = _prior_draws(vae, seed)
        return {"image": vae.decode(z).mean(), "latent": z}

    functions = ((serving_default, image), (encode, image), (decode, latent), (generate, seed))
    return {f.__name__: tf.function(f, input_signature=[spec]).get_concrete_function() for f, spec in functions}


def _prior_draws(vae, seeds):
    """One z ~ p(z) for each seed: [B, D], each row a function of its own seed."""
    shape = tf.TensorSpec([vae.latent_size], tf.float32)
    return tf.map_fn(lambda seed: vae.prior.sample(seed=stateless_seed(seed)), seeds, fn_output_signature=shape)


def _checked(vae, image):
    checks = [_assert(tf.math.is_finite(image), "image must be finite")]
    if len(vae.event_shape) == 3:
        checks.append(_assert((image >= 0) & (image <= 1), "image must be in [0, 1]"))
    with tf.control_dependencies(checks):
        return tf.identity(image)


def _assert(good, message):
    return tf.debugging.Assert(tf.reduce_all(good), [message])
