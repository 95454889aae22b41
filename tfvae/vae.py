"""The model: an encoder q(z|x), a decoder p(x|z), a prior p(z), and the Keras training loop around an objective."""

import contextlib
import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tfvae import checks, objectives, optimizers, replicas, shares
from tfvae.loop import Loop, xla_pays
from tfvae.seeds import fold_in, stateless_seed
from tfvae.unmerged import decoded, unwrapped

tfd = tfp.distributions

# Steps that one call from Python runs, where nobody wants to be called in between.
_CHUNK = 32
# What a seed is for; folded in first, so that training and evaluation never share noise.
_TRAINING, _EVALUATION = 0, 1


class VAE(tfk.Model):
    """A variational autoencoder (Kingma and Welling 2013, arXiv 1312.6114).

        p(x, z) = p(x|z) p(z),   q(z|x) ~ p(z|x)

    `fit` maximises `objective`; the metrics `loss` (= -objective), `elbo` (= log_likelihood - kl), `log_likelihood`
    and `kl` are means over examples, in nats per example. No other loss is added anywhere. A second element of a
    batch (labels) is ignored; `conditional.ConditionalVAE` reads it.

    Every random number of training and evaluation is a function of `seed` and the step, so that runs repeat exactly
    and `evaluate` gives the same answer twice.

    Args:
        encoder: a Keras model (or any callable), [B, *event_shape] -> a `tfd.Distribution` over [D].
        decoder: a Keras model (or any callable), [B, D] -> a `tfd.Distribution` over `event_shape`.
        prior: a `tfd.Distribution` over [D], empty batch shape.
        seed: an integer.

    Raises:
        ValueError: if the three do not fit together.
    """

    num_classes = 0  # labels that the pieces read: none

    def __init__(self, encoder, decoder, prior, *, seed=0, name="vae", **kwargs):
        super().__init__(name=name, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.seed = seed
        self.recipe = None
        self._loop = None
        self._has_strategy = tf.distribute.has_strategy()
        self._meters = [tfk.metrics.Mean(name=n) for n in ("loss", "elbo", "log_likelihood", "kl")]
        self._bad_step = tf.Variable(
            -1,
            dtype=tf.int64,
            trainable=False,
            name="first_nonfinite_step",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self._build_pieces()

    def _build_pieces(self):
        """Runs the pieces once, which builds their weights, and checks that their shapes agree."""
        latent_shape = tuple(self.prior.event_shape)
        if len(latent_shape) != 1 or self.prior.batch_shape.rank != 0:
            raise ValueError(f"prior must have event shape [latent_size] and an empty batch shape, got {self.prior}")
        body = getattr(self.decoder, "network", self.decoder)
        expected = latent_shape[0] + self.num_classes
        taken = getattr(body, "input_shape", (None, expected))[-1]
        if taken != expected:
            classes = f" and {self.num_classes} classes" if self.num_classes else ""
            raise ValueError(
                f"decoder must take the prior's {latent_shape[0]} latents{classes}, got one that takes {taken}"
            )
        vae = self.for_labels([0])
        # Any latents would do; not every prior has a mean.
        px_z = vae.decode(tf.zeros([1, *latent_shape], self.prior.dtype))
        self.event_shape, self._x_dtype = tuple(px_z.event_shape), px_z.dtype
        qz_x = vae.encode(tf.zeros([1, *self.event_shape], px_z.dtype))
        if tuple(qz_x.event_shape) != latent_shape:
            raise ValueError(f"encoder must give the prior's {latent_shape[0]} latents, got {qz_x.event_shape[-1]}")
        self.latent_size = latent_shape[0]
        self(self._blank(px_z.dtype), seed=0)

    def _blank(self, dtype):
        """What a call takes, of one example."""
        return tf.zeros([1, *self.event_shape], dtype)

    # The three nouns.

    def encode(self, x):
        """q(z|x): batch shape [B], event shape [D].

        Args:
            x: [B, *event_shape], finite; images (three axes) in [0, 1].
        """
        return unwrapped(self.encoder(self._checked(x)))

    def decode(self, z):
        """p(x|z): batch shape [...], event shape `event_shape`.

        Args:
            z: latents [..., D], any number of leading axes.
        """
        return decoded(self.decoder, tf.convert_to_tensor(z))

    def call(self, x, training=None, seed=None):
        """p(x|z) for one z ~ q(z|x) each. `seed` makes the draw repeatable; None draws anew at each call."""
        seed = None if seed is None else stateless_seed(seed)
        return self.decoder(self.encode(x).sample(seed=seed))

    def generate(self, n, seed=0):
        """n images from the prior: the means of p(x|z), z ~ p(z): [n, *event_shape]."""
        checks.count("n", n)
        return self.decode(self.prior.sample(n, seed=stateless_seed(seed))).mean()

    def reconstruct(self, x):
        """The mean of p(x|z) at the mean of q(z|x): [B, *event_shape]. Deterministic; what `predict` gives."""
        return self.decode(self.encode(x).mean()).mean()

    # What a conditional model does otherwise.

    def for_labels(self, labels):
        """The model of images that have these labels, as objectives and measures take it: this one, whatever they are.

        Of a `conditional.ConditionalVAE`, `given(labels)`.
        """
        return self

    def rows(self, rows):
        """The model of some of the images that it is asked about: this one."""
        return self

    @property
    def condition(self):
        """{name: values} of what a served signature takes besides: nothing."""
        return {}

    def _checked_labels(self, argument, labels, num_images):
        """The labels of so many images, checked; None, as this model has no use for them."""
        return None

    def _batch(self, data):
        """Of a batch as Keras gives it: the model and the images, as an objective takes them."""
        return self, self._checked(data[0] if isinstance(data, tuple) else data)

    # Training and evaluation.

    def compile(self, optimizer="adam", objective=objectives.elbo, **kwargs):
        """As `tf_keras.Model.compile`, with an objective in place of a loss.

        Args:
            optimizer: a tf_keras optimizer.
            objective: a callable `(vae, x, *, seed, step) -> Terms`, to be maximised: see `tfvae.objectives`. One with
                a method `update(vae, x, *, seed, good)` is asked to update variables of its own after each step.
            **kwargs: `jit_compile` (None: where `loop.xla_pays`), `steps_per_execution`, `run_eagerly`.
        """
        refused = sorted(set(kwargs) - {"jit_compile", "steps_per_execution", "run_eagerly"})
        if refused:
            raise ValueError(f"compile must get no losses or metrics beside the objective, got {', '.join(refused)}")
        if not callable(objective):
            raise ValueError(f"objective must be a callable such as objectives.elbo, got {objective!r}")
        if kwargs.get("jit_compile") and self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError("jit_compile must not be True under a strategy of several replicas, got True")
        super().compile(optimizer=optimizers.fused(tfk.optimizers.get(optimizer)), **kwargs)
        # Past Keras, which would train an objective's own variables as the model's.
        self.__dict__["objective"] = objective
        self._loop = None

    @property
    def metrics(self):
        return self._meters

    def train_step(self, data):
        vae, x = self._batch(data)
        step = self.optimizer.iterations
        seed = replicas.own_seed(fold_in(self.seed, _TRAINING, step))
        with tf.GradientTape() as tape:
            terms = self.objective(vae, x, seed=seed, step=step)
            loss = -replicas.joint_mean(terms.objective)
        gradients = self.optimizer.compute_gradients(loss, self.trainable_variables, tape)
        self._apply_while_finite(loss, gradients, step)
        good = tf.less(self._bad_step, 0)
        if hasattr(self.objective, "update"):  # an objective with variables of its own
            self.objective.update(vae, x, seed=seed, good=good)
        if hasattr(self.decoder, "after_step"):  # a scale that follows the residuals
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

    def _record(self, terms):
        elbo = terms.log_likelihood - terms.kl
        for meter, values in zip(self._meters, (-terms.objective, elbo, terms.log_likelihood, terms.kl), strict=True):
            meter.update_state(values)
        return {meter.name: meter.result() for meter in self._meters}

    def _apply_while_finite(self, loss, gradients, step):
        """Applies the gradients, unless this or an earlier step was not finite: the last good weights stay."""
        finite = tf.math.is_finite(loss)
        if not isinstance(self.optimizer, tfk.mixed_precision.LossScaleOptimizer):  # that one skips such gradients
            # A sum is finite if its terms are, and reads them once.
            finite &= tf.math.is_finite(
                tf.add_n([tf.cast(tf.reduce_sum(g), loss.dtype) for g, _ in gradients if g is not None])
            )
        finite = replicas.all_agree(finite)
        first = tf.logical_and(tf.less(self._bad_step, 0), tf.logical_not(finite))
        self._bad_step.assign(tf.where(first, step, self._bad_step))
        good = tf.less(self._bad_step, 0)
        if (self.jit_compile if self._loop is None else self._loop.jit) and optimizers.can_withhold(
            self.optimizer, gradients
        ):
            optimizers.apply_if(good, self.optimizer, gradients)
        else:
            replicas.apply_if(good, self.optimizer, gradients)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """As `tf_keras.Model.fit`; `y` is ignored, but by a `ConditionalVAE`, whose labels they are.

        One call from Python runs up to 32 steps, unless `steps_per_execution` was given to `compile`, a callback
        listens to batches, or a dataset does not know its length. What `ImageData.train` gives is then not iterated:
        the compiled step itself reads the images, in the same order and with the same binarization. A subclass with
        a `train_step` of its own gets images either way. The numbers are the same, but where XLA compiles (long runs of
        small batches through dense layers, unless `compile` was told otherwise): its normals are others.

        Under a strategy of several workers each reads its part of every batch, see `tfvae.shares`; x must be a Dataset.

        Args:
            x: images [N, *event_shape] in the likelihood's support, or a `tf.data.Dataset` of batches.

        Raises:
            ValueError: bad data or arguments, before the first update where they can be seen.
            FloatingPointError: training turned non-finite. The message names the step; the weights are those before.
        """
        checks.count("epochs", epochs)
        if kwargs.get("validation_data") is not None:
            validation, labels = self._at_the_door(kwargs["validation_data"], None, None, "validation_data")
            validation = self._shared(validation, kwargs, "validation_data", "validation_steps")
            kwargs["validation_data"] = validation if labels is None else (validation, labels)
        x, y = self._training_data(x, y, batch_size, epochs, kwargs)
        self._bad_step.assign(-1)
        if type(self).train_step is VAE.train_step:
            with self.distribute_strategy.scope():  # now: a step that makes variables is traced twice
                self.optimizer.build(self.trainable_variables)
        callbacks = _as_list(callbacks)
        alone = any(_listens_to_batches(callback) for callback in callbacks)
        alone |= _is_endless(x, kwargs.get("steps_per_epoch"))
        alone |= _is_endless(kwargs.get("validation_data"), kwargs.get("validation_steps"))
        callbacks = [_StopWhenNonFinite(), *callbacks]
        with checks.graph_errors(), self._chunks(1 if alone else _CHUNK):
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def _training_data(self, x, y, batch_size, epochs, kwargs):
        """x and y for Keras to read, from one of three: workers' parts, what is in memory, all else; and the loop."""
        loop = self._loop_over(x, epochs)
        if loop is not self._loop:
            self._loop, self.train_function = loop, None
        if shares.several_workers(self.distribute_strategy):
            return self._parts(x, kwargs), None
        if hasattr(x, "epochs_from"):
            kwargs.setdefault("steps_per_epoch", x.num_steps)
            first_epoch = int(self.optimizer.iterations.numpy()) // x.num_steps
            if loop is not None:  # it reads the images, and Keras counts the steps
                checks.levels("x", x.in_memory.levels(), self.rules(support=True))
                self._checked_labels("x", x.in_memory.labels, x.in_memory.num_images)
                loop.start(first_epoch)
                return tf.data.Dataset.from_tensors(0).repeat(), None
            x = x.epochs_from(first_epoch)
        return self._at_the_door(x, y, batch_size)

    def _parts(self, x, kwargs):
        """What each of several workers reads of a training set."""
        steps = shares.num_steps(x, kwargs.get("steps_per_epoch"), "x", "steps_per_epoch")
        part_of = shares.training(x, int(self.optimizer.iterations.numpy()) // steps, self.distribute_strategy)
        kwargs["steps_per_epoch"] = steps
        return self.distribute_strategy.distribute_datasets_from_function(
            lambda context: self._at_the_door(part_of(context), None, None)[0]
        )

    def _loop_over(self, x, epochs):
        """The loop over a data set whose images are in memory; None for all that is to go Keras' way."""
        own_step = type(self).train_step is not VAE.train_step  # Keras calls that one, and takes what it returns
        if not hasattr(x, "in_memory") or own_step or self._has_strategy:
            return None
        # By all epochs, though some may be done: a resumed run is compiled as it was.
        jit = self.jit_compile if self.jit_compile is not None else xla_pays(self, x.batch_size, epochs * x.num_steps)
        known = self._loop
        if known is not None and (known.epochs, known.batch_size, known.jit) == (x.in_memory, x.batch_size, jit):
            return known
        return Loop(self.train_step, x.in_memory, x.batch_size, jit=jit, eagerly=self.run_eagerly)

    def _shared(self, x, kwargs, argument, steps):
        """A dataset as several workers share its batches, `steps` set among Keras' arguments; all else as it is."""
        if not (isinstance(x, tf.data.Dataset) and shares.several_workers(self.distribute_strategy)):
            return x
        kwargs[steps] = shares.num_steps(x, kwargs.get(steps), argument, steps)
        return self.distribute_strategy.distribute_datasets_from_function(functools.partial(shares.parts, x))

    def evaluate(self, x=None, y=None, batch_size=None, **kwargs):
        """As `tf_keras.Model.evaluate`: `loss`, `elbo`, `log_likelihood`, `kl`, means over examples in nats."""
        with checks.graph_errors():
            # Within fit, Keras hands over validation data that has passed the door.
            if "_use_cached_eval_dataset" not in kwargs:
                x, y = self._at_the_door(x, y, batch_size)
                x = self._shared(x, kwargs, "x", "steps")
            return super().evaluate(x, y, batch_size, **kwargs)

    def predict(self, x, batch_size=None, **kwargs):
        """As `tf_keras.Model.predict`: the mean of p(x|z) at the mean of q(z|x), [N, *event_shape]."""
        with checks.graph_errors():
            x, _ = self._at_the_door(x, None, batch_size, support=False)
            return super().predict(x, batch_size, **kwargs)

    # Several steps a call: Keras' functions are always made in the form that loops, so that the number can change.

    def make_train_function(self, force=False):
        if self._loop is not None:
            self.train_function = self._run_loop
            return self.train_function
        with self._chunks(_CHUNK):
            return super().make_train_function(force)

    def _run_loop(self, _):
        self._loop.run(int(self._steps_per_execution.numpy()))
        return self.get_metrics_result()

    def make_test_function(self, force=False):
        with self._chunks(_CHUNK):
            return super().make_test_function(force)

    @contextlib.contextmanager
    def _chunks(self, size):
        """Runs `size` steps a call, unless the user has said how many."""
        before = self._steps_per_execution.numpy()
        if before == 1:
            self._steps_per_execution.assign(size)
        try:
            yield
        finally:  # a training that was interrupted, too
            self._steps_per_execution.assign(before)

    def save(self, *args, **kwargs):
        raise NotImplementedError(
            "Keras files cannot reload TFP layers: use tfvae.save(vae, directory) to go on training, "
            "tfvae.serving.export(vae, directory) to serve, vae.save_weights(file) for the weights alone"
        )

    # The door: data are checked once, where they come in.

    def check_support(self, x, argument="x"):
        """x as a tensor, once its shape, finiteness, range and the likelihood's support are checked.

        Raises:
            ValueError: names the argument, the rule and the value.
        """
        x = self._checked(x, argument, support=True)
        if x.shape[0] == 0:
            raise ValueError(f"{argument} must hold at least one example, got shape {list(x.shape)}")
        return x

    def _checked(self, x, argument="x", support=False):
        x = tf.convert_to_tensor(x)
        event_shape = getattr(self, "event_shape", None)
        if event_shape is None:
            return x
        if not x.dtype.is_floating:
            raise ValueError(f"{argument} must hold floats in [0, 1], got {x.dtype.name}: divide bytes by 255")
        if x.shape.rank is not None and not tf.TensorShape([None, *event_shape]).is_compatible_with(x.shape):
            expected = checks.joined(["batch", *event_shape])
            raise ValueError(f"{argument} must have shape [{expected}], got [{checks.joined(x.shape)}]")
        if self._x_dtype.is_floating:
            x = tf.cast(x, self._x_dtype)  # NumPy's division gives float64
        if tf.executing_eagerly():
            checks.content(argument, x, self.rules(support))
        return x

    def rules(self, support):
        """What an image obeys, {words: elementwise test}; `support`: the likelihood's rule too."""
        rules = checks.element_rules(is_image=len(self.event_shape) == 3)
        if support and hasattr(self.decoder, "support"):
            rules[self.decoder.support] = self.decoder.in_support
        return rules

    def _at_the_door(self, x, labels, batch_size, argument="x", support=True):
        """x and its labels, checked now if x is an array; of a dataset, whose batches hold both, as they are read."""
        if batch_size is not None:
            checks.batch_size(batch_size)
        if isinstance(x, tf.distribute.DistributedDataset):  # what `_shared` gave, checked before
            return x, None
        if isinstance(x, tf.data.Dataset):
            rules = self.rules(support)

            def checked(x, labels=None, *others):
                x = checks.graph_content(argument, self._checked(x, argument), rules)
                labels = self._checked_labels(argument, labels, tf.shape(x)[0])
                return x if labels is None else (x, labels)

            return x.map(checked, num_parallel_calls=tf.data.AUTOTUNE), None
        if argument == "validation_data" and isinstance(x, tuple):
            x, labels = x[:2]
        if not isinstance(x, np.ndarray | tf.Tensor):
            raise ValueError(
                f"{argument} must be an array or a tf.data.Dataset, got {type(x).__name__} "
                "(tf.data.Dataset.from_generator makes one of a generator)"
            )
        if x.shape[0] == 0:
            raise ValueError(f"{argument} must hold at least one image, got shape {tuple(x.shape)}")
        if batch_size is not None:
            checks.batch_size(batch_size, x.shape[0])
        return self._checked(x, argument, support), self._checked_labels(argument, labels, x.shape[0])


class _StopWhenNonFinite(tfk.callbacks.Callback):
    """Looks now and then, so that a device is not waited for at every step; the weights are frozen meanwhile."""

    def on_train_begin(self, logs=None):
        self.looked = 0

    def on_train_batch_end(self, batch, logs=None):
        if abs(batch - self.looked) >= 100:
            self.looked = batch
            self._check()

    def on_epoch_end(self, epoch, logs=None):
        self._check()

    def _check(self):
        step = int(self.model._bad_step.numpy())
        if step >= 0:
            raise FloatingPointError(
                f"training turned non-finite at step {step} (counted from 0); the weights are those before that step. "
                "Lower the learning rate, or look at that batch"
            )


def _listens_to_batches(callback):
    """Whether a Keras callback has a method of its own for what happens before or after a batch."""
    names = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
    return any(getattr(type(callback), name) is not getattr(tfk.callbacks.Callback, name) for name in names)


def _is_endless(data, num_steps):
    """Whether Keras cannot know how many batches it will read."""
    return isinstance(data, tf.data.Dataset) and num_steps is None and data.cardinality() < 0


def _as_list(callbacks):
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
