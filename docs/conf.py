"""Sphinx: `make docs`. Pages that follow from the code and from conf/ are made before every build, into _generated/."""

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
suppress_warnings = ["myst.header"]  # pages of experiments have headings of their own depth
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
toc_object_entries = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
pygments_style, pygments_dark_style = "default", "monokai"
MARKUP = re.compile(r"([|*]|_(?!\w))")


def setup(app):
    """Make the generated pages, and point links of the repository's pages at the documentation's."""
    app.connect("builder-inited", lambda app: generate.everything(HERE / "_generated"))
    app.connect("source-read", relink)
    app.connect("autodoc-process-docstring", plain, priority=400)  # before napoleon, which reads the sections


def relink(app, docname, source):
    """Links of a page of docs/ lead to pages of the documentation; what has none is named."""
    if not docname.startswith("_generated/"):
        source[0] = generate.relinked(source[0], (HERE / docname).parent)


def plain(app, what, name, obj, options, lines):
    """Docstrings are plain text with code in single backticks: their bars, stars and formulas are not markup."""
    made, formula, sections = [], False, False
    for line in lines:
        sections = sections or bool(re.match(r"(Args|Attributes|Raises|Returns|Yields):$", line))
        indented = line.startswith("    ") and not sections
        if indented and not formula and made and not made[-1].strip():
            made += ["::", ""]
            formula = True
        elif line.strip() and not indented:
            formula = False
        if formula:
            made.append(line)
        else:
            parts = re.split(r"(`[^`]*`)", line)
            made.append("".join(part if part.startswith("`") else MARKUP.sub(r"\\\1", part) for part in parts))
    lines[:] = made
