"""Puts the course, which tfvae/course.txt lists, into the wheel as `tfvae/course/`; the rest is in pyproject.toml."""

import json
import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).parent
KEPT = "14"  # the page whose models are not in the wheel: there it can only be read


class WithCourse(build_py):
    """The stored outputs of notebooks, 9 MB of pictures, are left out: running a page makes them again."""

    def course(self):
        patterns = (HERE / "tfvae/course.txt").read_text().split()
        return [str(p.relative_to(HERE)) for pattern in patterns for p in sorted(HERE.glob(pattern)) if p.is_file()]

    def get_source_files(self):  # which a source distribution takes
        return [*super().get_source_files(), *self.course()]

    def run(self):
        super().run()
        for name in [] if self.editable_mode else self.course():
            target = pathlib.Path(self.build_lib, "tfvae/course", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(without_outputs(HERE / name))


def without_outputs(path):
    content = path.read_bytes()
    if path.suffix != ".ipynb" or path.name.startswith(KEPT):
        return content
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


setup(cmdclass={"build_py": WithCourse})
