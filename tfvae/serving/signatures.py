"""The functions that a SavedModel serves: named inputs and outputs, the batch first and free, a seed for each row.

Each is a plain TensorFlow graph: no XLA, no Python, no state. As a server checks neither shapes nor values, the graph
does so at run time, and names the input.
"""

import functools
from typing import Protocol, runtime_checkable

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import diagnostics, objectives
from tfvae.seeds import stateless_seed
from tfvae.support import checks, pictures, tensors

tfd = tfp.distributions


@runtime_checkable
class TakesBytes(Protocol):
    """A decoder that takes images in [0, 1] to the nearest in its support, and says in words how."""

    to_support_rule: str

    def to_support(self, x: tf.Tensor) -> tf.Tensor: ...


def signatures(vae, num_samples: int) -> dict:
    """{name: concrete function} of a float32 `VAE`, S = num_samples; their docstrings are the contract."""
    if vae.prior.dtype != tf.float32:
        raise ValueError(f"vae must compute in float32 to be served, got {vae.prior.dtype.name}")
    image = tf.TensorSpec([None, *vae.event_shape], tf.float32, name="image")
    latent = tf.TensorSpec([None, vae.latent_size], tf.float32, name="latent")
    seed = tf.TensorSpec([None], tf.int64, name="seed")
    image_rules = vae.inputs_accepted.rules(support=False)
    served: dict = {}

    def serving_default(vae, image):
        """Reconstructs images: the mean of p(x|z) at the mean of q(z|x), and that mean. Deterministic."""
        z = vae.encode(_checked("image", image, vae.event_shape, image_rules)).mean()
        return {"reconstruction": vae.decode(z).mean(), "latent": z}

    def encode(vae, image):
        """The mean of q(z|x) and its marginal standard deviations; scale_tril too for a full covariance.

        A flow or a hierarchy has no closed form of them: they are estimated from 128 samples of fixed noise.
        """
        qz_x = vae.encode(_checked("image", image, vae.event_shape, image_rules))
        moments = {"loc": qz_x.mean(), "scale": qz_x.stddev()}
        if isinstance(qz_x, tfd.MultivariateNormalTriL):
            moments["scale_tril"] = qz_x.scale.to_dense()
        return moments

    def decode(vae, latent):
        """The mean of p(x|z)."""
        z = _checked("latent", latent, [vae.latent_size], {"finite": tf.math.is_finite})
        return {"image": vae.decode(z).mean()}

    def generate(vae, seed):
        """New images: the mean of p(x|z) for z ~ p(z), drawn with the row's seed."""
        z = prior_draws(vae, _checked("seed", seed, []))
        return {"image": vae.decode(z).mean(), "latent": z}

    def elbo(vae, image, seed):
        """The evidence lower bound and its two terms, nats per image, over S samples drawn with the row's seed."""
        objective = functools.partial(objectives.elbo, num_samples=num_samples)
        terms = _by_row(vae, image, seed, objective, "log_likelihood", "kl")
        return {"elbo": terms["log_likelihood"] - terms["kl"], **terms}

    def log_evidence(vae, image, seed):
        """The importance-weighted bound on log p(x) of S samples drawn with the row's seed, nats per image.

        For an image unlike the training data it says how badly q(z|x) fits, more than what log p(x) is.
        """
        return {"log_evidence": _by_row(vae, image, seed, objectives.iwae(num_samples), "objective")["objective"]}

    def serving_uint8(vae, image):
        """As serving_default, from bytes: divided by 255 and taken to the likelihood's support."""
        x = bytes_to_images(vae, _checked("image", image, vae.event_shape))
        return served["serving_default"](x, *vae.condition.values())  # its graph, not another

    def serving_bytes(vae, image_bytes):
        """As serving_uint8, from PNG or JPEG files of the model's height and width, decoded in the graph."""
        x = bytes_to_images(vae, _decoded(image_bytes, vae.event_shape))
        return served["serving_default"](x, *vae.condition.values())

    specs: dict = {serving_default: [image], encode: [image], decode: [latent], generate: [seed]}
    specs |= {elbo: [image, seed], log_evidence: [image, seed]}
    if len(vae.event_shape) == 3:
        specs[serving_uint8] = [tf.TensorSpec(image.shape, tf.uint8, name="image")]
        if vae.event_shape[-1] in (1, 3, 4):
            specs[serving_bytes] = [tf.TensorSpec([None], tf.string, name="image_bytes")]
    for function, inputs in specs.items():
        served[function.__name__] = _traced(vae, function, inputs)
    return served


def anomaly(vae, functions: dict, usual: diagnostics.UsualRange):
    """The concrete function `anomaly` for a range of scores by `functions["log_evidence"]`."""

    def anomaly(vae, image, seed):
        """Whether `log_evidence` is outside of its usual range, that of held-out images (see the card)."""
        answer = functions["log_evidence"](image, seed, *vae.condition.values())
        return {"anomaly": usual.outside(answer["log_evidence"]), **answer}

    return _traced(vae, anomaly, inputs_of(functions["log_evidence"])[:2])


