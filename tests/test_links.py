"""Relative links and anchors of all Markdown files and notebooks, by the rules of GitHub."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
from conftest import ROOT

CODE = re.compile(r"^( *)(```+|~~~+).*?^\1\2|(?<!`)(`+)(?!`).+?(?<!`)\3(?!`)|<!--.*?-->", re.MULTILINE | re.DOTALL)
TARGETS = (
    re.compile(r"!?\[(?:[^\[\]]|!?\[[^\]]*\](?:\([^)]*\))?)*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)"),
    re.compile(r"^\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE),
    re.compile(r"<(?:a|img)\b[^>]*\b(?:href|src)=\"([^\"]+)\""),
)
PICTURE_IN_LINK = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def slugs(text: str) -> set[str]:
    """Return the anchors of a Markdown text: slugs of its headings, and identifiers of HTML elements."""
    found, seen = set(re.findall(r"<[a-z]+\b[^>]*\b(?:id|name)=\"([^\"]+)\"", text)), Counter()
    without_fences = re.sub(r"^( *)(```+|~~~+).*?^\1\2", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)?$", without_fences, re.MULTILINE):
        label = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", label.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(pages: Mapping[str, str], files: set[str]) -> Iterator[str]:
    """Yield `page: link` for each relative link without a target.

    Args:
        pages: {path in the repository: Markdown text}.
        files: paths of all files that the repository contains.
    """
    folders = {""} | {part for path in files for part in _parents(path)}
    anchors = {path: slugs(text) for path, text in pages.items()}
    for page, text in pages.items():
        prose = CODE.sub("", text)
        for link in (link for pattern in (*TARGETS, PICTURE_IN_LINK) for link in pattern.findall(prose)):
            if re.match(r"[a-z][a-z+.-]*:|//", link):
                continue
            path, _, anchor = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            target = "" if target == "." else target
            if target in folders:
                target = os.path.join(target, "README.md") if anchor else target
            missing = target not in files and target not in folders
            if missing or (anchor and target in anchors and anchor not in anchors[target]):
                yield f"{page}: {link}"


def _parents(path: str) -> Iterator[str]:
    while path := os.path.dirname(path):
        yield path


def repository_files() -> set[str]:
    """Return the paths of all files that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name for name in names if name and (ROOT / name).exists()}


def test_relative_links_and_anchors_have_targets():
    files, pages = repository_files(), {}
    for name in sorted(files):
        text = (ROOT / name).read_text(encoding="utf-8") if name.endswith((".md", ".ipynb")) else ""
        if name.endswith(".md"):
            pages[name] = text
        elif name.endswith(".ipynb"):
            cells = json.loads(text)["cells"]
            pages[name] = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert {"README.md", "docs/index.md", "docs/notebook.ipynb", "CHANGELOG.md"} <= pages.keys()
    assert not list(broken_links(pages, files))


OTHER = '# Other page\n\n## Two `words=` & more\n\n## Again\n\n## Again\n\n```\n# no heading\n```\n\n<a id="here"></a>'
GOOD = [
    "[x](other.md)",
    "[x](../docs/other.md#two-words--more)",
    "[x](other.md#again-1)",
    "[x](other.md#here)",
    "[x](#page)",
    "[x](../src)",
    "[x](../src/code.py#L3)",
    "[![x](../src/code.py)](other.md)",
    "[x](https://example.org/missing.md)",
    "`[x](missing.md)`",
    "```\n[x](missing.md)\n```",
]
BAD = {
    "[x](missing.md)": "missing.md",
    "[x](other.md#absent)": "other.md#absent",
    "[x](other.md#no-heading)": "other.md#no-heading",
    "[x](#absent)": "#absent",
    "![x](picture.png)": "picture.png",
    "[![x](picture.png)](other.md)": "picture.png",
    '[x](../../outside.md "title")': "../../outside.md",
    "[x][1]\n\n[1]: missing.md": "missing.md",
    '<img width="9" src="picture.png">': "picture.png",
}


@pytest.mark.parametrize("text", [*GOOD, *BAD])
def test_the_check_finds_broken_links_only(text):
    pages = {"docs/page.md": f"# Page\n\n{text}\n", "docs/other.md": OTHER}
    expected = {f"docs/page.md: {BAD[text]}"} if text in BAD else set()
    assert set(broken_links(pages, {*pages, "src/code.py"})) == expected
