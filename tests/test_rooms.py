"""The package's rooms depend on each other one way, show their own names, and have a core that can be read whole."""

import ast
import importlib
import pathlib
import re
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

import tfvae

PACKAGE = pathlib.Path(tfvae.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# What each room may import, besides itself, `support` and `seeds`. A room is a folder, or a file of the top level.
ROOMS = {
    "support": set(),
    "seeds": set(),
    "distributions": set(),
    "networks": set(),
    "linear": set(),
    "plots": set(),
    "data": set(),
    "audit": set(),
    "disentanglement": set(),
    "objectives": set(),
    "posteriors": {"distributions"},
    "priors": {"distributions"},
    "likelihoods": {"distributions"},
    "hierarchical": {"distributions", "posteriors"},
    "inputs": set(),
    "guard": set(),
    "vae": {"distributions", "guard", "inputs", "objectives"},
    "diagnostics": {"audit", "disentanglement", "inputs", "objectives"},
    "train": {"data", "inputs", "objectives", "plots", "vae"},
    "conditional": {"distributions", "inputs", "train"},
    "recipes": {
        "conditional",
        "data",
        "hierarchical",
        "likelihoods",
        "networks",
        "objectives",
        "posteriors",
        "priors",
        "train",
    },
    "runs": {"diagnostics", "objectives", "plots", "recipes", "train"},
    "explore": {"diagnostics", "likelihoods"},
    "client": set(),
    "serving": {"client", "diagnostics", "objectives"},
    "notebooks": {"plots"},
    "cli": {"diagnostics", "explore", "notebooks", "recipes", "runs", "serving", "train"},
    "__main__": {"cli"},
    "__init__": set(),
}
# In reading order, from a seed to evidence; then the helpers that they may import besides each other.
CORE = (
    "seeds",
    "networks/bodies",
    "distributions/unmerged",
    "posteriors/normal",
    "likelihoods/base",
    "likelihoods/discrete",
    "priors/simple",
    "objectives/terms",
    "objectives/bounds",
    "inputs",
    "guard",
    "vae",
    "data/images",
    "diagnostics/blocks",
    "diagnostics/importance",
    "diagnostics/evidence",
    "linear",
)
HELPERS = ("support", "data.epochs")  # a room, and a file


def room_of(name):
    """The room of a dotted name within the package, or of a file's path."""
    return re.split(r"[./]", name)[0]


def imported(path):
    """The dotted names within the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "tfvae":
                found |= {alias.name for alias in node.names} - {"__version__"}
            elif (node.module or "").startswith("tfvae."):
                base = node.module.removeprefix("tfvae.")
                for alias in node.names:
                    folder = PACKAGE / base.replace(".", "/")
                    past = (folder / f"{alias.name}.py").exists() and f'"{alias.name}"' not in face_of(folder)
                    found.add(f"{base}.{alias.name}" if past else base)
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("tfvae.") for a in node.names if a.name.startswith("tfvae.")}
    return found


def face_of(folder):
    """The text of a room's `__init__.py`."""
    return (folder / "__init__.py").read_text()


def place(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def test_every_file_was_seen():
    assert len(FILES) > 80
    assert {room_of(place(path)) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_rooms_depend_one_way_and_through_their_faces(path):
    room, in_core = room_of(place(path)), place(path) in CORE
    for name in imported(path):
        other = room_of(name)
        assert other in {room, "support", "seeds"} | ROOMS[room], f"{place(path)} imports {name}"
        if other not in (room, "support") and not in_core:
            assert "." not in name or room == "cli", f"{place(path)} imports {name} past the face"


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_itself_and_its_helpers(name):
    core = {part.replace("/", ".") for part in CORE}
    for other in imported(PACKAGE / f"{name}.py") - core:
        assert other in HELPERS or room_of(other) in HELPERS


def test_the_core_is_read_in_an_hour_and_readme_names_it_in_order():
    lines = {name: len((PACKAGE / f"{name}.py").read_text().splitlines()) for name in CORE}
    assert sum(lines.values()) < 1500, lines
    assert lines["vae"] <= 200
    text = (ROOT / "README.md").read_text()
    places = [text.find(f"tfvae/{name}.py") for name in CORE]
    assert min(places) >= 0
    assert places == sorted(places)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_only_tf_keras_and_no_hidden_losses(path):
    text = path.read_text()
    for forbidden in ("tf.keras", "import keras", "add_loss(", "activity_regularizer", "KLDivergenceAddLoss"):
        assert forbidden not in text


@pytest.mark.parametrize("name", [name for name in ROOMS if (PACKAGE / name).is_dir() and name != "support"])
def test_a_room_has_a_face(name):
    face = importlib.import_module(f"tfvae.{name}")
    tree = ast.parse((PACKAGE / name / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    kinds = (ast.Import, ast.ImportFrom, ast.Assign, ast.FunctionDef, ast.Expr)
    assert all(isinstance(node, kinds) for node in tree.body), "a face defines nothing"
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["__dir__"]
    assert all(hasattr(face, public) for public in face.__all__)


PUBLIC = [name for name in tfvae.__all__ if isinstance(getattr(tfvae, name), type(ast))]


@pytest.mark.parametrize("name", PUBLIC)
def test_completion_shows_a_modules_own_names_alone(name):
    module = getattr(tfvae, name)
    assert sorted(dir(module)) == sorted(module.__all__)
    for public in module.__all__:
        assert not isinstance(getattr(module, public), type(ast)) or public in ("shares", "strategies")


def test_importing_the_package_is_quick_and_silent():
    code = "import sys, tfvae; assert 'tensorflow' not in sys.modules; print(tfvae.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (tfvae.__version__, "")


def test_every_public_name_resolves():
    assert sorted(dir(tfvae)) == sorted(tfvae.__all__)
    for name in tfvae.__all__:
        assert getattr(tfvae, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tfvae.nothing  # noqa: B018 (asking for it is the test)


def texts():
    """{place: text} of all that a reader sees: pages, docstrings and code of the package, notebooks."""
    pages = [*ROOT.glob("*.md"), *(p for f in ("docs", "benchmarks") for p in (ROOT / f).glob("*.md"))]
    found = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [*pages, *FILES]}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found[path.name] = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
    return found


def test_every_dotted_name_in_pages_docstrings_and_notebooks_resolves():
    faces = "|".join(PUBLIC)
    full = re.compile(r"\btfvae((?:\.[A-Za-z_]\w*)+)")
    short = re.compile(rf"`(?:tfvae\.)?((?:{faces})(?:\.[A-Za-z_]\w*)+)")
    seen = 0
    for where, text in texts().items():
        names = {match[1].strip(".") for match in full.finditer(text)} | {match[1] for match in short.finditer(text)}
        for name in names - {"egg", "git"}:
            seen += 1
            assert resolves(name), f"{where}: tfvae.{name}"
    assert seen > 100


def resolves(name):
    if name.rsplit(".", 1)[-1] in ("py", "md", "json", "png", "npz"):  # a file's name
        return True
    value = tfvae
    for i, part in enumerate(parts := name.split(".")):
        try:
            value = getattr(value, part)
        except AttributeError:
            try:
                value = importlib.import_module(".".join(["tfvae", *parts[: i + 1]]))
            except ImportError:
                annotated = getattr(value, "__annotations__", {})
                return part in annotated
    return True
