"""A training step on several replicas: sums over all of them, and a seed for each."""

import tensorflow as tf

from tfvae.seeds import fold_in, stateless_seed


def number():
    """Replicas that step together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def own_seed(seed):
    """This replica's seed, so that replicas draw different noise; its second number stays, distinct for each step."""
    if number() == 1:
        return seed
    first, second = tf.unstack(stateless_seed(seed))
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.stack([fold_in(tf.stack([first, replica]), 0)[0], second])


def _total(value):
    """The sum over all replicas, the same on each."""
    if number() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def joint_mean(values):
    """This replica's share of the mean over all replicas' values: shares are summed, as gradients are."""
    if number() == 1:
        return tf.reduce_mean(values)
    return tf.reduce_sum(values) / _total(tf.cast(tf.size(values), values.dtype))


def mean_of_all(values):
    """The mean over all replicas' values, the same on each: []."""
    return _total(joint_mean(values))


def all_agree(good):
    """Whether `good` holds on every replica."""
    return good if number() == 1 else _total(tf.cast(~good, tf.int32)) == 0


def apply_if(good, optimizer, gradients):
    """Applies the gradients if `good`, the same on all replicas."""

    def apply_here():
        optimizer.apply_gradients(gradients)
        return True

    def apply_everywhere(strategy, gradients, good):
        def apply():
            strategy.extended.call_for_each_replica(optimizer.apply_gradients, args=(gradients,))
            return True

        tf.cond(strategy.experimental_local_results(good)[0], apply, lambda: False)

    if not tf.distribute.has_strategy():
        tf.cond(good, apply_here, lambda: False)
    else:
        # tf.cond must not contain cross-replica ops, so we branch in merge_call.
        tf.distribute.get_replica_context().merge_call(apply_everywhere, args=(gradients, good))
