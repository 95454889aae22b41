"""The setup of every notebook (its second cell), the course as a folder, and the command that runs all its pages.

python -m tfvae.notebooks       all pages of the repository, whose stored outputs it refreshes
python -m tfvae.notebooks 05    those whose names begin so
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tfvae.support import files
from tfvae.support.quiet import quiet

# {import name: package}, for a runtime that has TensorFlow but not everything else.
_NEEDED = {name: name for name in ("tf_keras", "matplotlib", "tqdm", "click", "urllib3", "ipywidgets")}
_NEEDED |= {"sklearn": "scikit-learn", "tensorflow_serving": "tensorflow-serving-api"}
_NEEDED |= {"tensorflow_probability": "tensorflow-probability>=0.25,<0.26"}
_ICONS = {"minus": "\N{MINUS SIGN}", "plus": "+", "pause": "&#10074;&#10074;", "play": "&#9654;&#xFE0E;"}
_ICONS |= {"fast-backward": "|&lt;", "step-backward": "&lt;", "step-forward": "&gt;", "fast-forward": "&gt;|"}
_ICONS["play fa-flip-horizontal"] = "&#9664;&#xFE0E;"


def setup(seed: int = 0) -> str:
    """Installs missing packages (never TensorFlow), imports quietly, prints versions and device, gives the profile.

    The profile is the environment variable TFVAE_PROFILE: "quick", the default (digits, less than a minute a notebook),
    or "full" (MNIST, minutes). The seed is for what takes none (Keras' initial weights).

    Raises:
        ImportError: TensorFlow is missing.
        ValueError: TFVAE_PROFILE is neither "quick" nor "full".
    """
    profile = os.environ.get("TFVAE_PROFILE", "quick")
    if profile not in ("quick", "full"):
        raise ValueError(f"TFVAE_PROFILE must be 'quick' or 'full', got {profile!r}")
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError('TensorFlow is missing: pip install "tensorflow>=2.20,<2.22"')
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        _install(missing)
    with quiet():
        import tensorflow as tf
        import tensorflow_probability as tfp
        import tf_keras as tfk

        tfk.utils.set_random_seed(seed)
        tf.zeros([]).numpy()
        gpus = tf.config.list_logical_devices("GPU")
    import matplotlib.pyplot as plt

    from tfvae import plots

    plt.rcParams.update(plots.STYLE)
    versions = {"Python": platform.python_version(), "TensorFlow": tf.__version__, "tf_keras": tfk.__version__}
    versions |= {"TensorFlow Probability": tfp.__version__, "device": f"{len(gpus)} GPU" if gpus else "CPU"}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    return profile


def _install(packages):
    # Both follow TensorFlow's minor version, and must not replace the TensorFlow that is installed.
    installed = importlib.metadata.version("tensorflow")
    version = ".".join(installed.split(".")[:2])
    packages = [f"{p}=={version}.*" if p in ("tf_keras", "tensorflow-serving-api") else p for p in packages]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *packages, f"tensorflow=={installed}"], check=True)


def film(animation: Any, **options: Any) -> str:
    """`animation.to_jshtml(**options)` whose buttons need no network: Matplotlib loads their icons from an address."""
    page = re.sub(r'<link rel="stylesheet"\s+href="[^"]*font-awesome[^"]*">', "", animation.to_jshtml(**options))
    return re.sub(r'<i class="fa fa-([^"]*)"></i>', lambda icon: _ICONS[icon[1]], page)


def folder() -> pathlib.Path:
    """`notebooks/` of the repository, or of the course in the installed wheel."""
    return files.course() / "notebooks"


def copy(directory: str | os.PathLike) -> pathlib.Path:
    """Copies the course, the notebooks and what they link to, into a new folder, and gives its path.

    Raises:
        ValueError, TypeError: `directory` is no path on this machine.
        OSError: it holds something, or cannot be written.
    """
    path, source = files.local("directory", directory), files.course()
    names = (pathlib.Path(__file__).parent / "course.txt").read_text().split()
    with files.staged_directory(path) as staged:
        for found in (found for name in names for found in source.glob(name) if found.is_file()):
            target = staged / found.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, target)
    return path


def run(names: Sequence[str] = ()):
    """Runs all notebooks, or those with `names` as prefixes, and stores their outputs; failed ones keep their old ones.

    Raises:
        ValueError: a name that fits no notebook, or a cell that fails; the message names it.
    """
    import nbformat
    from nbclient import execute
    from nbclient.exceptions import CellExecutionError
    from tqdm import tqdm

    paths = sorted(folder().glob("*.ipynb"))
    for name in names:
        if not any(path.name.startswith(name) for path in paths):
            raise ValueError(f"name must start one of {', '.join(p.stem for p in paths)}, got {name!r}")
    chosen = [path for path in paths if not names or path.name.startswith(tuple(names))]
    for path in (bar := tqdm(chosen, unit="notebook")):
        bar.set_description(path.stem)
        notebook = nbformat.read(path, as_version=4)
        try:
            # Without these, wall-clock times and the pieces of a stream would change the stored file at each run.
            stable: dict[str, Any] = {"record_timing": False, "coalesce_streams": True}
            execute(notebook, str(path.parent), timeout=None, extra_arguments=["--log-level=ERROR"], **stable)
        except CellExecutionError as error:
            raise ValueError(f"{path.name} must run from top to bottom, but a cell failed: {error}") from None
        files.write_bytes(path, nbformat.writes(notebook).encode())


if __name__ == "__main__":
    run(sys.argv[1:])
