"""Adam's update as one fused operation for each variable, which can be made conditional."""

import functools

import tensorflow as tf
import tf_keras as tfk

from tfvae.support.pieces import piece


@piece("optimizer", name="adam")
def plain_adam(learning_rate=1e-3):
    """Adam (Kingma and Ba 2014, arXiv 1412.6980)."""
    return tfk.optimizers.Adam(learning_rate)


def fused(optimizer):
    """The same optimizer; an Adam without `amsgrad` and `adaptive_epsilon` now updates a variable in one operation.

    Keras composes the update from a dozen operations, each of which passes over the memory: a step of 1,842 instead of
    764 microseconds. `tf_keras.optimizers.legacy.Adam` is as fast (723) but lacks `compute_gradients` and `build`.
    The formula is Keras' (Kingma and Ba 2014, arXiv 1412.6980, the form before section 2.1), the rounding is not.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if type(inner) is tfk.optimizers.Adam and not (inner.amsgrad or inner.adaptive_epsilon):
        inner.update_step = functools.partial(_update_step, inner)
    return optimizer


def can_withhold(optimizer, gradients):
    """Whether `apply_if` can make the update conditional: of a `fused` Adam without EMA or weight decay."""
    return (
        isinstance(getattr(optimizer, "update_step", None), functools.partial)
        and not (optimizer.jit_compile or optimizer.use_ema or optimizer.weight_decay)
        and all(isinstance(gradient, tf.Tensor) for gradient, _ in gradients)
    )


def apply_if(good, adam, gradients):
    """Applies the gradients if `good`; else betas of 1, a rate of 0 and gradients of 0, which change nothing.

    XLA fuses such arithmetic, but not across a tf.cond.
    """
    always = adam.update_step
    adam.update_step = functools.partial(_update_step, adam, good=good)
    adam.apply_gradients(gradients)
    adam.update_step = always
    adam.iterations.assign_sub(tf.cast(~good, adam.iterations.dtype))


def _update_step(adam, gradient, variable, good=True):
    if isinstance(gradient, tf.IndexedSlices):
        return type(adam).update_step(adam, gradient, variable)
    number = adam._index_dict[adam._var_key(variable)]
    return apply_adam(adam, gradient, variable, adam._momentums[number], adam._velocities[number], good)


def apply_adam(adam, gradient, variable, m, v, good=True):
    """Adam's update of one variable as one operation, with the hyperparameters of `adam`."""
    dtype = variable.dtype
    count = tf.cast(adam.iterations + 1, dtype)
    beta_1, beta_2, epsilon = (tf.constant(value, dtype) for value in (adam.beta_1, adam.beta_2, adam.epsilon))

    def only(value, otherwise):
        return value if good is True else tf.where(good, value, tf.cast(otherwise, dtype))

    return tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=m.handle,
        v=v.handle,
        beta1_power=beta_1**count,
        beta2_power=beta_2**count,
        lr=only(tf.cast(adam.learning_rate, dtype), 0),
        beta1=only(beta_1, 1),
        beta2=only(beta_2, 1),
        epsilon=epsilon,
        grad=only(gradient, 0),
    )
