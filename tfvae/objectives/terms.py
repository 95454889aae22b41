"""What objectives and measures are made of. Shapes in comments: S samples, B batch, D latent."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfvae.seeds import stateless_seed
from tfvae.support.rules import AnySeed, checked


class Terms(NamedTuple):
    """What an objective gives for a batch: three tensors [B], in nats. The metric `elbo` is log_likelihood - kl."""

    objective: tf.Tensor  # what is maximised; the loss is minus its mean
    log_likelihood: tf.Tensor  # E_q[log p(x|z)], estimated
    kl: tf.Tensor  # KL(q(z|x) || p(z)), exact or estimated


class Objective(Protocol):
    """`(vae, x, *, seed, step) -> Terms`; its attribute `num_samples`, if any, is the number of z for an image."""

    def __call__(self, vae: Any, x: tf.Tensor, *, seed: Any, step: Any = None) -> Terms: ...


@runtime_checkable
class Stateful(Protocol):
    """An objective that has variables: `update` is called after each step, a checkpoint keeps `state`."""

    state: list

    def update(self, vae: Any, x: tf.Tensor, *, seed: Any, good: tf.Tensor) -> None: ...


@runtime_checkable
class Adaptive(Protocol):
    """A decoder that moves its variables by a step's mean of E_q[log p(x|z)], if the step was `good` (finite)."""

    def after_step(self, log_likelihood: tf.Tensor, good: tf.Tensor) -> None: ...


class Draw:
    """Samples z [S, B, D] of q(z|x), batch shape [B], with log p(x|z) [S, B], and what objectives make of them."""

    def __init__(self, qz_x, pz, z, log_px_z, *, log_qz_x=None, exact_kl: bool | None = None):
        self.qz_x, self.pz, self.z, self.log_px_z = qz_x, pz, z, log_px_z
        self._log_qz_x, self._exact_kl = log_qz_x, exact_kl

    @functools.cached_property
    def log_qz_x(self) -> tf.Tensor:
        """log q(z|x): [S, B]."""
        return self.qz_x.log_prob(self.z) if self._log_qz_x is None else self._log_qz_x

    @functools.cached_property
    def sampled_kl(self) -> tf.Tensor:
        """log q(z|x) - log p(z): [S, B]."""
        return self.log_qz_x - self.pz.log_prob(self.z)

    @property
    def log_w(self) -> tf.Tensor:
        """log p(x|z) + log p(z) - log q(z|x): [S, B]."""
        return self.log_px_z - self.sampled_kl

    @property
    def log_likelihood(self) -> tf.Tensor:
        """E_q[log p(x|z)], estimated: [B]."""
        return tf.reduce_mean(self.log_px_z, axis=0)

    @functools.cached_property
    def closed_form_kl(self) -> tf.Tensor | None:
        """KL(q(z|x) || p(z)): [B]; None where TFP has no closed form, or none is wanted."""
        if self._exact_kl is False:
            return None
        try:
            return tfd.kl_divergence(self.qz_x, self.pz)
        except NotImplementedError as error:
            if self._exact_kl:
                raise ValueError(f"exact_kl must not be True for this posterior and prior: {error}") from None
            return None

    @property
    def kl(self) -> tf.Tensor:
        """KL(q(z|x) || p(z)): [B], in closed form, else the mean of `sampled_kl`."""
        closed = self.closed_form_kl
        return tf.reduce_mean(self.sampled_kl, axis=0) if closed is None else closed


@checked
def draw(vae, x, seed: AnySeed, num_samples, exact_kl: bool | None = None) -> Draw:
    """num_samples z ~ q(z|x) for each x [B, ...], decoded in one pass; `exact_kl` is that of `elbo`.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.draw(vae, np.zeros([3, 8, 8, 1]), seed=0, num_samples=5).log_w.shape
    TensorShape([5, 3])
    """
    qz_x = vae.encode(x)
    z = qz_x.sample(num_samples, seed=stateless_seed(seed))
    return Draw(qz_x, vae.prior, z, vae.decode(z).log_prob(x), exact_kl=exact_kl)


@checked
def penalized(penalty: Callable, num_samples=1, exact_kl=None, log_likelihood=1.0) -> Objective:
    """log_likelihood * E_q[log p(x|z)] - penalty(`Draw`, step), [B] or [], in nats: an objective; the rest as `elbo`.

    >>> tfvae.objectives.penalized(lambda drawn, step: drawn.kl**2, num_samples=5).num_samples
    5
    """

    def objective(vae, x, *, seed, step=None):
        drawn = draw(vae, x, seed, num_samples, exact_kl)
        return Terms(log_likelihood * drawn.log_likelihood - penalty(drawn, step), drawn.log_likelihood, drawn.kl)

    return counted(objective, num_samples)


def counted(objective: Any, num_samples: int, warmup_steps: int = 0) -> Objective:
    """The objective, with the number of samples that it draws for an image where that does not grow."""
    if not warmup_steps:
        objective.num_samples = num_samples
    return objective


def warmup(step, warmup_steps, dtype=tf.float32) -> tf.Tensor:
    """The fraction of a schedule that has passed, from 0 to 1 over `warmup_steps` updates; 1 if `step` is None."""
    if step is None or not warmup_steps:
        return tf.ones([], dtype)
    return tf.minimum(tf.cast(step, dtype) / tf.cast(warmup_steps, dtype), 1)


def grown(num_samples, step, warmup_steps):
    """The number of samples at a step, which grows geometrically from 1: an integer, or a tensor while it grows."""
    if step is None or not warmup_steps:
        return num_samples
    return tf.cast(tf.round(tf.cast(num_samples, tf.float32) ** warmup(step, warmup_steps)), tf.int32)
