"""What `pip install` brings: every file of the package, importable outside the repository."""

import shutil
import subprocess
import sys
import zipfile

from conftest import ROOT
from test_rooms import FILES


def test_a_built_wheel_holds_every_room(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "tfvae", source / "tfvae", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("tfvae-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    (scripts,) = tmp_path.glob("site/*.dist-info/entry_points.txt")
    assert "tfvae = tfvae.cli:main" in scripts.read_text()
    assert {path.relative_to(ROOT).as_posix() for path in FILES} | {
        "tfvae/py.typed",
        "tfvae/explore/page.html",
    } <= names
    code = "import tfvae; print(tfvae.__file__); print(len(tfvae.data.load('mnist10k').x_test))"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "oneDNN" not in done.stderr  # TensorFlow's own lines
    assert done.stdout.splitlines() == [str(tmp_path / "site" / "tfvae" / "__init__.py"), "2000"]
