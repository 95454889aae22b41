"""The mean of the weights of several epochs, as a Keras callback."""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as tfk

from tfvae.support.rules import checked


@checked
class AveragedWeights(tfk.callbacks.Callback):
    """Sets the weights at the end of training to their mean over the ends of the last T epochs.

        mean_T = 1/T sum_t w_t

    Polyak and Juditsky (1992, "Acceleration of stochastic approximation by averaging"); Izmailov et al. (2018, arXiv
    1803.05407). Late in a training the weights scatter about a point that is better than most of them. A step costs no
    more. Validation between epochs sees the weights, not their mean. A checkpoint must hold `variables`.

    >>> weight = tf.Variable(0.0)
    >>> average = tfvae.train.AveragedWeights([weight], first_epoch=1)
    >>> for epoch in range(3):
    ...     _ = weight.assign(epoch), average.on_epoch_end(epoch)
    >>> average.on_train_end()
    >>> float(weight)
    1.5

    Args:
        variables: the weights, already built.
        first_epoch: the first epoch that is averaged, from 0.

    Raises:
        ValueError: first_epoch below 0.
    """

    def __init__(self, variables: Sequence, first_epoch):
        super().__init__()
        self.first_epoch, self._weights = first_epoch, list(variables)
        self._means = [tf.Variable(weight, trainable=False, name="mean") for weight in self._weights]
        self._count = tf.Variable(0, trainable=False, name="count")
        self.variables = [*self._means, self._count]

    def on_epoch_end(self, epoch, logs=None):
        if epoch >= self.first_epoch:
            self._count.assign_add(1)
            for mean, weight in zip(self._means, self._weights, strict=True):
                mean.assign_add((weight - mean) / tf.cast(self._count, mean.dtype))

    def on_train_end(self, logs=None):
        if self._count > 0:
            for mean, weight in zip(self._means, self._weights, strict=True):
                weight.assign(mean)
