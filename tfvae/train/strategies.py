"""`tf.distribute` strategies by name, and values that the processes of a cluster share.

Several machines run the same program; TF_CONFIG lists the machines and says which of them this is:

    {"cluster": {"worker": ["host-0:2222", "host-1:2222"]}, "task": {"type": "worker", "index": 0}}
"""

import contextlib
import functools
import json
import os
import socket

import tensorflow as tf

from tfvae.data import shares
from tfvae.support.checks import check_name, count

NAMES = ("mirrored", "multiworker")
_FORM = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


@functools.cache
def named(name, num_devices=None):
    """A strategy, the same at every call, as a second MirroredStrategy of a process fails for a model of another size.

    TensorFlow must not have computed anything yet where the CPU is split, or for several machines.

    Args:
        name: "mirrored", several devices of this machine; "multiworker", those of all machines that TF_CONFIG names,
            each of which must call this, and waits here for the others.
        num_devices: splits the CPU into this many logical devices, to try a strategy without GPUs.

    Raises:
        ValueError: an unknown name, a num_devices below 1, a TF_CONFIG that is missing or malformed.
        RuntimeError: TensorFlow has already run an operation.
    """
    check_name("distribute", name, NAMES)
    if name == "multiworker":
        check_cluster(os.environ.get("TF_CONFIG"))
    if num_devices is not None:
        count("devices", num_devices)
        processor = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * num_devices)
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy(None if num_devices is None else [f"CPU:{i}" for i in range(num_devices)])


def check_cluster(text):
    """Raises ValueError unless `text`, TF_CONFIG's, names a cluster and a task in it."""
    if not text:
        raise ValueError(f"TF_CONFIG must be set for multiworker, to {_FORM}, got nothing")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        addresses, index = cluster[task["type"]], task["index"]
        every = [address for job in cluster.values() for address in job]
        good = set(cluster) <= {"chief", "worker"} and type(index) is int and 0 <= index < len(addresses)
        good &= all(isinstance(address, str) and address.count(":") == 1 for address in every)
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise ValueError(f"TF_CONFIG must be of the form {_FORM}, the index in range, got {text}")


def local_cluster(num_workers):
    """TF_CONFIG for each of `num_workers` processes on this machine, with free ports: a list of JSON texts.

    >>> len(tfvae.train.strategies.local_cluster(2))
    2
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num_workers)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    tasks = [{"type": "worker", "index": index} for index in range(num_workers)]
    return [json.dumps({"cluster": {"worker": workers}, "task": task}) for task in tasks]


def check_fits(strategy, batch_size, jit):
    """Raises ValueError unless a training can be shared by the strategy's replicas."""
    num_replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    if batch_size < num_replicas:
        raise ValueError(f"batch_size must be at least the number of replicas, {num_replicas}, got {batch_size}")
    if jit and num_replicas > 1:
        raise ValueError(f"jit must not be True with several replicas, got True with {num_replicas}")


def scope(strategy):
    """The strategy's scope; for None a null context."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def is_chief(strategy):
    """Whether this process writes files and prints: one process of a cluster, or the only one."""
    return strategy is None or strategy.extended.should_checkpoint


def share(strategy, variables):
    """Broadcasts the chief's values of the variables to all workers, bit for bit, without files."""
    if strategy is None or not shares.several_workers(strategy):
        return

    @tf.function
    def chiefs():
        return strategy.run(lambda: [_of_first_replica(variable) for variable in variables])

    for variable, values in zip(variables, chiefs(), strict=True):
        variable.assign(strategy.experimental_local_results(values)[0])


def wait(strategy):
    """A barrier: returns when all workers have called it."""
    share(strategy, [tf.Variable(0)])


@contextlib.contextmanager
def losses_of_workers(strategy):
    """Turns TensorFlow's errors about a lost worker into a ConnectionError that says what to do."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError) as e:
        if strategy is None or not shares.several_workers(strategy):
            raise
        reason = " ".join(e.message.split())[:200]
        raise ConnectionError(
            f"another worker was lost: start all of them again, to go on from the last finished epoch ({reason})"
        ) from None


def _of_first_replica(variable):
    context = tf.distribute.get_replica_context()
    is_first = tf.equal(context.replica_id_in_sync_group, 0)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(is_first, variable, tf.zeros_like(variable)))
