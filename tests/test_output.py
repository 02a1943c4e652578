"""Output that is safe: file permissions, escaped names, and streams whose failure ends nothing."""

import csv
import os
import stat
import subprocess
import sys

import pytest
from conftest import clean_environment
from hypothesis import given
from hypothesis import strategies as st

from diracdiff.evaluation.tables import print_table, write_markdown_and_latex
from diracdiff.utils.errors import say, warn
from diracdiff.utils.escaping import for_csv, for_latex, for_markdown, for_terminal, from_csv
from diracdiff.utils.files import append_rows, read_rows, write_json, write_rows

EVIL = "a\x1b[2J\x07\n\x9b31m\u202eb|`c`<script>\\input{/etc/passwd}[x](http://e)\udcff"
"""A file name with terminal escapes, a line break, Markdown, HTML, LaTeX, and a byte that is not UTF-8."""


# files


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_rows(tmp_path / "a.csv", [{"x": 1}])
        write_json(tmp_path / "a.json", {})
        (tmp_path / "a.json").chmod(0o640)
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {mode}


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    write_json(tmp_path / ("x" * 250 + ".json"), {"a": 1})
    assert len(list(tmp_path.iterdir())) == 1


# CSV


def test_a_cell_that_looks_like_a_formula_is_escaped_and_restored(tmp_path):
    names = ["=HYPERLINK(1).jpg", "+1+1", "-x", "@SUM(A1)", "\tx", "\rx", "'=x", "''", "-5", "a,b", 'a"b', "a\nb", EVIL]
    write_rows(tmp_path / "images.csv", [{"image": name, "psnr": -2.5} for name in names])
    with open(tmp_path / "images.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        cells = [row[0] for row in csv.reader(file)][1:]
    assert cells[:7] == ["'=HYPERLINK(1).jpg", "'+1+1", "'-x", "'@SUM(A1)", "'\tx", "'\rx", "''=x"]
    assert cells[7:9] == ["''", "-5"]
    assert [row["image"] for row in read_rows(tmp_path / "images.csv")] == names
    assert {row["psnr"] for row in read_rows(tmp_path / "images.csv")} == {"-2.5"}


@given(st.text(alphabet=st.one_of(st.sampled_from("'=+-@\t\r\n\",0.5e"), st.characters(codec="utf-8"))))
def test_every_text_is_restored_from_csv(text):
    cell = str(for_csv(text))
    assert from_csv(cell) == text
    assert not cell.startswith(("=", "@")) and (not cell.startswith(("+", "-")) or float(cell) is not None)


def test_rows_are_added_with_new_columns_and_old_ones_stay(tmp_path):
    path = tmp_path / "metrics.csv"
    append_rows(path, [{"step": 1, "name": "=a"}])
    append_rows(path, [{"step": 2}])
    append_rows(path, [{"step": 3, "loss": 0.5}, {"name": "b"}])
    append_rows(path, [])
    assert [tuple(row.values()) for row in read_rows(path)] == [
        ("1", "=a", ""),
        ("2", "", ""),
        ("3", "", "0.5"),
        ("", "b", ""),
    ]


# LaTeX, Markdown, terminals


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


def test_messages_show_control_characters_escaped(capsys):
    say(EVIL), warn(EVIL)
    out, err = capsys.readouterr()
    assert out == for_terminal(EVIL) + "\n" and err == f"warning: {out}"
    assert out.startswith(r"a\x1b[2J\x07\n\x9b31m\u202eb|") and out.endswith("\\xff\n")
    assert for_terminal("Grüße, 写真 👩‍👩‍👧.jpg") == "Grüße, 写真 👩‍👩‍👧.jpg"


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_escaped_text_has_one_line_and_no_control_characters(text):
    for escaped in (for_terminal(text), for_latex(text), for_markdown(text)):
        assert len(escaped.splitlines()) <= 1
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in escaped)


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
