"""Files: atomic writes, one-line errors for damaged files, and escaped text."""

import csv
import os
import random
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import full_disk
from hypothesis import given
from hypothesis import strategies as st

from diracdiff.checkpoints.weights import read_weights, write_weights
from diracdiff.degradations import TabulatedSeverity
from diracdiff.evaluation.tables import print_table, write_markdown_and_latex
from diracdiff.samplers import AdaptiveGrid
from diracdiff.utils.errors import echo, warn
from diracdiff.utils.escaping import for_csv, for_latex, for_markdown, for_terminal, from_csv
from diracdiff.utils.files import (
    append_rows,
    check_not_input,
    check_output,
    read_rows,
    staged_files,
    write_json,
    write_rows,
)

COUNT = int(os.environ.get("DIRACDIFF_FUZZ", "30"))
"""Mutations of each kind of file."""

EVIL = "a\x1b[2J\x07\n\x9b31m\u202eb|`c`<script>\\input{/etc/passwd}[x](http://e)\udcff"
"""A file name with terminal escapes, a line break, Markdown, HTML, LaTeX, and a byte that is not UTF-8."""


# writing


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_rows(tmp_path / "a.csv", [{"x": 1}])
        write_json(tmp_path / ("x" * 250 + ".json"), {})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {mode}


def test_a_full_disk_leaves_files_as_they_were(tmp_path):
    write_weights(tmp_path / "a.ckpt", {"x": torch.zeros(3)})
    message = r"{}: cannot be written .*existing files are unchanged. Free space, or give another output.$"
    with full_disk(2000):
        with pytest.raises(ValueError, match=message.format("a.ckpt")):
            write_weights(tmp_path / "a.ckpt", {"x": torch.zeros(10_000)})
        with pytest.raises(ValueError, match=message.format("a.csv")):
            for step in range(1000):
                append_rows(tmp_path / "a.csv", [{"step": step}])
    assert torch.equal(read_weights(tmp_path / "a.ckpt", "another")["x"], torch.zeros(3))
    values = [row["step"] for row in read_rows(tmp_path / "a.csv", {"step": int})]
    assert values == list(range(len(values))) and 100 < len(values) < 1000
    assert len(os.listdir(tmp_path)) == 2


def test_files_are_replaced_together_or_not_at_all(tmp_path):
    write_rows(tmp_path / "out" / "a.csv", [{"x": 1}])
    with pytest.raises(ValueError, match="out: cannot be written"), staged_files(tmp_path / "out") as staging:
        write_rows(staging / "a.csv", [{"x": 2}])
        with open("/dev/full", "w") as full:
            full.write("x" * 100_000)
    append_rows(tmp_path / "out" / "a.csv", [{"x": 3}])
    assert [row["x"] for row in read_rows(tmp_path / "out" / "a.csv")] == ["1", "3"]
    assert os.listdir(tmp_path / "out") == ["a.csv"]


def test_existing_files_and_inputs_are_not_replaced(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ValueError, match=r"a\.png: must be a file, but is a folder"):
        check_output(tmp_path, [tmp_path / "a.png"], if_exists="overwrite")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ValueError, match="link: exists"):
        check_output(tmp_path, [tmp_path / "link"], if_exists="error")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"must be a folder, but .*file is a file"):
        check_output(tmp_path / "file" / "new", [], if_exists="overwrite")
    with pytest.raises(ValueError, match="cannot be written"):
        check_output(Path("/proc/new"), [], if_exists="overwrite")
    os.link(tmp_path / "file", tmp_path / "same")
    with pytest.raises(ValueError, match=r"output=.*same: would replace the input checkpoint=.*file. Give another"):
        check_not_input("output", tmp_path / "same", "checkpoint", tmp_path / "file")


def test_concurrent_writers_write_complete_lines(tmp_path):
    path = tmp_path / "table.csv"
    append_rows(path, [{"n": 0, "text": ""}])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append_rows(path, [{"n": number, "text": "x" * 5000}]), range(1, 200)))
    assert sorted(row["n"] for row in read_rows(path, {"n": int})) == list(range(200))


# CSV


