"""Generate pages of configuration keys, Python modules, experiments, benchmarks and the notebook.

Links in Markdown files are those of GitHub, to sources. `relinked` converts them into links to the generated pages.
"""

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
"""Pattern of an explanation that ends with range and unit in brackets."""
FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def everything(folder: Path) -> None:
    """Write all pages. Unchanged pages are not rewritten, so that Sphinx builds only changed ones."""
    folder.mkdir(exist_ok=True)
    pages = {page: page_text(source, folder) for source, page in sources().items()}
    listed = "\n".join(sorted(name.removesuffix(".md") for name in pages if name.startswith("experiments_")))
    pages["experiments.md"] += f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def sources() -> dict[Path, str]:
    """Return {file or folder of the repository: name of its generated page}."""
    reports = [ROOT / "benchmarks" / "README.md", *sorted((ROOT / "experiments").glob("**/README.md"))]
    pages = {path: "_".join(path.parent.relative_to(ROOT).parts) + ".md" for path in reports}
    pages |= {ROOT / name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}
    pages |= {ROOT / "conf": "config.md", HERE / "notebook.ipynb": "notebook.md"}
    links = {link for _, _, link in LINK.findall((HERE / "api.md").read_text(encoding="utf-8"))}
    modules = {link.removeprefix("../src/") for link in links if link.startswith("../src/")}
    return pages | {ROOT / "src" / path: f"api_{Path(path).stem}.md" for path in modules}


def page_text(source: Path, folder: Path) -> str:
    """Return the text of the generated page of a file or folder."""
    if source == ROOT / "conf":
        return config_page()
    if source.suffix == ".ipynb":
        return relinked(notebook_page(source), HERE, folder)
    if source.suffix == ".md":
        return relinked(source.read_text(encoding="utf-8"), source.parent, folder)
    return module_page(".".join(source.relative_to(ROOT / "src").with_suffix("").parts))


# links


def relinked(text: str, folder: Path, target: Path | None = None) -> str:
    """Convert links to pages and images of the documentation. Links without a page become plain text.

    Args:
        text: Markdown text.
        folder: base folder of the relative links.
        target: folder of the generated page; None: `folder`.

    Returns:
        Markdown text with converted links.
    """
    generated = sources()

    def one(match: re.Match[str]) -> str:
        picture, label, link = match.groups()
        if link.startswith(("http:", "https:", "#", "/", "mailto:", "data:")):
            return match[0]
        path, _, anchor = link.partition("#")
        path = Path(os.path.normpath(folder / path))
        if path in generated:
            path = HERE / "_generated" / generated[path]
        inside = path.is_relative_to(HERE) and path.suffix == ".md"
        if not (picture or inside):
            return label
        relative = os.path.relpath(path, target or folder)
        return f"{picture}[{label}]({relative}{'#' + anchor if anchor else ''})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(one, part) for part in parts)


# configuration keys


def config_page() -> str:
    """Return a page of every command and option with the default, range, unit and meaning of each key."""
    pages = read_pages(ROOT / "conf")
    groups = sorted({page.group for page in pages if page.group})
    lines = [
        "# Commands, options and keys",
        "",
        "This page is generated from the comments in `conf/`. `--help` prints the same text: "
        "`diracdiff train task=inpaint --help` shows the values for this task. `${key}` is the value of another key. "
        "Keys without a comment have the explanation of another file. The syntax is that of Hydra: `key=value` sets a "
        "key, `group=option` selects a file of a group, `group/part=option` selects a file of a subgroup, and "
        "`-m key=1,2` runs both values.",
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
        match = LIMITS.match(explanation := explain(key.name, pages, {page.group: page.choice}))
        value = "must be given" if key.value == "???" else f"`{shown(key.value)}`"
        text, limits = (match[1], match[2]) if match else (explanation, "")
        rows.append(f"| `{key.name}` | {value} | {_cell(limits)} | {_cell(text)} |")
    return [*rows, ""]


def _cell(text: str) -> str:
    return re.sub(r"([|<>*_$\[\]])", r"\\\1", text)


# Python modules and the notebook


def module_page(name: str) -> str:
    """Return a page with the public names of a module."""
    return f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :show-inheritance:\n```\n"


def notebook_page(path: Path) -> str:
    """Return the cells of a notebook and their outputs as a Markdown page. Pictures are data addresses."""
    lines = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        lines += [text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```", ""]
        for output in cell.get("outputs", []):
            if "text" in output:
                lines += ["```", "".join(output["text"]).rstrip(), "```", ""]
            elif picture := output.get("data", {}).get("image/png"):
                lines += [f"![output](data:image/png;base64,{''.join(picture).replace(chr(10), '')})", ""]
    return "\n".join(lines)
