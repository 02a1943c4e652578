"""Escaping of untrusted text, such as file names, for terminals, CSV, LaTeX and Markdown."""

import re

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, bidirectional controls, and bytes that are not UTF-8."""

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""Beginning of text that a spreadsheet reads as a formula, possibly escaped by apostrophes."""

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "{}$&#%_"}
    | {
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "–": "--",
    }
)
MARKDOWN = str.maketrans({character: f"\\{character}" for character in r"\|`*"} | {"<": "&lt;"})


def for_terminal(text: str) -> str:
    r"""Escape characters of `UNSAFE`, for example as `\x1b` or `\n`. A byte that is not UTF-8 becomes `\xff`."""

    def escape(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(match[0])[1:-1]

    return UNSAFE.sub(escape, text)


def for_csv(value: object) -> object:
    """Return the value of a CSV cell. Text that begins like a formula gets a leading apostrophe."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) and not _is_number(value) else value


def from_csv(cell: str) -> str:
    """Invert `for_csv` for text."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def for_latex(text: str) -> str:
    """Escape the special characters of LaTeX. White space becomes spaces."""
    return for_terminal(re.sub(r"\s", " ", text)).translate(LATEX)


def for_markdown(text: str) -> str:
    """Escape table separators, HTML, code, emphasis and links of Markdown. White space becomes spaces."""
    return for_terminal(re.sub(r"\s", " ", text)).translate(MARKDOWN).replace("](", r"]\(")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
