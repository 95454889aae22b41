"""From a run to its latents as a file."""

import csv
import io
from typing import Literal

import numpy as np

from tfvae import diagnostics
from tfvae.runs.run import load, load_data
from tfvae.support import files, pieces
from tfvae.support.rules import checked

_BLOCK = 1000


@checked
def encode(run, to, data: str | None = None, split: Literal["train", "validation", "test", "all"] = "test") -> int:
    """Writes a row for each example, in the data's order, to a .csv or an .npz file; gives their number.

    A row holds the split, the label (where there are labels), the importance-weighted bound on log p(x) of 100 draws
    (nats; `importance_bound`), and the mean and the standard deviation of q(z|x), `loc` and `scale`, D each.

    >>> tfvae.runs.encode("run", "latents.csv")
    Traceback (most recent call last):
    FileNotFoundError: run must be a directory of a training run, got run, which does not exist

    Args:
        to: the file's path; written in one step, what it held is replaced.
        data: as `data.load` takes it, such as "folder:photos"; default: the run's own.

    Raises:
        OSError, ValueError: a run or data that cannot be read, or do not fit together; another suffix.
    """
    path = files.local("to", to)
    if path.suffix not in (".csv", ".npz"):
        raise ValueError(f"to must end in .csv or .npz, got {str(path)!r}")
    files.check_writable(path.parent, "to")
    vae = load(run)
    found = load_data(run) if data is None else _other(vae, data)
    if found.event_shape != vae.event_shape:
        raise ValueError(f"data must be of shape {vae.event_shape}, got {found.event_shape} of {found.name}")
    splits = ("train", "validation", "test") if split == "all" else (split,)
    tables = [_table(vae, found, one) for one in splits]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    if path.suffix == ".npz":
        files.write_arrays(path, columns)
    else:
        files.write_bytes(path, _csv(columns).encode())
    return len(columns["loc"])


def _other(vae, name):
    """Data of another name, pictures resized to the model's."""
    piece, _ = pieces.data_piece(name)
    height, width, channels = (*vae.event_shape, 0, 0)[:3]
    known = {"image_size": height if height == width else None, "channels": channels}
    own = {field: value for field, value in known.items() if piece and field in piece.fields()}
    others = dict.fromkeys(pieces.fields_of("data")) | own
    return vae.recipe.replace(data=name, validation_size=None, **others).load_data()


def _table(vae, data, split):
    x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
    given = vae.for_labels(y)
    parts = [slice(first, first + _BLOCK) for first in range(0, len(x), _BLOCK)]
    posteriors = [given.rows(part).encode(x[part]) for part in parts]
    empty = np.zeros([0, vae.latent_size], np.float32)
    bound = diagnostics.log_evidence(given, x, 100).value if len(x) else np.zeros([0])
    return {
        "split": np.full(len(x), split),
        **({} if y is None else {"label": np.asarray(y)}),
        "importance_bound": bound,
        "loc": np.concatenate([empty, *(q.mean().numpy() for q in posteriors)]),
        "scale": np.concatenate([empty, *(q.stddev().numpy() for q in posteriors)]),
    }


def _csv(columns):
    """A column for each number."""
    flat: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        flat |= {name: values} if values.ndim == 1 else {f"{name}_{i}": one for i, one in enumerate(values.T)}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(flat)
    writer.writerows(zip(*flat.values(), strict=True))
    return file.getvalue()
