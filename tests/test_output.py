"""Output that is safe: escaped names in tables, and streams whose failure ends nothing."""

import subprocess
import sys

import pytest
from conftest import clean_environment

from diracdiff.evaluation.tables import print_table, write_markdown_and_latex

EVIL = "a\x1b[2J\x07\n\x9b31m\u202eb|`c`<script>\\input{/etc/passwd}[x](http://e)\udcff"
"""A file name with terminal escapes, a line break, Markdown, HTML, LaTeX, and a byte that is not UTF-8."""


# LaTeX and Markdown


def test_a_name_in_a_table_is_text(tmp_path, capsys):
    write_markdown_and_latex(tmp_path / "table", ["method", "psnr"], [[EVIL, "1"], ["50 % of a_b & $c^2$", "2"]], EVIL)
    latex = (tmp_path / "table.tex").read_text().splitlines()
    assert len(latex) == 9 and latex[0].startswith("% ") and r"\input" not in "\n".join(latex)
    assert latex[5].startswith(r"a\textbackslash{}x1b[2J") and latex[5].endswith(r"\textbackslash{}xff & 1 \\")
    assert latex[6] == r"50 \% of a\_b \& \$c\textasciicircum{}2\$ & 2 \\"
    markdown = (tmp_path / "table.md").read_text().splitlines()
    assert len(markdown) == 6
    assert r"b\|\`c\`&lt;script>\\input{/etc/passwd}[x]\(http://e)\\xff | 1 |" in markdown[2]
    print_table(["method", "psnr"], [[EVIL, "[/b]"]], f"[red]{EVIL}", "[/]")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x9b" not in shown and "[/b]" in shown and "[red]a" in shown


# streams

PRINTS = """
import logging, sys, warnings
from diracdiff.utils.console import protect_output
protect_output()
import rich.console
from diracdiff.utils.errors import say, warn
logging.basicConfig()
for number in range(5000):
    say(f"line {number} of text that fills a buffer sooner or later")
    logging.warning("logged")
warn("warned"), warnings.warn("warned")
rich.console.Console().print("rich")
with open("done.txt", "w") as file:
    file.write(str(file.fileno()))
raise SystemExit(3)
"""


@pytest.mark.parametrize(
    "redirection", ["| head -1", ">/dev/full", "2>/dev/full", ">&-", "2>&-", "<&- >&- 2>&-", "2>&1 | head -0", "| true"]
)
def test_a_stream_that_fails_changes_neither_work_nor_status(tmp_path, redirection):
    (tmp_path / "prints.py").write_text(PRINTS)
    command = f"{sys.executable} prints.py {redirection}; echo status ${{PIPESTATUS[0]}} >status.txt"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True
    )
    assert (tmp_path / "status.txt").read_text() == "status 3\n"
    assert int((tmp_path / "done.txt").read_text()) > 2  # no file takes the place of a closed stream
    assert "Exception" not in done.stderr and "Error" not in done.stderr
