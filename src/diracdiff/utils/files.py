"""Atomic writing of files, and reading and writing of CSV and JSON."""

import csv
import errno
import io
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from diracdiff.utils.escaping import for_csv, for_terminal, from_csv

CSV: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
"""Arguments of `open` for CSV files. File names that are not UTF-8 keep their bytes."""


def check_output(
    folder: Path, targets: Iterable[Path], if_exists: str = "error", options: Sequence[str] = ("error", "overwrite")
) -> None:
    """Check that an output folder and its files can be written.

    Args:
        folder: output folder; it need not exist.
        targets: files to write.
        if_exists: "error" refuses existing targets.
        options: valid values of `if_exists`.

    Raises:
        ValueError: if `if_exists` is invalid, the folder cannot be written, a target is a folder, or a target exists.
    """
    if if_exists not in options:
        raise ValueError(f"if_exists={if_exists}: must be one of {', '.join(options)}.")
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"output={folder}: must be a folder, but {existing} is a file. Give another output.")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise ValueError(f"output={folder}: cannot be written ({error.strerror}). Give another output.") from error
    for target in targets:
        if os.path.isdir(target):  # Path.is_dir fails on long names
            raise ValueError(f"{target}: must be a file, but is a folder. Give another output.")
        if os.path.lexists(target) and if_exists == "error":
            raise ValueError(f"{target}: exists. Give another output, or if_exists=overwrite.")


def check_not_input(name: str, output: str | Path, key: str, source: str | Path) -> None:
    """Check that an output is not the same file as an input. Hard links are the same file.

    Args:
        name: key of the output, for messages.
        output: output file.
        key: key of the input, for messages.
        source: input file.

    Raises:
        ValueError: if both are the same file.
    """
    if os.path.exists(output) and os.path.exists(source) and os.path.samefile(output, source):
        raise ValueError(f"{name}={output}: would replace the input {key}={source}. Give another {name}.")


@contextmanager
def open_atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` at the end of the context, after it is flushed to disk.

    Permissions follow the umask. A killed process leaves `path` unchanged and at most one file `.*.tmp`.

    Raises:
        ValueError: if writing fails, for example on a full disk; `path` stays unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def staged_files(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder. Its files move to `folder` at the end of the context.

    Raises:
        ValueError: if writing fails, for example on a full disk; the files in `folder` stay unchanged.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as staging:
            yield Path(staging)
            for path in Path(staging).iterdir():
                os.replace(path, folder / path.name)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "Free space, or give another output." if full else "Give another output, or make it writable."
        raise ValueError(
            f"{path}: cannot be written ({error.strerror}); existing files are unchanged. {remedy}"
        ) from error


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file atomically. Raises ValueError if writing fails."""
    with open_atomic(path) as file:
        file.write(data)


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def write_rows(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one or more rows with equal keys as CSV, atomically. Text that looks like a formula is escaped."""
    rows = list(rows)
    write_atomically(path, _lines(list(rows[0]), [{key: key for key in rows[0]}, *rows]))


def append_rows(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Append rows to a CSV file. A missing file is created, and new keys become additional columns.

    Raises:
        ValueError: if writing fails; the file stays unchanged.
    """
    path, header = Path(path), list[str]()
    if not rows:
        return
    if path.exists():
        with open(path, **CSV) as file:
            header = next(csv.reader(file), [])
    columns = list(dict.fromkeys([*header, *(key for row in rows for key in row)]))
    if columns != header:
        before = read_rows(path) if header else []
        write_rows(path, [{key: row.get(key, "") for key in columns} for row in [*before, *rows]])
        return
    size = path.stat().st_size
    with _writing(path):
        try:
            with open(path, "ab") as appended:
                appended.write(_lines(columns, rows))
        except OSError:
            os.truncate(path, size)
            raise


def _lines(columns: list[str], rows: Iterable[dict[str, Any]]) -> bytes:
    """Encode rows as CSV with line feeds. Cells with line breaks are quoted."""
    lines = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.DictWriter(text, columns).writerow({key: for_csv(value) for key, value in row.items()})
        lines.append(text.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def read_rows(
    path: str | Path,
    columns: Mapping[str, type] | None = None,
    remedy: str = "Move it away, or restore a copy.",
    unfinished: bool = False,
) -> list[dict[str, Any]]:
    """Read the rows of a CSV file.

    Args:
        path: the file.
        columns: {name: int, float or str} of required columns and their types. Other columns are text.
        remedy: advice about a damaged file, for messages.
        unfinished: drop a last line without a line feed, which a killed process leaves.

    Raises:
        ValueError: if the file cannot be read, a column is missing, or a value has another type.
    """
    columns = columns or {}
    line = 1
    try:
        with open(path, **CSV) as file:
            lines = file.readlines()
        if unfinished and lines and not lines[-1].endswith("\n"):
            lines.pop()
        reader = csv.reader(lines, strict=True)
        header = next(reader, [])
        if missing := [name for name in columns if name not in header]:
            raise ValueError(f"the column {missing[0]!r} is missing")
        rows = []
        for cells in reader:
            line = reader.line_num
            row: dict[str, Any] = {name: from_csv(cell) for name, cell in zip(header, cells, strict=True)}
            rows.append(row | {name: kind(row[name]) for name, kind in columns.items()})
        return rows
    except (OSError, ValueError, csv.Error) as error:
        raise _not_read(f"{path}, line {line}", error, remedy) from error


def _not_read(place: str | Path, error: Exception, remedy: str) -> ValueError:
    reason = error.strerror if isinstance(error, OSError) else for_terminal(" ".join(str(error).split()))[:200]
    return ValueError(f"{place}: cannot be read ({reason}). {remedy}")
