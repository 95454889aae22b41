"""Peak memory and images a second of reading TFRecords, by the size of the data set (on Linux).

    python benchmarks/streaming_memory.py                           50 to 400 MB: about a minute

Images of noise, 64 x 64 x 3 bytes each, are written to a temporary folder; two epochs of each size are read in a
process of its own. Memory is its peak above what it held once TensorFlow and the package were imported; the second
epoch is timed.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import click
import numpy as np
import reports

SHAPE = (64, 64, 3)
READ = """
import json, pathlib, sys, time
from tfvae import data

def peak_mb():  # not getrusage: that begins with the peak of the process that started this one
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000

pattern, batch_size, shuffle_buffer, binarize = json.loads(sys.argv[1])
before = peak_mb()
dataset = data.from_tfrecords(pattern, (64, 64, 3), shuffle_buffer=shuffle_buffer, binarize=binarize).train(batch_size)
for epoch in range(2):  # the first one's time holds the tracing
    started = time.perf_counter()
    images = sum(len(x) for x in dataset)
    seconds = time.perf_counter() - started
print(json.dumps({"images": images, "images_per_s": images / seconds, "peak_mb": peak_mb() - before}))
"""


def write(folder, size_mb):
    """Files of about 10 MB each; the array is on disk, so that writing takes no memory either."""
    from tfvae import data

    num_images = size_mb * 10**6 // int(np.prod(SHAPE))
    with tempfile.NamedTemporaryFile(dir=folder.parent) as file:
        images = np.memmap(file, np.uint8, "w+", shape=(num_images, *SHAPE))
        rng = np.random.default_rng(0)
        for i in range(num_images):
            images[i] = rng.integers(0, 256, SHAPE, np.uint8)
        data.to_tfrecords(images, folder, num_shards=max(1, size_mb // 10))


@click.command()
@click.option("--sizes", default="50,100,200,400", help="In MB, between commas.")
@click.option("--batch-size", default=128)
@click.option("--shuffle-buffer", default=1024, help="In images of 12 kB.")
@click.option("--binarize", type=click.Choice(["static", "stochastic"]), help="[grey levels]")
@click.option("--output", type=click.Path(dir_okay=False), help="Write the numbers as JSON too.")
def main(sizes, batch_size, shuffle_buffer, binarize, output):
    """Peak memory against the size of the data set; see the file's head."""
    report = reports.head() | {"rows": []}
    click.echo(f"{'data, MB':>10}{'images':>10}{'peak, MB':>10}{'images/s':>10}")
    for size_mb in (int(size) for size in sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder) / "data", size_mb)
            arguments = json.dumps([f"{folder}/data/*", batch_size, shuffle_buffer, binarize])
            command = [sys.executable, "-c", READ, arguments]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        click.echo(f"{size_mb:>10}{row['images']:>10}{row['peak_mb']:>10.0f}{row['images_per_s']:>10.0f}")
        report["rows"].append({"data_mb": size_mb, **row})
    if output:
        pathlib.Path(output).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
