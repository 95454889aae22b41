"""Training stops at the first step that is not finite, with the weights before that step."""

import tensorflow as tf
import tf_keras as tfk

from tfvae.support import replicas


class FiniteGuard(tf.Module):
    """Applies gradients while every loss and gradient is finite. `bad_step` is the first that was not, or -1."""

    def __init__(self):
        super().__init__()
        aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self.bad_step = tf.Variable(-1, False, dtype=tf.int64, name="first_nonfinite_step", aggregation=aggregation)
        self.apply_if = replicas.apply_if  # how an update is made conditional

    def apply(self, optimizer, loss: tf.Tensor, gradients) -> tf.Tensor:
        """Applies the gradients if all has been finite so far; returns whether it has: a boolean []."""
        finite = tf.math.is_finite(loss)
        if not isinstance(optimizer, tfk.mixed_precision.LossScaleOptimizer):  # it skips such gradients itself
            # A sum is finite exactly if its terms are, and reads each gradient once.
            sums = [tf.cast(tf.reduce_sum(g), loss.dtype) for g, _ in gradients if g is not None]
            finite &= tf.math.is_finite(tf.add_n(sums))
        finite = replicas.all_agree(finite)
        first = (self.bad_step < 0) & ~finite
        self.bad_step.assign(tf.where(first, optimizer.iterations, self.bad_step))
        good = self.bad_step < 0
        self.apply_if(good, optimizer, gradients)
        return good

    def check(self) -> None:
        """Raises FloatingPointError if a step was not finite."""
        if (step := int(self.bad_step.numpy())) >= 0:
            raise FloatingPointError(
                f"training turned non-finite at step {step} (counted from 0); the weights are those before that step. "
                "Lower the learning rate, or look at that batch"
            )


class StopWhenNotFinite(tfk.callbacks.Callback):
    """Checks a guard every hundred batches, as a check waits for the device; the weights are frozen meanwhile."""

    def __init__(self, guard: FiniteGuard):
        super().__init__()
        self.guard, self.last_batch = guard, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.last_batch = 0

    def on_train_batch_end(self, batch, logs=None):
        if batch - self.last_batch >= 100:
            self.last_batch = batch
            self.guard.check()

    def on_epoch_end(self, epoch, logs=None):
        self.guard.check()
