import importlib

import pytest
from conftest import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def reproduce(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("reproduce")


def test_the_readme_shows_the_stored_numbers(reproduce):
    text = (FOLDER / "README.md").read_text()
    assert reproduce.with_numbers(text) == text


def test_every_number_has_a_command_that_makes_it(reproduce):
    assert set(reproduce.tables.SECTIONS) == set(reproduce.COMMANDS)
    for name, (script, *_) in reproduce.COMMANDS.items():
        assert (FOLDER / script).is_file(), name