def test_a_cell_that_looks_like_a_formula_is_escaped_and_restored(tmp_path):
    names = ["=HYPERLINK(1).jpg", "+1+1", "-x", "@SUM(A1)", "\tx", "\rx", "'=x", "''", "-5", "a,b", 'a"b', "a\nb", EVIL]
    write_rows(tmp_path / "images.csv", [{"image": name, "psnr": -2.5} for name in names])
    with open(tmp_path / "images.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        cells = [row[0] for row in csv.reader(file)][1:]
    assert cells[:9] == ["'=HYPERLINK(1).jpg", "'+1+1", "'-x", "'@SUM(A1)", "'\tx", "'\rx", "''=x", "''", "-5"]
    assert [row["image"] for row in read_rows(tmp_path / "images.csv")] == names
    assert {row["psnr"] for row in read_rows(tmp_path / "images.csv")} == {"-2.5"}


@given(st.text(alphabet=st.one_of(st.sampled_from("'=+-@\t\r\n\",0.5e"), st.characters(codec="utf-8"))))
def test_every_text_is_restored_from_csv(text):
    cell = str(for_csv(text))
    assert from_csv(cell) == text
    assert not cell.startswith(("=", "@")) and (not cell.startswith(("+", "-")) or float(cell) is not None)


def test_rows_with_new_columns_are_appended(tmp_path):
    path = tmp_path / "metrics.csv"
    for rows in ([{"step": 1, "name": "=a"}], [{"step": 2}], [{"step": 3, "loss": 0.5}, {"name": "b"}], []):
        append_rows(path, rows)
    values = [tuple(row.values()) for row in read_rows(path)]
    assert values == [("1", "=a", ""), ("2", "", ""), ("3", "", "0.5"), ("", "b", "")]
    path.write_bytes(b"step,loss\n1,0.5\n2,0.2")  # a killed process leaves an incomplete row
    assert [row["step"] for row in read_rows(path, {"step": int}, unfinished=True)] == [1]
    assert [row["step"] for row in read_rows(path, {"step": int})] == [1, 2]


# damaged files


def mutated(data, rng):
    """Return bytes with a random change: replaced, removed, repeated or NUL bytes, or content of another file type."""
    position, length = rng.randrange(len(data)), rng.randrange(1, 40)
    head, part, tail = data[:position], data[position : position + length], data[position + length :]
    other = rng.choice([b"", b"\n", b"null", b"5", b"[]", b'"text"', b"[" * 100_000, b"\xff\xfe", b"9" * 10_000])
    encoded = data.decode("latin-1").encode(rng.choice(["utf-16", "utf-32", "utf-8-sig"]))
    replaced = data.replace(rng.choice([b",", b"\n", b'"', b":", b"0"]), rng.choice([b"", b";", b"\r", b"\0"]))
    changed = (head, head + tail, head + rng.randbytes(length) + tail, head + part + part + tail)
    return rng.choice([*changed, head + b"\0" * length + tail, other, encoded, replaced])


READERS = {
    "rows.csv": lambda path: read_rows(path, {"step": int, "psnr": float}),
    "table.csv": TabulatedSeverity.from_csv,
    "grid.csv": AdaptiveGrid.from_csv,
    "measurements.pt": lambda path: read_weights(path, "another"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, name):
    path, read = tmp_path / name, READERS[name]
    write_rows(tmp_path / "rows.csv", [{"step": i, "name": "=a,b", "psnr": 20.0 + i} for i in range(12)])
    for table in ("table.csv", "grid.csv"):
        (tmp_path / table).write_text("t,value\n0,0\n0.25,0.1\n0.5,0.2\n1,1\n")
    write_weights(tmp_path / "measurements.pt", {"clean": torch.zeros(2, 3, 4, 4), "names": ["a", "b"]})
    whole, refused = path.read_bytes(), 0
    read(path)
    for seed in range(COUNT):
        path.write_bytes(mutated(whole, random.Random(seed)))
        try:
            read(path)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error), error
    assert refused


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"none.*: cannot be read \(No such file or directory\). Move it away"):
        read_rows(tmp_path / "none")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        read_rows(tmp_path)


# terminals, LaTeX and Markdown


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
    echo(EVIL), warn(EVIL)
    out, err = capsys.readouterr()
    assert out == for_terminal(EVIL) + "\n" and err == f"warning: {out}"
    assert out.startswith(r"a\x1b[2J\x07\n\x9b31m\u202eb|") and out.endswith("\\xff\n")
    assert for_terminal("Grüße, 写真 👩‍👩‍👧.jpg") == "Grüße, 写真 👩‍👩‍👧.jpg"


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_escaped_text_has_one_line_and_no_control_characters(text):
    for escaped in (for_terminal(text), for_latex(text), for_markdown(text)):
        assert len(escaped.splitlines()) <= 1
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in escaped)


def test_messages_of_other_processes_are_not_printed(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    echo("one"), warn("two"), warn("three", from_every_process=True)
    assert capsys.readouterr() == ("", "warning: three\n")