def _traced(vae, function, inputs):
    label = [tf.TensorSpec([None], tf.int64, name="label")] if vae.num_classes else []
    of_rows = _of_rows(vae, function, inputs)
    traced = tf.function(of_rows, input_signature=[*inputs, *label]).get_concrete_function()
    traced.__doc__ = function.__doc__
    return traced


def _of_rows(vae, function, inputs):
    """`function(vae, *inputs)` as a function of the inputs, followed by labels for a conditional model."""
    latent, image = (vae.latent_size,), vae.event_shape
    shapes = {"latent": latent, "loc": latent, "scale": latent, "scale_tril": latent * 2}
    shapes |= {"image": image, "reconstruction": image}

    def of_rows(*columns):
        model = vae
        if vae.num_classes:
            label = _checked("label", columns[-1], [], vae.label_rules)
            sizes = tf.shape(columns[0])[:1], tf.size(label)
            message = [f"{inputs[0].name} and label must have the same batch size, got", *sizes]
            model = vae.given(tensors.after(tf.reduce_all(tf.equal(*sizes)), message, label))
        answer = function(model, *columns[: len(inputs)])
        for name, output in answer.items():
            output.set_shape([None, *shapes.get(name, ())])  # some distributions state less
        return answer

    return of_rows


def inputs_of(function) -> tuple[tf.TensorSpec, ...]:
    """Of a concrete function, in order."""
    return function.structured_input_signature[0]


def prior_draws(vae, seeds) -> tf.Tensor:
    """One z ~ p(z) for each seed [B]: [B, D]."""
    shape = tf.TensorSpec([vae.latent_size], tf.float32)
    return tf.map_fn(lambda seed: vae.prior.sample(seed=stateless_seed(seed)), seeds, fn_output_signature=shape)


def _by_row(vae, image, seed, objective, *names):
    """Some of an objective's `Terms`, {name: [B]}, row by row: the same bits in any batch, and bounded memory."""
    image = _checked("image", image, vae.event_shape, vae.inputs_accepted.rules(support=True))
    seed = _checked("seed", seed, [])
    sizes = tf.shape(image)[0], tf.shape(seed)[0]
    image = tensors.after(tf.equal(*sizes), ["image and seed must have the same batch size, got", *sizes], image)

    def of_row(row):
        x, seed, i = row
        terms = objective(vae.rows(i), x[tf.newaxis], seed=seed)
        return {name: getattr(terms, name)[0] for name in names}

    signature = {name: tf.TensorSpec([], tf.float32) for name in names}
    return tf.map_fn(of_row, (image, seed, tf.range(sizes[0])), fn_output_signature=signature)


def _checked(name, value, row_shape, rules=None):
    """`value`, after the graph has checked its shape, [B, *row_shape], and its content."""
    row_shape = [int(size) for size in row_shape]
    # Without a static shape, which the graph optimizer would trust, and fold the check away.
    value = tf.compat.v1.placeholder_with_default(value, shape=None)
    shape = tf.shape(value)
    padded = tf.concat([shape, tf.fill([len(row_shape) + 1], -1)], axis=0)[1 : len(row_shape) + 1]
    good = tf.equal(tf.rank(value), len(row_shape) + 1) & tf.reduce_all(tf.equal(padded, row_shape))
    message = [f"{name} must have shape [{checks.joined(['batch', *row_shape])}], got", shape]
    value = tensors.after(good, message, value)
    value.set_shape([None, *row_shape])
    return tensors.graph_content(name, value, rules or {})


def bytes_to_images(vae, image) -> tf.Tensor:
    """Bytes divided by 255, then moved to the nearest value in the likelihood's support."""
    x = tf.cast(image, tf.float32) / 255
    return vae.decoder.to_support(x) if isinstance(vae.decoder, TakesBytes) else x


def _decoded(image_bytes, event_shape):
    """PNG or JPEG files [B] as uint8 [B, H, W, C]."""
    height, width, channels = (int(size) for size in event_shape)
    image_bytes = _checked("image_bytes", image_bytes, [])
    most, number = max(1, pictures.MOST_PIXELS // (height * width)), tf.size(image_bytes)
    rule = f"image_bytes must hold at most {most} pictures of {height} x {width} pixels, got"
    image_bytes = tensors.after(number <= most, [rule, number], image_bytes)

    def decoded(content):
        with tf.name_scope("image_bytes"):  # the error of a broken file names the scope
            picture = pictures.decode("image_bytes", content, channels, (height, width))
        picture.set_shape(event_shape)
        return picture

    return tf.map_fn(decoded, image_bytes, fn_output_signature=tf.TensorSpec(event_shape, tf.uint8))
