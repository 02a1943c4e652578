"""Draw docstrings and paragraphs of the documentation at random, for a review of their prose.

`python tools/sample_prose.py 40 0` prints 40 docstrings of src/ and 40 paragraphs of Markdown pages, with seed 0.
"""

import ast
import random
import sys
from pathlib import Path


def docstrings() -> list[str]:
    """Return all docstrings of the package, each with its file and name."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [
        f"{path}, {getattr(node, 'name', 'module')}\n{text}"
        for path in sorted(Path("src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kinds) and (text := ast.get_docstring(node))
    ]


def paragraphs() -> list[str]:
    """Return all paragraphs of prose in Markdown pages, each with its file, without headings, tables and code."""
    return [
        f"{path}\n{text}"
        for pattern in ("*.md", "docs/*.md", "docs/tutorials/*.md", "experiments/**/*.md", "benchmarks/*.md")
        for path in sorted(Path().glob(pattern))
        for part in path.read_text(encoding="utf-8").split("```")[::2]
        for text in part.split("\n\n")
        if len(text.split()) > 8 and not text.lstrip().startswith(("#", "|", "<"))
    ]


if __name__ == "__main__":
    count, seed = map(int, sys.argv[1:])
    generator = random.Random(seed)
    for texts in (docstrings(), paragraphs()):
        print(f"\n===== {count} of {len(texts)}\n")
        print("\n\n".join(generator.sample(texts, count)))
