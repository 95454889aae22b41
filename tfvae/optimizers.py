"""Adam's update as one operation for each variable."""

import functools

import tensorflow as tf
import tf_keras as tfk


def fused(optimizer):
    """The same optimizer; where it is a plain Adam, its update of a variable reads and writes memory once.

    Keras composes the update of a dozen operations, each of which goes through all of the memory: on a processor that
    is a third of the step of a small VAE. The formula is Keras' (Kingma and Ba 2014, arXiv 1412.6980, the form before
    section 2.1), the rounding is not.

    Args:
        optimizer: a tf_keras optimizer; any but Adam, or an Adam with `amsgrad` or `adaptive_epsilon`, stays as it is.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if type(inner) is tfk.optimizers.Adam and not (inner.amsgrad or inner.adaptive_epsilon):
        inner.update_step = functools.partial(_update_step, inner)
    return optimizer


def _update_step(adam, gradient, variable):
    if isinstance(gradient, tf.IndexedSlices):
        return type(adam).update_step(adam, gradient, variable)
    dtype = variable.dtype
    number = adam._index_dict[adam._var_key(variable)]
    count = tf.cast(adam.iterations + 1, dtype)
    beta_1, beta_2 = tf.cast(adam.beta_1, dtype), tf.cast(adam.beta_2, dtype)
    return tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=adam._momentums[number].handle,
        v=adam._velocities[number].handle,
        beta1_power=beta_1**count,
        beta2_power=beta_2**count,
        lr=tf.cast(adam.learning_rate, dtype),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.cast(adam.epsilon, dtype),
        grad=gradient,
    )
