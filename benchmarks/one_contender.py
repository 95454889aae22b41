"""The process of one contender of throughput.py: trains an epoch for each line on stdin, and answers in JSON.

python benchmarks/one_contender.py NAME MODEL BATCH_SIZE IMAGES.npy [--static] [--gpu]
"""

import contextlib
import json
import os
import pathlib
import sys
import time

import click
import numpy as np
from contenders import CONTENDERS, MODELS, Task, make


@click.command()
@click.argument("name", type=click.Choice(CONTENDERS))
@click.argument("model", type=click.Choice(MODELS))
@click.argument("batch_size", type=int)
@click.argument("images", type=click.Path(exists=True, dir_okay=False))
@click.option("--static", is_flag=True, help="Binarize once, not in each epoch anew.")
@click.option("--gpu", is_flag=True, help="Fail where the framework finds none.")
def main(name, model, batch_size, images, static, gpu):
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        epoch = make(name, Task(MODELS[model], np.load(images), batch_size, static, gpu))
        for _ in sys.stdin:
            started, busy = time.perf_counter(), time.process_time()
            count, loss = epoch()
            seconds = time.perf_counter() - started
            busy = time.process_time() - busy
            answer = {"images": count, "seconds": seconds, "loss": loss, "busy_cores": busy / seconds}
            print(json.dumps(answer | of_process()), file=answers, flush=True)


def of_process():
    """Peak memory and threads. Not getrusage's peak, which counts the parent's memory before the exec."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {"peak_mb": float("nan"), "threads": float("nan")}
    fields = dict(line.split(":", 1) for line in lines)
    return {"peak_mb": int(fields["VmHWM"].split()[0]) / 1024, "threads": int(fields["Threads"])}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
