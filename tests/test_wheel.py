"""What `pip install` brings, in an environment of its own and a folder outside the repository."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
from conftest import ROOT
from test_rooms import FILES

from tfvae import notebooks


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    made = {ROOT / name for name in ("build", "dist", "runs")}

    def left_out(parent, names):
        hidden = {name for name in names if name.startswith((".", "__pycache__"))}
        return hidden | {name for name in names if pathlib.Path(parent, name) in made}

    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder]
    subprocess.run([*build, folder / "source"], check=True, capture_output=True)
    (built,) = folder.glob("tfvae-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The new environment's bin/. What the package requires is that of this process."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q", "--no-deps"]
    subprocess.run([*pip, wheel], check=True, capture_output=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def run(installed, tmp_path_factory):
    """Runs a program of that environment in a folder of its own, and gives what it prints."""
    folder = tmp_path_factory.mktemp("outside")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TF_CPP"))}

    def run(program, *arguments):
        done = subprocess.run([installed / program, *arguments], cwd=folder, capture_output=True, text=True, env=env)
        assert done.returncode == 0 and "oneDNN" not in done.stderr, done.stderr  # TensorFlow's own lines
        return done.stdout

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def course(run):
    assert run("tfvae", "notebooks", "course") == "course: 16 notebooks; jupyter lab course/notebooks\n"
    return run.folder / "course"


def test_a_built_wheel_holds_every_room_and_is_small_enough_to_hand_out(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {path.relative_to(ROOT).as_posix() for path in FILES} <= names
    assert {"tfvae/py.typed", "tfvae/explore/page.html", "tfvae/course/notebooks/00_start_here.ipynb"} <= names
    assert wheel.stat().st_size < 8e6


def test_it_runs_outside_the_repository(run, installed):
    assert "notebooks" in run("tfvae", "--help")
    code = """
import tfvae
print(tfvae.__file__)
print(len(tfvae.data.load('mnist10k').x_test))
print(tfvae.pretrained('mnist10k').latent_size)
from tfvae.notebooks import folder
print(len(list(folder().glob('*.ipynb'))))
"""
    file, *numbers = run("python", "-c", code).splitlines()
    assert pathlib.Path(file).is_relative_to(installed.parent)
    assert numbers == ["2000", "20", "16"]


def texts(path):
    if path.suffix == ".md":
        return path.read_text()
    return "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])


def test_links_of_the_course_lead_somewhere(course):
    paths = [path for path in course.rglob("*") if path.suffix in (".md", ".ipynb")]
    targets = [(path, target) for path in paths for target in re.findall(r"\]\(([^)\s#:]+)[)#]", texts(path))]
    assert len(targets) > 100
    assert [(path.name, target) for path, target in targets if not (path.parent / target).exists()] == []


def test_the_course_holds_what_its_pages_read(course):
    pattern = r'(?:RESULTS|BENCHMARKS / "results") / "([^"]+)"'
    names = {name for path in course.glob("notebooks/*.ipynb") for name in re.findall(pattern, texts(path))}
    assert len(names) >= 9
    assert [name for name in names if not (course / "benchmarks" / "results" / name).exists()] == []
    assert (course / "saved_models/digits/1/saved_model.pb").exists()
    assert (course / "tests/serving_transcripts.json").exists()


def test_pages_come_without_outputs_but_those_that_the_wheel_cannot_make(course):
    for path in course.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        assert any(cell.get("outputs") for cell in cells) == path.name.startswith("14")


def test_a_folder_that_holds_something_is_refused(course):
    with pytest.raises(FileExistsError, match="directory must be a new or an empty directory"):
        notebooks.copy(course)
    assert len(list(course.glob("notebooks/*.ipynb"))) == 16


def test_the_repository_gives_the_same_course(course, tmp_path):
    copied = notebooks.copy(tmp_path / "course")
    listed = [{path.relative_to(root).as_posix() for path in root.rglob("*")} for root in (course, copied)]
    assert listed[0] == listed[1]
