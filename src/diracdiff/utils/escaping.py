"""Text from outside, such as file names, made safe for terminals, CSV, LaTeX and Markdown."""

import re

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, characters that change the direction of text, and bytes that are not UTF-8."""

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The beginning of a text that a spreadsheet takes for a formula; with apostrophes, one that was escaped before."""

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
    r"""Escape what changes a terminal or breaks a line: `\x1b`, `\n`; a byte that is not UTF-8 becomes `\xff`."""

    def escape(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(match[0])[1:-1]

    return UNSAFE.sub(escape, text)


def for_csv(value: object) -> object:
    """Return a cell that a spreadsheet does not take for a formula: text that begins like one gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) and not _is_number(value) else value


def from_csv(cell: str) -> str:
    """Return the text of a cell that `for_csv` made."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def for_latex(text: str) -> str:
    """Escape the special characters of LaTeX; a line break becomes a space."""
    return for_terminal(re.sub(r"\s", " ", text)).translate(LATEX)


def for_markdown(text: str) -> str:
    """Escape what ends a table's cell, opens HTML or makes a link in Markdown; a line break becomes a space."""
    return for_terminal(re.sub(r"\s", " ", text)).translate(MARKDOWN).replace("](", r"]\(")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
