"""The conditional model: an encoder and a decoder that read a label beside what they encode and decode."""

import math
from operator import attrgetter

import numpy as np
import tensorflow as tf

from tfvae.distributions import decoded, unwrapped
from tfvae.inputs import latents, unweighted
from tfvae.seeds import stateless_seed
from tfvae.support import checks, tensors
from tfvae.support.rules import FromTwo, checked
from tfvae.train import VAE


class ConditionalVAE(VAE):
    """A VAE of images given their labels y; ValueError if its pieces do not fit together.

        p(x, z|y) = p(x|z, y) p(z),   q(z|x, y) ~ p(z|x, y)

    Sohn, Lee and Yan (2015, "Learning Structured Output Representation using Deep Conditional Generative Models"), with
    one prior for all labels as in Kingma et al. (2014, arXiv 1406.5298).

    The decoder reads [y, z] and the encoder [y, x], with a one-hot label y and the image flattened. `given(labels)` is
    the model for these labels, which objectives and measures take in place of a VAE: their numbers are then about
    log p(x|y). A batch of `fit`, `evaluate` and `predict` is a pair of images and labels, as
    `ImageData.train(batch_size, labels=True)` gives it; arrays are passed as `fit(x, labels)`.

    Args:
        encoder, decoder, prior: as of a `VAE`, but the encoder takes [B, K + size of an image], the decoder [B, K + D].
        num_classes: K, at least 2; labels are integers from 0 to K - 1.

    >>> encoder = tfvae.posteriors.diagonal_normal(tfvae.networks.mlp((10 + 64,), [16]), 2)
    >>> decoder = tfvae.likelihoods.bernoulli(tfvae.networks.mlp((10 + 2,), [16]), (8, 8, 1))
    >>> vae = tfvae.ConditionalVAE(encoder, decoder, tfvae.priors.standard_normal(2), num_classes=10)
    >>> vae.generate([3, 3, 7]).shape
    TensorShape([3, 8, 8, 1])
    """

    @checked
    def __init__(self, encoder, decoder, prior, num_classes: FromTwo, *, seed=0, name="conditional_vae", **kwargs):
        body, event_shape = getattr(encoder, "network", encoder), getattr(decoder, "event_shape", None)
        taken = getattr(body, "input_shape", None)
        if event_shape and taken and taken[1:] != (num_classes + math.prod(event_shape),):
            wanted = f"{num_classes} classes and {math.prod(event_shape)} pixels in one vector"
            raise ValueError(f"encoder must take {wanted}, got one that takes [{checks.joined(taken[1:])}]")
        self.num_classes = int(num_classes)
        super().__init__(encoder, decoder, prior, seed=seed, name=name, **kwargs)

    @checked
    def given(self, labels):
        """p(x, z|y) and q(z|x, y) for these labels: a `Given`, to be used as a `VAE` that is not trained.

        Labels are integers from 0 to K - 1, one for each row of x and z, [B], or one for all, []; else ValueError.
        """
        return Given(self, self._checked("labels", labels, {1: "[batch]", 0: "[]"}))

    for_labels = given

    @property
    def label_rules(self):
        """What a label obeys, {words: elementwise test}."""
        return {f"in [0, {self.num_classes - 1}]": lambda y: (y >= 0) & (y < self.num_classes)}

    def encode(self, x, labels):
        """q(z|x, y): batch shape [B], event shape [D]. Arguments as of `VAE` and `given`."""
        return self.given(labels).encode(x)

    def decode(self, z, labels):
        """p(x|z, y): batch shape [...], event shape `event_shape`. Arguments as of `VAE` and `given`."""
        return self.given(labels).decode(z)

    def call(self, inputs, training=None, seed=None):
        """p(x|z, y) for one z ~ q(z|x, y) each. `inputs`: a pair, images and labels; `seed` as for a `VAE`."""
        x, labels = inputs
        given, seed = self.given(labels), None if seed is None else stateless_seed(seed)
        return self.decoder(given.beside(given.encode(x).sample(seed=seed)))

    def generate(self, labels, seed=0):
        """An image of each label: the means of p(x|z, y), z ~ p(z): [n, *event_shape]."""
        return self.given(labels).generate(int(tf.size(labels)), seed)

    def reconstruct(self, x, labels):
        """The mean of p(x|z, y) at the mean of q(z|x, y): [B, *event_shape]. Deterministic."""
        return self.given(labels).reconstruct(x)

    def predict(self, x, labels=None, batch_size=None, **kwargs):
        """As `tf_keras.Model.predict`: what `reconstruct` gives, [N, *event_shape]; x may be a Dataset of pairs."""
        if labels is not None:
            x, labels = self._accepted(x, labels, batch_size, support=False)
            x, batch_size = tf.data.Dataset.from_tensor_slices((x, labels)).batch(batch_size or 32), None
        return super().predict(x, batch_size, **kwargs)

    def check_support(self, x, argument="x"):
        raise ValueError(f"vae must be given the labels of {argument}: vae.given(labels), got a conditional model")

    def check_labels(self, argument, labels, num_images):
        if labels is None:
            hint = "give fit(x, labels), or batches of pairs as data.train(batch_size, labels=True) has them"
            raise ValueError(f"{argument} must come with labels y for a conditional model, got none: {hint}")
        argument = f"y, the labels of {argument},"
        labels = self._checked(argument, labels, {1: "[batch]"})
        if tf.executing_eagerly():
            if len(labels) != num_images:
                raise ValueError(f"{argument} must be {num_images}, one an image, got {len(labels)}")
            return labels
        message = [f"{argument} must be as many as the images, got", tf.size(labels)]
        labels = tensors.after(tf.equal(tf.size(labels), num_images), message, labels)
        return tensors.graph_content(argument, labels, self.label_rules)

    def _checked(self, argument, labels, shapes):
        """Labels as int64, of one of the shapes {rank: words}; outside a graph their values are checked too."""
        labels = labels if tf.is_tensor(labels) else np.asarray(labels)
        if not tf.as_dtype(labels.dtype).is_integer:
            raise ValueError(f"{argument} must be integers, got {labels.dtype.name}")
        labels = tf.cast(labels, tf.int64)
        if labels.shape.rank not in shapes:
            words = " or ".join(shapes.values())
            raise ValueError(f"{argument} must have shape {words}, got [{checks.joined(labels.shape)}]")
        if tf.executing_eagerly():
            tensors.content(argument, tf.reshape(labels, [-1]), self.label_rules)
        return labels

    def _batch(self, data):
        x, labels = unweighted(data)
        return self.given(labels), self.inputs_accepted.checked(x)


