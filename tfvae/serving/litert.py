"""LiteRT (TensorFlow Lite): an export's signatures as one file, for phones, browsers and small devices."""

import numpy as np
import tensorflow as tf

from tfvae.serving.contract import TOLERANCE, largest_difference
from tfvae.support import files
from tfvae.support.quiet import quiet
from tfvae.support.rules import checked

# Those without a seed: TensorFlow's stateless random numbers are no operations of LiteRT.
SIGNATURES = ("serving_default", "encode", "decode")


@checked
def to_litert(path, to) -> dict[str, float]:
    """Writes `SIGNATURES` of the exported version at `path` as a LiteRT file; gives {signature: largest difference}.

    The file is compared with the export on random rows before it appears. It refuses no input: the converter drops the
    graph's checks. `generate` is `decode` of latents that the caller draws from the prior, N(0, I) by default.

    >>> tfvae.serving.to_litert("saved_models/digits/1", "digits.tflite")
    Traceback (most recent call last):
    FileNotFoundError: path must be a version's directory with a saved_model.pb, got saved_models/digits/1

    Raises:
        ValueError: answers that differ by more than 1e-5.
        OSError: `to` cannot be written.
    """
    path, to = files.exported("path", path), files.local("to", to)
    files.check_writable(to.parent, "to")
    with quiet():
        content = tf.lite.TFLiteConverter.from_saved_model(str(path), signature_keys=list(SIGNATURES)).convert()
        interpreter = tf.lite.Interpreter(model_content=content)
    served = tf.saved_model.load(str(path)).signatures
    differences = {}
    for name in SIGNATURES:
        specs = served[name].structured_input_signature[1]
        rng = np.random.default_rng(0)
        inputs = {k: rng.integers(0, 2, [5, *s.shape[1:]]).astype(s.dtype.as_numpy_dtype) for k, s in specs.items()}
        expected = served[name](**{key: tf.constant(value) for key, value in inputs.items()})
        differences[name] = largest_difference(interpreter.get_signature_runner(name)(**inputs), expected)
        if not differences[name] <= TOLERANCE:
            raise ValueError(f"{name} in LiteRT must agree with the export to 1e-5, got {differences[name]}")
    files.write_bytes(to, content)
    return differences
