"""The documentation site: built without a warning, whole, and every link in it leads to something."""

import html.parser
import json
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

import tfvae

ROOT = pathlib.Path(__file__).parents[1]


class Page(html.parser.HTMLParser):
    """A page's links, what a browser loads with it, and the names that links may end in."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.names = [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names.add(found.get("id"))
        self.links += [found[key] for key in ("href", "src") if found.get(key)]
        if address := found.get("href" if found.get("rel") == "stylesheet" else "src"):
            self.loaded.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", folder / "trees", "."]
    done = subprocess.run([*command, folder / "site"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        path.relative_to(folder / "site"): Page(path) for path in (folder / "site").rglob("*.html")
    }, folder / "site"


def test_every_link_leads_to_a_page_and_a_place_in_it(site):
    pages, folder = site
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                continue
            where = (folder / path).parent / urllib.parse.unquote(address.path) if address.path else folder / path
            assert where.exists(), (path, link)
            target = pages.get(where.resolve().relative_to(folder.resolve()))
            if target and address.fragment:
                assert address.fragment in target.names, (path, link)
            checked += 1
    assert checked > 1000


def test_the_site_is_read_without_a_network(site):
    """Formulas included: MathJax lies among its files."""
    pages, _ = site
    loaded = [link for page in pages.values() for link in page.loaded]
    assert sum("mathjax" in link for link in loaded) >= 16
    assert not [link for link in loaded if urllib.parse.urlsplit(link).netloc]


def test_the_site_holds_every_page_and_every_public_name(site):
    pages, folder = site
    for source in [*ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb"), ROOT / "README.md"]:
        assert source.relative_to(ROOT).with_suffix(".html") in pages
    assert (folder / "searchindex.js").is_file() and pathlib.Path("index.html") in pages
    names = pages[pathlib.Path("docs/reference.html")].names
    rooms = [name for name in tfvae.__all__ if name.islower() and f"module-tfvae.{name}" in names]
    assert len(rooms) == 20
    assert {"tfvae.train.VAE", "tfvae.conditional.ConditionalVAE", "tfvae.serving.export", "tfvae.data.load"} <= names


def test_every_stored_picture_is_shown(site):
    pages, _ = site
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        stored = sum("image/png" in output.get("data", ()) for cell in cells for output in cell.get("outputs", ()))
        attached = sum(len(cell.get("attachments", ())) for cell in cells)
        files = re.findall(r"!\[[^\]]*\]\(images/", "".join("".join(cell["source"]) for cell in cells))
        links = pages[path.relative_to(ROOT).with_suffix(".html")].links
        assert len([link for link in links if "_images/" in link]) == stored + len(files), path.name
        assert len([link for link in links if link.startswith("data:image/")]) >= attached, path.name
