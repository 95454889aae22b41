"""The pages are true: links, code and tables. `python tests/test_docs.py` writes the table of pieces anew."""

import contextlib
import pathlib
import re
import runpy

import numpy as np
import pytest
from click.testing import CliRunner
from test_rooms import ROOMS

from tfvae.support import fields, pieces

ROOT = pathlib.Path(__file__).parents[1]
PIECES = ROOT / "docs" / "pieces.md"
START, END = "<!-- pieces -->\n", "<!-- end -->"
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*DOCS, *(ROOT / folder / "README.md" for folder in ("benchmarks", "deploy", "saved_models"))]


def with_table(text):
    """docs/pieces.md with the tables that the declarations give."""
    before, rest = text.split(START)
    return before + START + tables() + "\n" + END + rest.split(END)[1]


def tables():
    sections, of_pieces = [], set()
    for kind in pieces.KINDS:
        rows = []
        for one in pieces.of_kind(kind).values():
            of_pieces |= set(one.fields())
            options = [f"`{name}`{default(o)}: {o.text}" for name, o in one.fields().items()]
            if one.defaults:
                options.append("a recipe's defaults: " + ", ".join(f"{k} {v}" for k, v in one.defaults.items()))
            rows.append((f"`{one.name}`", one.about, "; ".join(options)))
        title = kind.capitalize() + default(fields.options()[kind])
        sections.append(section(title, (f"`{kind}`", "what it is", "options"), rows))
    elsewhere = {*of_pieces, *fields.FILLED_IN, *pieces.KINDS}
    others = {name: one for name, one in fields.options().items() if name not in elsewhere}
    rows = [(f"`{name}`", fields.help_of(name), default(one).strip(" ()")) for name, one in others.items()]
    return "".join([*sections, section("The other fields of a recipe", ("field", "what it is", "default"), rows)])


def section(title, head, rows):
    table = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return f"\n### {title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in table)


def default(one):
    if one.default in (None, ()):
        return ""
    return f" ({','.join(map(str, one.default)) if one.of is tuple else one.default})"


def blocks(path, mark):
    """The Python blocks of a page behind a comment such as `<!-- runnable -->`."""
    return re.findall(rf"<!-- {mark} -->\n```python\n(.*?)```", path.read_text(), re.DOTALL)


def place(path):
    return path.relative_to(ROOT).as_posix()


def test_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


def test_the_table_of_pieces_is_that_of_the_declarations():
    text = PIECES.read_text()
    assert with_table(text) == text, "docs/pieces.md is old: run `python tests/test_docs.py`"


def test_every_room_is_listed():
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "house.md").read_text(), re.MULTILINE)
    assert set(ROOMS) - {"__init__", "__main__"} <= set(listed)


def anchors(path):
    """The fragments that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=place)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not target.startswith(("http:", "https:")):
            file, _, fragment = target.partition("#")
            found = path.parent / file if file else path
            assert found.exists(), target
            assert not fragment or fragment in anchors(found), target


@pytest.mark.parametrize("path", PAGES, ids=place)
def test_tables_are_well_formed(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    width = None
    for line in text.splitlines():
        if not line.startswith("|"):
            width = None
            continue
        assert not any("|" in formula.replace("\\|", "") for formula in re.findall(r"\$[^$]+\$", line)), line
        cells = len(re.split(r"(?<!\\)\|", line))
        assert cells == (width := width or cells), line


RUNNABLE = [path for path in DOCS if "<!-- runnable -->" in path.read_text()]


@pytest.mark.parametrize("path", RUNNABLE, ids=place)
def test_code_runs(path, tmp_path, monkeypatch):
    """A page's blocks run in order, in one namespace, trained for one epoch."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(path, "runnable"):
        exec(compile(re.sub(r"epochs=\d+", "epochs=1", block), place(path), "exec"), names)


@pytest.mark.parametrize(
    ("tool", "page"), [("optuna", "train"), ("mlflow", "train"), ("wandb", "train"), ("tf2onnx", "serve")]
)
def test_code_runs_with_other_tools_where_they_are_installed(tool, page, tmp_path, monkeypatch):
    pytest.importorskip(tool)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (block,) = blocks(ROOT / "docs" / f"{page}.md", f"runnable with {tool}")
    exec(compile(re.sub(r"epochs=\d+", "epochs=1", block), tool, "exec"), {})


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """docs/pieces.md's toy pieces in a file; a run of the command line with them; they are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(PIECES, r"file: my_pieces\.py")
    (tmp_path / "my_pieces.py").write_text(block)

    def invoke(*arguments):
        from tfvae.cli import main

        done = CliRunner().invoke(main, ["--pieces", "my_pieces.py", *map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    yield invoke
    for kind, name in (("objective", "sparse_elbo"), ("likelihood", "student")):
        pieces.of_kind(kind).pop(name, None)


CHOSEN = {"objective": "sparse_elbo", "strength": 0.5, "likelihood": "student", "degrees": 3.0}
TOY = [part for name, value in CHOSEN.items() for part in (f"--{name}", value)]
TOY += ["--data", "digits", "--hidden-sizes", 16, "--latent-size", 2, "--evaluation-samples", 20]


def test_the_toy_pieces_are_in_the_help(toys):
    text = " ".join(toys("train", "--help").split())
    for part in ("sparse_elbo", "student", "--strength", "Weight of the L1 norm", "--degrees"):
        assert part in text


def test_the_toy_pieces_are_trained_loaded_resumed_and_exported(toys, tmp_path):
    import tfvae

    toys("train", *TOY, "--epochs", 2, "--output", "whole", "--no-export")
    vae = tfvae.load("whole")
    assert CHOSEN.items() <= vae.recipe.to_dict().items()
    assert vae.decode(np.zeros([1, 2], np.float32)).log_prob(np.zeros([1, 8, 8, 1])).shape == (1,)

    with contextlib.suppress(KeyboardInterrupt):
        tfvae.runs.start(vae.recipe, "cut", verbose=False, callbacks=[stop_after_first_epoch()])
    assert (tmp_path / "cut" / "checkpoint.npz").exists()
    toys("resume", "cut", "--evaluation-samples", 20, "--no-export")
    for a, b in zip(vae.get_weights(), tfvae.load("cut").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert "SavedModel: models/1" in toys("export", "whole", "--to", "models", "--num-samples", 2)


def stop_after_first_epoch():
    import tf_keras as tfk

    def interrupt(epoch, logs):
        raise KeyboardInterrupt

    return tfk.callbacks.LambdaCallback(on_epoch_end=interrupt)


def test_pieces_are_checked_like_the_packages_own(toys, tmp_path):
    names = runpy.run_path(str(tmp_path / "my_pieces.py"))
    with pytest.raises(ValueError, match="strength must be a finite number of at least 0"):
        names["sparse_elbo"](-1.0, num_samples=1)


if __name__ == "__main__":
    PIECES.write_text(with_table(PIECES.read_text()))
