"""Loads a server with requests and compares it with the same calls made in this process.

    python benchmarks/serving_load.py --url http://localhost:8501 --export saved_models/digits/1

For each batch size, in turns of one second: requests to the server from `--threads` threads, then the same to the
export in this process from one. Prints requests and rows a second, the median and the tails of a request's time, and
the ratio of rows a second, server to process.
"""

import concurrent.futures
import json
import time

import click
import numpy as np
import tensorflow as tf

from tfvae import serving


def request_for(client, signature, size):
    """Black and white images at random, seeds, latents: good under every likelihood."""
    rng = np.random.default_rng(0)
    makers = {
        "float32": lambda shape: rng.integers(0, 2, size=shape).astype(np.float32),
        "uint8": lambda shape: 255 * rng.integers(0, 2, size=shape).astype(np.uint8),
        "int64": lambda shape: rng.integers(0, 2**62, size=shape, dtype=np.int64),
    }
    specs = client.signatures()[signature][0]
    return {name: makers[spec.dtype]([size, *spec.shape[1:]]) for name, spec in specs.items()}


def seconds_of_each(call, seconds, threads):
    """How long each request took, for so long, and the time in all."""
    started = time.perf_counter()

    def one_after_the_other(_):
        taken = []
        while time.perf_counter() - started < seconds:
            before = time.perf_counter()
            call()
            taken.append(time.perf_counter() - before)
        return taken

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        taken = [t for part in pool.map(one_after_the_other, range(threads)) for t in part]
    return taken, time.perf_counter() - started


def summary(turns, size):
    taken = np.concatenate([taken for taken, _ in turns])
    rate = len(taken) / sum(total for _, total in turns)
    p50, p95, p99 = (float(1000 * p) for p in np.percentile(taken, [50, 95, 99]))
    return {"requests_per_s": rate, "rows_per_s": rate * size, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


@click.command()
@click.option("--url", default="http://localhost:8501", help="http://HOST:PORT or grpc://HOST:PORT.")
@click.option("--model", default="digits", help="The name under which the server has it.")
@click.option("--export", default="saved_models/digits/1", help="The same version, for the calls in this process.")
@click.option("--signature", default="serving_default")
@click.option("--batch-sizes", default="1,8,64", help="Rows a request, between commas.")
@click.option("--threads", default=4, help="Requests to the server at a time.")
@click.option("--seconds", default=5, help="For each batch size, and each side.")
@click.option("--output", type=click.File("w"), help="Write the numbers as JSON too.")
def main(url, model, export, signature, batch_sizes, threads, seconds, output):
    """Requests a second and their times, against a server and in this process."""
    client = serving.Client(url, model)
    function = tf.saved_model.load(export).signatures[signature]
    results = []
    click.echo(f"{signature} at {url}, {threads} threads; in this process, 1 thread")
    click.echo(
        f"{'rows':>6} {'':<8} {'requests/s':>10} {'rows/s':>10} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'ratio':>6}"
    )
    for size in (int(part) for part in batch_sizes.split(",")):
        request = request_for(client, signature, size)
        tensors = {name: tf.constant(value) for name, value in request.items()}
        sides = {
            "server": (lambda request=request: client.predict(signature, **request), threads),
            "process": (lambda tensors=tensors: [v.numpy() for v in function(**tensors).values()], 1),
        }
        turns = {side: [] for side in sides}
        for call, _ in sides.values():
            call()
        for _ in range(seconds):
            for side, (call, count) in sides.items():
                turns[side].append(seconds_of_each(call, 1, count))
        numbers = {side: summary(part, size) for side, part in turns.items()}
        ratio = numbers["server"]["rows_per_s"] / numbers["process"]["rows_per_s"]
        for side, row in numbers.items():
            shown = f"{ratio:6.2f}" if side == "server" else ""
            click.echo(
                f"{size:>6} {side:<8} {row['requests_per_s']:>10.0f} {row['rows_per_s']:>10.0f} "
                f"{row['p50_ms']:>8.2f} {row['p95_ms']:>8.2f} {row['p99_ms']:>8.2f} {shown}"
            )
        results.append({"rows": size, **numbers, "ratio": ratio})
    if output:
        json.dump({"signature": signature, "url": url, "threads": threads, "results": results}, output, indent=2)


if __name__ == "__main__":
    main()
