"""What limits training on several machines: seconds of compute a step, and bytes that the workers exchange for it.

    python benchmarks/scaling.py                    minutes; writes results/scaling.json

Trains a VAE in one process, and in two that share each batch over 127.0.0.1, every process on a core of its own and
with as many images a step as the single one (weak scaling). Prints the efficiency measured,

    (seconds a step of one) / (seconds a step of two),

and the one to expect of n devices joined by a network of some bandwidth, in which a ring all-reduce sends and receives
2 (n - 1) / n times the gradient, and overlaps with nothing:

    t_compute / (t_compute + t_allreduce),   t_allreduce = 2 (n - 1) / n * 4 bytes * parameters / bandwidth.
"""

import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import click
import reports

from tfvae.train import strategies

HERE = pathlib.Path(__file__).parent
BANDWIDTHS = {"10 Gbit/s Ethernet": 1.25e9, "100 Gbit/s": 12.5e9, "NVLink, 300 GB/s": 300e9}  # bytes a second, each way
NUM_DEVICES = (1, 8, 64)


def allreduce_bytes(num_parameters, num_devices):
    """What each device sends, and receives, to sum float32 gradients in a ring."""
    return 2 * (num_devices - 1) / num_devices * 4 * num_parameters


def predicted(seconds, num_parameters):
    """{network: {number of devices: efficiency}}."""
    return {
        name: {n: seconds / (seconds + allreduce_bytes(num_parameters, n) / bandwidth) for n in NUM_DEVICES}
        for name, bandwidth in BANDWIDTHS.items()
    }


def train(way, batch_size, num_steps, rounds):
    """One process: prints median seconds a step, its processor seconds a step, and the number of parameters.

    Args:
        way: "memory", the package's quickest; "pipeline", by tf.data and Keras, as workers must; "workers".
        batch_size: of this process.
    """
    import numpy as np
    import tf_keras as tfk

    from tfvae import data, recipes

    strategy = strategies.named("multiworker") if way == "workers" else None
    num_replicas = strategy.num_replicas_in_sync if strategy else 1
    x = np.random.default_rng(0).integers(0, 256, (batch_size * num_steps * num_replicas, 28, 28), np.uint8)
    images = data.from_arrays(x, x[:1], validation_size=0, binarize="stochastic")
    recipe = recipes.Recipe(data="digits", hidden_sizes=(400,), latent_size=20).complete(images)
    with strategies.scope(strategy):
        vae = recipes.build(recipe)
        vae.compile(tfk.optimizers.Adam(1e-3))
    times = []

    def now(*_):
        times.append((time.perf_counter(), time.process_time()))

    batches = images.train(batch_size * num_replicas)
    if way == "pipeline":
        batches = batches.map(lambda x: x)  # no longer known as images in memory
    vae.fit(batches, epochs=rounds + 1, verbose=0, callbacks=[tfk.callbacks.LambdaCallback(on_epoch_end=now)])
    pairs = list(itertools.pairwise(times))
    seconds, busy = (statistics.median(b[i] - a[i] for a, b in pairs) / num_steps for i in (0, 1))
    num_parameters = sum(int(np.prod(v.shape)) for v in vae.trainable_variables)
    print(json.dumps({"seconds": seconds, "busy": busy, "parameters": num_parameters}))


def measured(way, size, arguments):
    """What the first of `size` processes printed, each pinned to a core."""
    cores = sorted(os.sched_getaffinity(0))
    processes = []
    for i, config in enumerate(strategies.local_cluster(size)):
        environment = os.environ | {"PYTHONPATH": str(HERE.parent), "TF_CONFIG": config}
        command = ["taskset", "-c", str(cores[i % len(cores)]), sys.executable, __file__, "--way", way, *arguments]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise click.ClickException(f"a process that trained by {way} has failed")
    return json.loads(outputs[0].splitlines()[-1])


@click.command(help=__doc__)
@click.option("--batch-size", type=int, default=128, help="Images a step, of each process [128].")
@click.option("--num-steps", type=int, default=100, help="An epoch [100].")
@click.option("--rounds", type=int, default=5, help="Epochs that count [5].")
@reports.output_option("scaling")
@click.option("--way", type=click.Choice(["memory", "pipeline", "workers"]), hidden=True)
def main(batch_size, num_steps, rounds, output, way):
    if way:
        train(way, batch_size, num_steps, rounds)
        return
    arguments = [*("--batch-size", str(batch_size)), *("--num-steps", str(num_steps)), *("--rounds", str(rounds))]
    found = {name: measured(name, size, arguments) for name, size in (("memory", 1), ("pipeline", 1), ("workers", 2))}
    one, two, parameters = found["memory"], found["workers"], found["memory"]["parameters"]
    click.echo(f"MLP 784-400-20, {parameters:,} parameters, {batch_size} images a step and process")
    for name, row in found.items():
        click.echo(f"  {name:<10}{1e3 * row['seconds']:>9.2f} ms a step{1e3 * row['busy']:>9.2f} ms of the processor")
    num_bytes = allreduce_bytes(parameters, 2)
    efficiency = {name: found[name]["seconds"] / two["seconds"] for name in ("memory", "pipeline")}
    click.echo(f"  two workers exchange {num_bytes / 1e6:.2f} MB a step; their weak scaling efficiency is")
    click.echo(f"  {efficiency['memory']:.0%} of the quickest, {efficiency['pipeline']:.0%} of the same pipeline")
    expected = predicted(one["seconds"], parameters)
    click.echo(f"  expected efficiency, {1e3 * one['seconds']:.2f} ms of compute:")
    for name, row in expected.items():
        click.echo(f"    {name:<22}" + "".join(f"  {n} devices {value:.1%}" for n, value in row.items()))
    result = {
        "batch_size": batch_size,
        "parameters": parameters,
        "measured": found,
        "allreduce_bytes_of_two": num_bytes,
        "weak_scaling_efficiency_of_two": efficiency,
        "bandwidths": BANDWIDTHS,
        "predicted_efficiency": expected,
    }
    reports.write(output, reports.head() | result)


if __name__ == "__main__":
    main()
