"""The examples in docstrings run, and give what they show."""

import doctest
import importlib

import numpy as np
import pytest
import tensorflow as tf
from test_rooms import FILES, PACKAGE, place

import tfvae

MODULES = [place(path) for path in FILES if path.name != "__main__.py"]


def examples(name):
    module = importlib.import_module(
        ".".join(["tfvae", *name.replace("__init__", "").strip("/").split("/")]).strip(".")
    )
    return doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs={"np": np, "tf": tf, "tfvae": tfvae})


@pytest.mark.parametrize("name", [m for m in MODULES if ">>> " in (PACKAGE / f"{m}.py").read_text()])
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for example in examples(name):
        out = []
        runner.run(example, out=out.append)
        assert not runner.failures, "".join(out)
