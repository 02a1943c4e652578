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
        for source in re.findall(r'<img[^>]* src="(?!data:)([^"]+)"', page.read_text()):
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


NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def test_the_notebook_has_small_outputs_without_paths_of_a_machine():
    code = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"display_data", "stream"}
    assert all(output.get("name") != "stderr" for output in outputs)
    assert NOTEBOOK.stat().st_size < 600_000
    assert not re.search(r"(?:/(?:home|root|work|tmp|Users)/|[A-Z]:\\\\)", NOTEBOOK.read_text())


def test_the_notebook_runs(monkeypatch, capsys, without_weights):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "SIZE = 96" in code
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    matplotlib.use("Agg")
    namespace = {}
    exec(compile(code.replace("SIZE = 96", "SIZE = 64"), "docs/notebook.ipynb", "exec"), namespace)
    psnr, measurement = namespace["psnr"], namespace["measurement"]
    assert psnr(namespace["restored"]["psnr"]) > psnr(measurement) + 2
    assert psnr(namespace["samples"].mean(0)) > psnr(namespace["samples"][0]) + 1
    assert "PSNR for target=psnr" in capsys.readouterr().out
    matplotlib.pyplot.close("all")
