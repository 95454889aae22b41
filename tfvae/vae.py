"""The model: an encoder q(z|x), a decoder p(x|z), a prior p(z), and a training step that maximises an objective."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import tensorflow as tf
import tf_keras as tfk
from tensorflow_probability import distributions as tfd

from tfvae.distributions.unmerged import decoded, unwrapped
from tfvae.guard import FiniteGuard, StopWhenNotFinite
from tfvae.inputs import Inputs, latents, refuse_weights, unweighted
from tfvae.objectives.bounds import elbo
from tfvae.objectives.terms import Adaptive, Objective, Stateful, Terms
from tfvae.seeds import fold_in, stateless_seed
from tfvae.support import bodies, replicas, rules, tensors

_TRAINING, _EVALUATION = 0, 1  # what a seed is for: folded in first, so that the two never share noise


class VAE(tfk.Model):
    """A variational autoencoder (Kingma and Welling 2013, arXiv 1312.6114); ValueError if its pieces do not fit.

        p(x, z) = p(x|z) p(z),   q(z|x) ~ p(z|x)

    `fit` maximises `objective`. The metrics `loss` (= -objective), `elbo` (= log_likelihood - kl), `log_likelihood`
    and `kl` are means over examples, in nats per example. No other loss is added. Every random number is a function
    of `seed` and the step, so that runs repeat exactly and `evaluate` gives the same answer twice.
    `tfvae.VAE` is this model with a faster `fit` (`tfvae.train`).

    Args:
        encoder: a Keras model (or any callable), [B, *event_shape] -> a `tfd.Distribution` over [D].
        decoder: a Keras model (or any callable), [B, D] -> a `tfd.Distribution` over `event_shape`.
        prior: a `tfd.Distribution` over [D], empty batch shape.

    >>> encoder = tfvae.posteriors.diagonal_normal(tfvae.networks.mlp((8, 8, 1), [16]), 2)
    >>> decoder = tfvae.likelihoods.bernoulli(tfvae.networks.mlp((2,), [16]), (8, 8, 1))
    >>> vae = tfvae.VAE(encoder, decoder, tfvae.priors.standard_normal(2))
    >>> vae.generate(3).shape, vae.reconstruct(np.zeros([5, 8, 8, 1])).shape
    (TensorShape([3, 8, 8, 1]), TensorShape([5, 8, 8, 1]))
    """

    num_classes = 0  # of the labels that the pieces read
    condition: Mapping = MappingProxyType({})  # {name: values} that a served signature takes besides
    check_labels = None  # labels are ignored

    @rules.checked
    def __init__(self, encoder, decoder, prior: tfd.Distribution, *, seed=0, name: str = "vae", **kwargs):
        super().__init__(name=name, **kwargs)
        self.encoder, self.decoder, self.prior, self.seed = encoder, decoder, prior, seed
        self.recipe: Any = None
        self._meters = [tfk.metrics.Mean(name=n) for n in ("loss", "elbo", "log_likelihood", "kl")]
        self._guard = FiniteGuard()
        self._build_pieces()

    def _build_pieces(self):
        """Runs the pieces once, which builds their weights, and checks that their shapes agree."""
        if self.prior.event_shape.rank != 1 or self.prior.batch_shape.rank != 0:
            raise ValueError(f"prior must have event shape [latent_size] and an empty batch shape, got {self.prior}")
        self.latent_size = self.prior.event_shape[0]
        expected = self.latent_size + self.num_classes
        taken = getattr(getattr(self.decoder, "network", self.decoder), "input_shape", (expected,))[-1]
        if taken != expected:
            also = f" and {self.num_classes} classes" if self.num_classes else ""
            wanted = f"the prior's {self.latent_size} latents{also}"
            raise ValueError(f"decoder must take {wanted}, got one that takes {taken}")
        vae = self.for_labels([0])
        px_z = vae.decode(tf.zeros([1, self.latent_size], self.prior.dtype))
        self.event_shape = tuple(px_z.event_shape)
        self.inputs_accepted = Inputs(self.event_shape, px_z.dtype, self.decoder, self.check_labels)
        x = tf.zeros([1, *self.event_shape], px_z.dtype)
        if (got := vae.encode(x).event_shape[-1]) != self.latent_size:
            raise ValueError(f"encoder must give the prior's {self.latent_size} latents, got {got}")
        bodies.refuse_misfits(self, (x, tf.zeros([1], tf.int64)) if self.num_classes else x)

    def encode(self, x) -> tfd.Distribution:
        """q(z|x) of finite x [B, *event_shape], images (three axes) in [0, 1]: batch shape [B], event shape [D]."""
        return unwrapped(self.encoder(self.inputs_accepted.checked(x)), "encoder")

    def decode(self, z) -> tfd.Distribution:
        """p(x|z) of finite latents [..., D]: batch shape [...], event shape `event_shape`."""
        # An eager training step is not checked: its guard says more of what is not finite.
        return decoded(self.decoder, latents(z, self.latent_size, values=not self.run_eagerly))

    def call(self, x, training=None, seed=None):
        """p(x|z) for one z ~ q(z|x) each. `seed` makes the draw repeatable; None draws anew at each call."""
        return self.decoder(self.encode(x).sample(seed=None if seed is None else stateless_seed(seed)))

    @rules.checked
    def generate(self, n: int, seed: rules.AnySeed = 0) -> tf.Tensor:
        """n images from the prior: the means of p(x|z), z ~ p(z): [n, *event_shape]."""
        return self.decode(self.prior.sample(n, seed=stateless_seed(seed))).mean()

    def reconstruct(self, x) -> tf.Tensor:
        """The mean of p(x|z) at the mean of q(z|x): [B, *event_shape]. Deterministic; what `predict` gives."""
        return self.decode(self.encode(x).mean()).mean()

    @rules.checked
    def compile(self, optimizer="adam", objective: Objective = elbo, **kwargs):
        """As `tf_keras.Model.compile`, with an objective (`tfvae.objectives`), to be maximised, in place of a loss.

        Other arguments: `jit_compile`, `steps_per_execution`, `run_eagerly`; ValueError for others, or no callable.
        """
        if refused := sorted(set(kwargs) - {"jit_compile", "steps_per_execution", "run_eagerly"}):
            raise ValueError(f"compile must get no losses or metrics beside the objective, got {', '.join(refused)}")
        super().compile(optimizer=optimizer, **kwargs)
        # Not by Keras' setattr, which would train an objective's own variables as the model's.
        self.__dict__["objective"] = objective

    @property
    def metrics(self):
        return self._meters

    def train_step(self, data):
        vae, x = self._batch(data)
        step = self.optimizer.iterations
        seed = replicas.own_seed(fold_in(self.seed, _TRAINING, step))
        before = bodies.state(self)
        with tf.GradientTape() as tape, bodies.training(self):
            terms = self.objective(vae, x, seed=seed, step=step)
            loss = -replicas.joint_mean(terms.objective)
        gradients = self.optimizer.compute_gradients(loss, self.trainable_variables, tape)
        good = self._guard.apply(self.optimizer, loss, gradients)
        if isinstance(self.objective, Stateful):  # such as a discriminator
            with bodies.training(self):
                self.objective.update(vae, x, seed=seed, good=good)
        bodies.keep(before, good)
        if isinstance(self.decoder, Adaptive):  # such as a scale that follows the residuals
            self.decoder.after_step(replicas.mean_of_all(terms.log_likelihood), good)
        return self._record(terms)

    def test_step(self, data):
        vae, x = self._batch(data)
        # Keras resets this counter at the start of every evaluation: same data, same noise, same answer.
        seed = replicas.own_seed(fold_in(self.seed, _EVALUATION, self._test_counter))
        return self._record(self.objective(vae, x, seed=seed, step=self.optimizer.iterations))

    def predict_step(self, data):
        vae, x = self._batch(data)
        return vae.reconstruct(x)

    def _batch(self, data):
        """The model and the images of a batch as Keras gives it, without the labels, which this model ignores."""
        return self, self.inputs_accepted.checked(unweighted(data)[0])

    def _record(self, terms: Terms):
        elbo = terms.log_likelihood - terms.kl
        for meter, values in zip(self._meters, (-terms.objective, elbo, terms.log_likelihood, terms.kl), strict=True):
            meter.update_state(values)
        return {meter.name: meter.result() for meter in self._meters}

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """As `tf_keras.Model.fit` on images or a `tf.data.Dataset` of batches; `y` is ignored.

        ValueError for bad data or arguments, before the first update where they can be seen; FloatingPointError if
        training turns non-finite: the message names the step, and the weights are those before it.
        """
        refuse_weights(kwargs.get("sample_weight"), kwargs.get("class_weight"))
        if (given := kwargs.get("validation_data")) is not None:
            x_val, y_val = unweighted(given, "validation_data")
            kwargs["validation_data"] = self._accepted(x_val, y_val, argument="validation_data")
        x, y = self._accepted(x, y, batch_size)
        callbacks = [StopWhenNotFinite(self._guard), *tf.nest.flatten([] if callbacks is None else callbacks)]
        self._guard.bad_step.assign(-1)
        with tensors.graph_errors(), tensors.reading_errors():
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(self, x=None, y=None, batch_size=None, **kwargs):
        """As `tf_keras.Model.evaluate`: `loss`, `elbo`, `log_likelihood`, `kl`, means over examples in nats."""
        refuse_weights(kwargs.get("sample_weight"))
        with tensors.graph_errors(), tensors.reading_errors():
            if "_use_cached_eval_dataset" not in kwargs:  # else within fit, which has checked
                rules.keras(**kwargs)
                x, y = self._accepted(x, y, batch_size)
            return super().evaluate(x, y, batch_size, **kwargs)

    def predict(self, x, batch_size=None, **kwargs):
        """As `tf_keras.Model.predict`: what `reconstruct` gives, [N, *event_shape]."""
        rules.keras(**kwargs)
        with tensors.graph_errors():
            return super().predict(self._accepted(x, None, batch_size, support=False)[0], batch_size, **kwargs)

    def _accepted(self, x, y=None, batch_size=None, argument="x", support=True):
        return self.inputs_accepted.for_keras(x, y, batch_size, argument, support)

    def check_support(self, x, argument: str = "x") -> tf.Tensor:
        """x [N, *event_shape] as a tensor, once shape, range and the likelihood's support are checked."""
        return self.inputs_accepted.supported(x, argument)

    def for_labels(self, labels):
        """The model of images that have these labels: self, as an unconditional model ignores labels."""
        return self

    def rows(self, rows):
        """The model of some rows of x and z: self, as every row has the same model."""
        return self