class Given:
    """A `ConditionalVAE` given labels, which objectives, measures and plots take as a `VAE`: made by `given`.

    `label` is int64 [B], one for each row of x and z, or [], one for all. A `Given` can be an argument of a
    tf.function, which is then traced once for all labels.
    """

    num_classes = 0  # the labels are given

    def __init__(self, model, label):
        self.model, self.label = model, label
        self.encoder, self.decoder, self.prior = model.encoder, model.decoder, model.prior

    inputs_accepted = property(attrgetter("model.inputs_accepted"))
    event_shape = property(attrgetter("model.event_shape"))
    latent_size = property(attrgetter("model.latent_size"))

    @property
    def condition(self):
        """{name: values} of what a served signature takes besides."""
        return {"label": self.label}

    def encode(self, x):
        """q(z|x, y): batch shape [B], event shape [D]."""
        x = self.model.inputs_accepted.checked(x)
        return unwrapped(self.encoder(self.beside(tf.reshape(x, [-1, math.prod(self.event_shape)]))), "encoder")

    def decode(self, z):
        """p(x|z, y): batch shape [...], event shape `event_shape`; the axis before the last is that of the labels."""
        return decoded(self.decoder, self.beside(latents(z, self.latent_size, values=not self.model.run_eagerly)))

    generate = VAE.generate
    reconstruct = VAE.reconstruct

    def check_support(self, x, argument="x"):
        """As of a `VAE`; x must be as many as the labels."""
        x = self.inputs_accepted.supported(x, argument)
        self._check_number(argument, x.shape[0])
        return x

    def rows(self, rows):
        """The model of some of the rows: an index or a slice."""
        return Given(self.model, self.label[rows]) if self.label.shape.rank else self

    def beside(self, v):
        """Concatenates a one-hot label before v: [..., size] -> [..., K + size]."""
        if v.shape.rank > 1:
            self._check_number("x or z", v.shape[-2])
        size = self.model.num_classes
        y = tf.one_hot(self.label, size, dtype=v.dtype)
        return tf.concat([tf.broadcast_to(y, tf.concat([tf.shape(v)[:-1], [size]], axis=0)), v], axis=-1)

    def _check_number(self, argument, number):
        if self.label.shape.rank and None not in (number, self.label.shape[0]) and number != self.label.shape[0]:
            raise ValueError(f"{argument} must have a row for each of the {self.label.shape[0]} labels, got {number}")

    def __tf_flatten__(self):
        return (self.model,), (self.label,)

    @classmethod
    def __tf_unflatten__(cls, metadata, components):
        return cls(*metadata, *components)
