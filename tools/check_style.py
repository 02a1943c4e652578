"""Check the prose of Markdown pages, of docstrings and comments of src/, and of comments of conf/.

`python tools/check_style.py` prints a line `path:line: word: write "…"` for each fault, and then exits with status 1.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

WORDS = r"""
walk(s|ed|ing)? > reverse process, sampling, trajectory; told > conditioned on, bound, given as input; anew > again
amid > during; besides? > next to, also; asked( for)? > requested; of (its|their|yours?|\w+'s) own > per-image, custom
certificates? > data-consistency test; dials? > trade-off parameter; holes? > mask, masked region; in the box > bundled
(?<!power )laws? > distribution; shares? of > fraction of; mend(s|ed)? > fixes; (to be had|at hand) > available
for nothing > unnecessarily; in company > distributed; houses? > package; (go|goes|going|gone|went) on > continue
(trainings|an? training(?=[.,:)]|$| (of|is|was|has|with|that|and|in|on|for|takes)\b)) > training run; in words > as text
(a|the) measuring > an evaluation; (a|the) restoring > a restoration; (says so|is said) > logs, prints
(what comes of|makes? of (it|them)) > result; (the|its|their|whose|of|these|all|other) stops > stopping times
faithful > accurate, distortion-optimised; good-looking > sharp, perception-optimised
"""
PAIRS = [entry.split(" > ") for entry in WORDS.strip().replace("\n", "; ").split("; ")]
RULES = [(re.compile(rf"\b{word}(?!\w)", re.IGNORECASE), instead) for word, instead in PAIRS]
RULES.append((re.compile(r"(?<=^\"{3})(What|Of|Whether|Where|How)\b"), "a noun phrase or an imperative"))
CODE = re.compile(r"`[^`]*`|\]\([^)]*\)|https?://\S+")  # code and addresses may contain any name


def prose(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of prose."""
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and type(node.value.value) is str:
                for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    yield number, source.splitlines()[number - 1].strip().removeprefix("r")
        return
    fenced, pattern = False, r".*" if path.suffix == ".md" else r"(^|(?<=\s))#.*"
    for number, line in enumerate(source.splitlines(), 1):
        fenced ^= line.startswith("```")
        if not fenced and (found := re.search(pattern, line)):
            yield number, found[0].removeprefix("```")


if __name__ == "__main__":
    patterns = ("*.md", "docs/*.md", "docs/tutorials/*.md", "experiments/**/*.md", "benchmarks/*.md")
    patterns += ("src/**/*.py", "conf/**/*.yaml")
    faults = []
    for path in sorted(path for pattern in patterns for path in Path().glob(pattern)):
        for number, text in prose(path, path.read_text(encoding="utf-8")):
            words = [(found[0], instead) for rule, instead in RULES for found in rule.finditer(CODE.sub("``", text))]
            long = path.suffix == ".md" and len(text) > 400 and not text.startswith("|")
            words += [(f"{len(text)} characters", "at most 400")] * long
            faults += [f'{path}:{number}: {word}: write "{instead}"' for word, instead in words]
    sys.exit("\n".join(faults) or 0)
