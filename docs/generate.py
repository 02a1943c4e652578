"""Pages that are made: every key of the configuration, the experiments and benchmarks, the notebook, and pictures."""

import json
import os
import re
from pathlib import Path

from diracdiff.__main__ import COMMANDS
from diracdiff.commands.help import Page, explain, read_pages, shown

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
LIMITS = re.compile(r"^(.*?)\s*\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]$", re.DOTALL)
"""An explanation that ends with the range and the unit of a key in brackets."""
FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def everything(folder: Path) -> None:
    """Make all pages; those that would be the same are left alone, so that a build does what is new."""
    folder.mkdir(exist_ok=True)
    pages = {"config.md": config_page(), "notebook.md": notebook_page(HERE / "notebook.ipynb")}
    for path in [ROOT / "benchmarks" / "README.md", *sorted((ROOT / "experiments").glob("**/README.md"))]:
        pages[page_of(path).name] = relinked(path.read_text(encoding="utf-8"), path.parent, folder)
    listed = "\n".join(sorted(name.removesuffix(".md") for name in pages if name.startswith("experiments_")))
    pages["experiments.md"] += f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    pages["CHANGELOG.md"] = relinked((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), ROOT, folder)
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    draw_pictures(folder)


def draw_pictures(folder: Path) -> None:
    """Draw the pictures of the four nouns, unless they are there."""
    import pictures

    for name, draw in pictures.PICTURES.items():
        if not (folder / name).exists():
            draw(folder / name)


# links


def page_of(path: Path) -> Path:
    """The generated page of a README."""
    return HERE / "_generated" / ("_".join(path.parent.relative_to(ROOT).parts) + ".md")


def relinked(text: str, folder: Path, target: Path | None = None) -> str:
    """A page whose links lead to pages and pictures of the documentation, and what has no page is named alone.

    Args:
        text: Markdown.
        folder: that its links are relative to.
        target: of the page, where that is another folder.
    """

    def one(match: re.Match[str]) -> str:
        picture, words, link = match.groups()
        if link.startswith(("http:", "https:", "#", "/", "mailto:")):
            return match[0]
        path, _, anchor = link.partition("#")
        path = Path(os.path.normpath(folder / path))
        if path.name == "README.md" and path.parent != ROOT:
            path = page_of(path)
        inside = path.is_relative_to(HERE) and path.suffix in (".md", ".ipynb")
        if not (picture or inside):
            return words
        relative = os.path.relpath(path, target or folder)
        return f"{picture}[{words}]({relative}{'#' + anchor if anchor else ''})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(one, part) for part in parts)


# every key


def config_page() -> str:
    """Every command and every choice with its keys: default, range and unit, and what it means."""
    pages = read_pages(ROOT / "conf")
    groups = sorted({page.group for page in pages if page.group})
    lines = [
        "# Every command, choice and key",
        "",
        "Made from the comments in `conf/`, which `--help` prints as well: `diracdiff train task=inpaint --help` shows "
        "the values of that training. `${key}` is the value of another key. Where a file gives a value and the "
        "explanation is another's, both are shown. Flags and grammar are Hydra's: `key=value` sets a key, "
        "`group=choice` takes another file of a group, `group/part=choice` a part of it, `-m key=1,2` runs both.",
        "",
    ]
    for command in COMMANDS:
        (page,) = [page for page in pages if not page.group and page.choice == command]
        lines += [f"## diracdiff {command}", "", f"{page.about[0].upper()}{page.about[1:]}.", "", "```"]
        lines += [*page.examples, "```", "", *_table(page, pages)]
    for group in groups:
        lines += [f"## {group}=", ""]
        for page in (page for page in pages if page.group == group):
            lines += [f"**`{group}={page.choice}`**: {_cell(page.about)}", "", *_table(page, pages)]
    return "\n".join(lines) + "\n"


def _table(page: Page, pages: list[Page]) -> list[str]:
    if not page.keys:
        return []
    rows = ["| key | default | range, unit | meaning |", "|---|---|---|---|"]
    for key in page.keys:
        found = LIMITS.match(explanation := explain(key.name, pages, {page.group: page.choice}))
        value = "must be given" if key.value == "???" else f"`{shown(key.value)}`"
        text, limits = (found[1], found[2]) if found else (explanation, "")
        rows.append(f"| `{key.name}` | {value} | {_cell(limits)} | {_cell(text)} |")
    return [*rows, ""]


def _cell(text: str) -> str:
    return re.sub(r"([|<>*_$\[\]])", r"\\\1", text)


# the notebook


def notebook_page(path: Path) -> str:
    """The cells of a notebook as a page."""
    lines = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        lines += [text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```", ""]
    return "\n".join(lines)
