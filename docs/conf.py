"""The documentation site, from the pages, the docstrings and the notebooks as they are stored; nothing is run.

pip install -e .[docs] && sphinx-build -W -c docs . site
"""

import inspect
import json
import pathlib
import re
import shutil
import typing

import tfvae.conditional

HERE = pathlib.Path(__file__).parent
project, version = "tfvae", tfvae.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx-mathjax-offline"]
root_doc = "README"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "notebooks/*.ipynb"),
    *("benchmarks/README.md", "deploy/README.md", "saved_models/README.md", "saved_models/*/1/model_card.md"),
]
html_theme = "furo"
html_title = "tfvae"
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # no page shows a live widget, and the site is read without a network
myst_enable_extensions = ["amsmath", "dollarmath"]
default_role = "code"
myst_heading_anchors = 3
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
napoleon_use_ivar = True
copybutton_exclude = ".gp, .go"

CONTENTS = {
    "The course": sorted(f"notebooks/{path.stem}" for path in HERE.parent.glob("notebooks/*.ipynb")),
    "Questions": [f"docs/{page}" for page in ("train", "own_data", "pieces", "measure", "serve", "machines", "teach")],
    "Reference": ["docs/reference", "docs/house", "docs/speed", "benchmarks/README", "saved_models/README"],
    "Around it": ["deploy/README", "saved_models/digits/1/model_card", "saved_models/mnist10k/1/model_card"],
    "The project": ["CONTRIBUTING", "CHANGELOG"],
}


def setup(app):
    app.connect("source-read", completed)
    app.connect("autodoc-before-process-signature", without_rules)
    app.connect("autodoc-process-docstring", escaped, priority=400)  # before Napoleon, which writes markup
    app.connect("build-finished", with_index)


def completed(app, page, source):
    """Adds what a page's file cannot hold: the contents, a section a room, the pictures attached to Markdown cells."""
    if page == "README":
        for caption, pages in CONTENTS.items():
            source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}\n", *pages, "```\n"])
    if page == "docs/reference":
        source[0] += "\n".join(map(section, [*tfvae.__all__, "conditional"]))
    if page.startswith("notebooks/"):
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            for name, bundle in cell.pop("attachments", {}).items():
                ((kind, content),) = bundle.items()
                data = f"data:{kind};base64,{content}"
                cell["source"] = [line.replace(f"attachment:{name}", data) for line in cell["source"]]
        source[0] = json.dumps(notebook)


def section(room_name):
    """A room's docstring and those of what it defines: a name that two rooms give stands with the one that has it."""
    room = getattr(tfvae, room_name)
    if not inspect.ismodule(room):
        return ""
    lines = [f"\n## {room_name}\n", "```{eval-rst}", f".. automodule:: {room.__name__}"]
    for name in getattr(room, "__all__", ["ConditionalVAE"]):
        one = getattr(room, name)
        home = getattr(one, "__module__", "").split(".")
        if home[0] == "tfvae" and (home[1] == room_name or home[1] not in tfvae.__all__):
            kind = "class" if inspect.isclass(one) else "function"
            lines.append(f".. auto{kind}:: {room.__name__}.{name}" + "\n   :members:" * (kind == "class"))
    return "\n".join([*lines, "```"])


def without_rules(app, obj, bound):
    """`int` for an annotation such as `Annotated[int, at_least_1]`."""
    function = inspect.unwrap(getattr(obj, "__func__", obj))
    function.__annotations__ = typing.get_type_hints(function)


def escaped(app, what, name, obj, options, lines):
    """q(z|x) and **kwargs are no markup. TFP writes docstrings of its own for methods that replace its own."""
    if not getattr(obj, "__module__", "tfvae").startswith("tfvae"):
        lines.clear()
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = re.sub(r"`[^`]*`|([|*]|_\b)", lambda found: "\\" * bool(found[1]) + found[0], line)


def with_index(app, error):
    if not error:
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")
