"""The documentation builds without warnings and without the network, and its pages load no external files."""

import json
import re
import sys

import matplotlib
import pytest
from conftest import ROOT

from diracdiff.commands.help import read_pages

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
sphinx = pytest.importorskip("sphinx", reason="needs the extra docs: pip install 'diracdiff[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the built documentation."""
    from sphinx.cmd.build import build_main

    folder, path = tmp_path_factory.mktemp("site"), list(sys.path)
    assert build_main(["-b", "html", "-q", "-E", "-W", "--keep-going", str(ROOT / "docs"), str(folder)]) == 0
    sys.path[:] = path
    return folder


def test_every_page_and_its_images_are_built(site):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {
        "index.html",
        "_generated/notebook.html",
        "_generated/SECURITY.html",
        "_generated/experiments.html",
    } <= pages
    sources = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }
    assert {name for name in sources if not name.startswith("_build")} <= pages
    for page in site.rglob("*.html"):
        for source in re.findall(r'<img[^>]* src="([^"]+)"', page.read_text()):
            assert (page.parent / source).is_file(), f"{page.name}: {source}"


def test_the_sidebar_has_the_four_paths(site):
    captions = re.findall(r'<span class="caption-text">(.*?)</span>', (site / "index.html").read_text())
    headings = re.findall(r"^## (.*)", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    assert captions == headings and len(captions) == 5


def test_pages_load_no_external_files(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|iframe|source)[^>]* src="(?:https?:)?//[^"]*"', text), page.name
        assert not re.findall(r'<link[^>]* rel="(?:stylesheet|preload|preconnect|icon)"[^>]* href="https?:', text)
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )['\"]?https?:", sheet.read_text()), sheet.name


def test_every_key_is_in_the_page_of_keys(site):
    text = (site / "_generated" / "config.html").read_text()
    cells = set(re.findall(r"<code[^>]*>(.*?)</code>", text))
    shown = {re.sub(r"<[^>]+>", "", cell) for cell in cells}
    for page in read_pages(ROOT / "conf"):
        assert {key.name for key in page.keys} <= shown
        assert not page.group or f"{page.group}={page.choice}" in shown


def test_public_names_are_in_the_pages_of_modules(site):
    import diracdiff

    text = "".join(path.read_text() for path in (site / "_generated").glob("api_*.html"))
    for name in set(diracdiff.__all__) - {"__version__"}:
        assert re.search(rf'id="diracdiff\.[\w.]*{name}"', text), name


def test_the_notebook_runs(tmp_path, monkeypatch, without_weights, capsys):
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for setting, smaller in (
        ("crops_per_epoch=2048", "crops_per_epoch=16"),
        ("SIZE = 64", "SIZE = 32"),
        ("channels=16", "channels=4"),
        ("max_epochs=3", "max_epochs=1"),
        ("n_epoch=3", "n_epoch=1"),
    ):
        assert setting in code
        code = code.replace(setting, smaller)
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    namespace = {}
    exec(compile(code, "docs/notebook.ipynb", "exec"), namespace)
    assert re.search(r"stopping time t = [\d.]+: [\d.]+ dB become [\d.]+ dB", capsys.readouterr().out)
    assert namespace["states"][0].t == 1 and (tmp_path / "restorer.ckpt").exists()
