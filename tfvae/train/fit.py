"""The model with a faster `fit`: many steps a call, images read inside the step, several workers, fused Adam.

What a step computes is in `tfvae.vae`; here is only how data reach it. The loop in memory takes 1 / 1.18 of the time of
Keras' own iterator on digits, 1 / 1.07 and 1 / 1.21 on 784-400-20 at batch 128 and 1024 (two quiet cores).
"""

import contextlib
import dataclasses
import functools
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from tfvae import vae as core
from tfvae.data import Batches, shares
from tfvae.objectives import Objective, elbo
from tfvae.support import checks, replicas
from tfvae.train import adam
from tfvae.train.loop import Loop, xla_pays

# Steps that one call from Python runs, where no callback wants to be called in between.
_CHUNK = 32


@dataclasses.dataclass(frozen=True)
class _Ready:
    """Data that have been checked, in the form in which Keras reads them."""

    x: Any
    y: Any = None


class VAE(core.VAE):
    __doc__ = str(core.VAE.__doc__).replace("    `tfvae.VAE` is this model with a faster `fit` (`tfvae.train`).\n", "")

    def __init__(self, *pieces, **options):
        super().__init__(*pieces, **options)
        self._loop: Loop | None = None
        self._has_strategy = tf.distribute.has_strategy()
        self._guard.apply_if = self._apply_if

    def compile(self, optimizer="adam", objective: Objective = elbo, **kwargs):
        """As `tf_keras.Model.compile`, with an objective in place of a loss.

        Args:
            optimizer: a tf_keras optimizer.
            objective: `(vae, x, *, seed, step) -> Terms`, to be maximised: see `tfvae.objectives`. One with a method
                `update(vae, x, *, seed, good)` is asked to update variables of its own after each step.
            **kwargs: `jit_compile` (None: where `train.xla_pays`), `steps_per_execution`, `run_eagerly`.

        Raises:
            ValueError: losses or metrics beside the objective, an objective that cannot be called, XLA under a
                strategy of several replicas.
        """
        if kwargs.get("jit_compile") and self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError("jit_compile must not be True under a strategy of several replicas, got True")
        super().compile(adam.fused(tfk.optimizers.get(optimizer)), objective, **kwargs)
        self._loop = None

    def _apply_if(self, good, optimizer, gradients):
        """Under XLA by arithmetic where that can be done, as XLA fuses nothing across a condition."""
        jit = self.jit_compile if self._loop is None else self._loop.jit
        if jit and adam.can_withhold(optimizer, gradients):
            adam.apply_if(good, optimizer, gradients)
        else:
            replicas.apply_if(good, optimizer, gradients)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """As `tf_keras.Model.fit`; `y` is ignored, except by a `ConditionalVAE`, whose labels they are.

        One call from Python runs up to 32 steps, unless `steps_per_execution` was given to `compile`, a callback
        listens to batches, or a dataset does not know its length. `Batches` of images in memory (`ImageData.train`)
        are not iterated: the compiled step itself reads the images, in the same order and with the same binarization,
        unless a subclass has its own `train_step`. The numbers are the same, except where XLA compiles (long runs of
        small batches through dense layers, unless `compile` was told otherwise): it draws other normals.

        Under a strategy of several workers each reads its part of every batch; x must then be a `Batches` or a
        `tf.data.Dataset`.

        Args:
            x: images [N, *event_shape] in the likelihood's support, or a `tf.data.Dataset` of batches, or a `Batches`.

        Raises:
            ValueError: bad data or arguments, before the first update where they can be seen.
            FloatingPointError: training turned non-finite. The message names the step; the weights are those before.
        """
        checks.count("epochs", epochs)
        if isinstance(given := _dataset_of(kwargs.get("validation_data")), tf.data.Dataset):
            given, _ = self._accepted(given, argument="validation_data")
            kwargs["validation_data"] = _Ready(self._shared(given, kwargs, "validation_data", "validation_steps"))
        x, y = self._training_data(x, y, batch_size, epochs, kwargs)
        if type(self).train_step is core.VAE.train_step:
            with self.distribute_strategy.scope():  # now: a step that makes variables is traced twice
                self.optimizer.build(self.trainable_variables)
        every_step = any(_listens_to_batches(callback) for callback in tf.nest.flatten(callbacks))
        every_step |= _is_endless(x, kwargs.get("steps_per_epoch"))
        every_step |= _is_endless(given, kwargs.get("validation_steps"))
        with self._chunks(1 if every_step else _CHUNK):
            return super().fit(_Ready(x, y), None, batch_size, epochs, verbose, callbacks, **kwargs)

    def _accepted(self, x, y=None, batch_size=None, argument="x", support=True):
        if isinstance(x, _Ready):
            return x.x, x.y
        return super()._accepted(_dataset_of(x), y, batch_size, argument, support)

    def _training_data(self, x, y, batch_size, epochs, kwargs):
        """x and y as Keras is to read them: workers' parts, steps of the loop in memory, or what was given."""
        loop = self._loop_over(x, epochs)
        if loop is not self._loop:
            self._loop, self.train_function = loop, None
        if shares.several_workers(self.distribute_strategy):
            return self._parts(x, kwargs), None
        if isinstance(x, Batches) and x.num_steps is not None:
            kwargs.setdefault("steps_per_epoch", x.num_steps)
            first_epoch = int(self.optimizer.iterations.numpy()) // x.num_steps
            if loop is not None:  # it reads the images, and Keras counts the steps
                checks.levels("x", loop.epochs.levels(), self.inputs_accepted.rules(support=True))
                if self.check_labels is not None:
                    self.check_labels("x", loop.epochs.labels, loop.epochs.num_images)
                loop.start(first_epoch)
                return tf.data.Dataset.from_tensors(0).repeat(), None
            x = x.from_epoch(first_epoch)
        return self._accepted(x, y, batch_size)

    def _parts(self, x, kwargs):
        """What each of several workers reads of a training set."""
        steps = shares.num_steps(x, kwargs.get("steps_per_epoch"), "x", "steps_per_epoch")
        part_of = shares.training(x, int(self.optimizer.iterations.numpy()) // steps, self.distribute_strategy)
        kwargs["steps_per_epoch"] = steps
        return self.distribute_strategy.distribute_datasets_from_function(
            lambda context: self._accepted(part_of(context))[0]
        )

    def _loop_over(self, x, epochs) -> Loop | None:
        """The loop over images in memory; None where Keras is to iterate."""
        own_step = type(self).train_step is not core.VAE.train_step  # which Keras calls, and takes what it returns
        if not isinstance(x, Batches) or x.in_memory is None or own_step or self._has_strategy:
            return None
        # By all epochs, though some may be done: a resumed run is compiled as it was.
        jit = self.jit_compile if self.jit_compile is not None else xla_pays(self, x.batch_size, epochs * x.num_steps)
        known = self._loop
        if known is not None and (known.epochs, known.batch_size, known.jit) == (x.in_memory, x.batch_size, jit):
            return known
        return Loop(self.train_step, x.in_memory, x.batch_size, jit=jit, eagerly=self.run_eagerly)

    def _shared(self, x, kwargs, argument, steps):
        """A dataset as several workers share its batches, `steps` set among Keras' arguments; else x itself."""
        if not (isinstance(x, tf.data.Dataset) and shares.several_workers(self.distribute_strategy)):
            return x
        kwargs[steps] = shares.num_steps(x, kwargs.get(steps), argument, steps)
        return self.distribute_strategy.distribute_datasets_from_function(functools.partial(shares.parts, x))

    def evaluate(self, x=None, y=None, batch_size=None, **kwargs):
        x = _dataset_of(x)
        if "_use_cached_eval_dataset" not in kwargs and isinstance(x, tf.data.Dataset):
            with checks.graph_errors():
                x = _Ready(self._shared(self._accepted(x, y, batch_size)[0], kwargs, "x", "steps"))
        return super().evaluate(x, y, batch_size, **kwargs)

    evaluate.__doc__ = core.VAE.evaluate.__doc__

    # Several steps a call: Keras' functions are always made in the form that loops, so that the number can change.

    def make_train_function(self, force=False):
        if self._loop is not None:
            self.train_function = self._run_loop
            return self.train_function
        with self._chunks(_CHUNK):
            return super().make_train_function(force)

    def _run_loop(self, _):
        assert self._loop is not None
        self._loop.run(int(self._steps_per_execution.numpy()))
        return self.get_metrics_result()

    def make_test_function(self, force=False):
        with self._chunks(_CHUNK):
            return super().make_test_function(force)

    @contextlib.contextmanager
    def _chunks(self, size):
        """Runs `size` steps a call, unless `compile` was told how many."""
        before = self._steps_per_execution.numpy()
        if before == 1:
            self._steps_per_execution.assign(size)
        try:
            yield
        finally:  # also after a training that was interrupted
            self._steps_per_execution.assign(before)

    def save(self, *args, **kwargs):
        raise NotImplementedError(
            "Keras files cannot reload TFP layers: use tfvae.save(vae, directory) to go on training, "
            "tfvae.serving.export(vae, directory) to serve, vae.save_weights(file) for the weights alone"
        )


def _dataset_of(x):
    """The Dataset of `Batches`; anything else as it is."""
    return x.dataset if isinstance(x, Batches) else x


def _listens_to_batches(callback):
    """Whether a Keras callback overrides a method that is called before or after a batch."""
    names = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
    plain = tfk.callbacks.Callback
    return isinstance(callback, plain) and any(getattr(type(callback), n) is not getattr(plain, n) for n in names)


def _is_endless(data, num_steps):
    """Whether Keras cannot know how many batches it will read."""
    return isinstance(data, tf.data.Dataset) and num_steps is None and data.cardinality() < 0
