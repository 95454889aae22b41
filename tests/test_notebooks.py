"""What every notebook keeps to; nbval runs them and compares their outputs."""

import re

import nbformat
import pytest
from conftest import ROOT
from test_docs import PAGES

from tfvae import notebooks

PATHS = sorted(notebooks.folder().glob("*.ipynb"))
LEFT_OUT = {"nbval-ignore-output", "nbval-skip", "nbval-raises-exception"}


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def test_there_are_notebooks():
    assert PATHS


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_outputs_come_from_one_full_run(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [o for cell in code_cells(path) for o in cell.outputs if o.output_type == "error"]
    assert not [o for cell in code_cells(path) for o in cell.outputs if o.get("name") == "stderr"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_at_most_one_cell_in_five_is_left_out_of_comparison(path):
    cells = code_cells(path)
    left_out = [c for c in cells if LEFT_OUT & set(c.metadata.get("tags", ())) or "NBVAL_" in c.source]
    assert len(left_out) <= len(cells) / 5


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_cells_are_short(path):
    assert max(len(cell.source.splitlines()) for cell in code_cells(path)) <= 25


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_sections_and_figures_are_counted_without_a_gap(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    for pattern in (r"^## (\d+)\.", r"\*Figure (\d+)\."):
        found = [int(number) for number in re.findall(pattern, text, re.M)]
        assert found == list(range(1, len(found) + 1)), pattern


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+\.ipynb)", cell.source):
                assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebooks_open_with_a_title_and_end_with_exercises(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith(f"# {path.stem[:2]}. ")
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for part in ("Exercises", "<details>", "What you can do now"):
        assert part in text


def markdown(path):
    if path.suffix == ".md":
        return path.read_text()
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("path", [*PATHS, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_formula_in_a_table_has_no_bare_bar(path):
    """Which would end its cell: `\\mid` and `\\Vert` are the bars of formulas."""
    for line in markdown(path).splitlines():
        if line.lstrip().startswith("|"):
            assert not [f for f in re.findall(r"\$[^$]+\$", line) if "|" in f.replace(r"\|", "")], line


def stars(path):
    """{number of an exercise: its stars}."""
    found = {}
    for line in markdown(path).split("## Exercises")[-1].splitlines():
        if number := re.match(r"\*\*(\d+)\.", line):
            found[number[1]] = re.search(r"(\\\*)+|(?<=\()\*+(?=\))", line)[0].count("*")
    return found


def test_exercises_for_marks_have_two_stars():
    rows = re.findall(r"^\| \[\d\d\]\(../notebooks/(.*?)\) .*\| (.*?) \|$", (ROOT / "docs/teach.md").read_text(), re.M)
    assert [name for name, _ in rows] == [path.name for path in PATHS]
    for name, marked in rows:
        known = stars(ROOT / "notebooks" / name)
        numbers = re.findall(r"\d", marked)
        assert numbers and all(known[number] >= 2 for number in numbers), (name, known)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_pictures_in_the_text_have_an_alternative_text(path):
    assert not re.findall(r"!\[\s*\]\(", markdown(path))


def test_results_are_numbers_and_seldom_truth_values():
    """A check is an assertion, which says nothing when it holds."""
    lines = []
    for path in PATHS:
        for output in (output for cell in code_cells(path) for output in cell.outputs):
            text = output.get("text", "") or output.get("data", {}).get("text/plain", "")
            lines += [line for line in text.splitlines() if "True" in line]
    assert len(lines) < 60
