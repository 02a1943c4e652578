"""Sphinx configuration for `make docs`. Every build first generates pages from the code and conf/ in _generated/."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import generate  # noqa: E402

from diracdiff import __version__  # noqa: E402

project, author, release = "diracdiff", "the authors of diracdiff", __version__
project_copyright = ""
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"diracdiff {__version__}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
default_role, highlight_language = "code", "text"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.header"]  # reports of experiments start at other heading levels
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
toc_object_entries = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
pygments_style, pygments_dark_style = "default", "monokai"
MARKUP = re.compile(r"([|*]|_(?!\w))")


def setup(app):
    """Connect the generation of pages, the conversion of links, and the escaping of docstrings."""
    app.connect("builder-inited", lambda app: generate.everything(HERE / "_generated"))
    app.connect("source-read", relink)
    app.connect("autodoc-process-docstring", plain, priority=400)  # before napoleon parses the sections


def relink(app, docname, source):
    """Convert the links of a page in docs/. Links without a page in the documentation become plain text."""
    if not docname.startswith("_generated/"):
        source[0] = generate.relinked(source[0], (HERE / docname).parent)
    if docname == "index":
        source[0] += contents(source[0])
    elif docname == "api":
        source[0] += toctree(page for page in pages_of(source[0]) if page.startswith("_generated/"))


def contents(index):
    """Return the sidebar of the site: each section of the first page, with the pages that it is the first to name."""
    listed, trees = set(), ""
    for section in index.split("\n## ")[1:]:
        pages = [page for page in pages_of(section) if page not in listed]
        listed.update(pages)
        trees += toctree(pages, section.splitlines()[0])
    return trees


def pages_of(text):
    """Return the pages that a text links to, each once."""
    links = [link.partition("#")[0].removesuffix(".md") for _, _, link in generate.LINK.findall(text)]
    return [page for page in dict.fromkeys(links) if (HERE / f"{page}.md").exists()]


def toctree(pages, caption=""):
    """Return the directive of a hidden table of contents."""
    options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
    return f"\n```{{toctree}}\n{options}\n" + "\n".join(pages) + "\n```\n"


def plain(app, kind, name, obj, options, lines):
    """Escape markup in docstrings, and convert indented formulas into literal blocks.

    Docstrings are plain text with code in single backticks.
    """
    escaped, formula, sections = [], False, False
    for line in lines:
        sections = sections or bool(re.match(r"(Args|Attributes|Raises|Returns|Yields):$", line))
        indented = line.startswith("    ") and not sections
        if indented and not formula and escaped and not escaped[-1].strip():
            escaped += ["::", ""]
            formula = True
        elif line.strip() and not indented:
            formula = False
        if formula:
            escaped.append(line)
        else:
            parts = re.split(r"(`[^`]*`)", line)
            escaped.append("".join(part if part.startswith("`") else MARKUP.sub(r"\\\1", part) for part in parts))
    lines[:] = escaped
