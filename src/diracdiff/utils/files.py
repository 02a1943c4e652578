"""Files: written whole or not at all, and CSV and JSON read with one message that names the file and the remedy."""

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
"""Arguments with which CSV files are opened: names that are not UTF-8 keep their bytes."""


# checks before anything is written


def check_output(
    folder: Path, targets: Iterable[Path], if_exists: str = "error", options: Sequence[str] = ("error", "overwrite")
) -> None:
    """Refuse an output folder that cannot be written and, for if_exists="error", targets that exist.

    Raises:
        ValueError: if `if_exists` is not one of the options, or naming the file or folder that is in the way.
    """
    if if_exists not in options:
        raise ValueError(f"if_exists={if_exists}: must be one of {', '.join(options)}.")
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"output={folder} must be a folder, but {existing} is a file: give another output")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise ValueError(f"output={folder} cannot be written ({error.strerror}): give another output") from error
    for target in targets:
        if target.is_dir():
            raise ValueError(f"{target} must be a file, but is a folder: give another output")
        if os.path.lexists(target) and if_exists == "error":
            raise ValueError(f"{target} exists: give another output, or if_exists=overwrite")


def check_not_input(name: str, output: str | Path, key: str, source: str | Path) -> None:
    """Raise ValueError where a file that is read would be written; a hard link is the same file."""
    if os.path.exists(output) and os.path.exists(source) and os.path.samefile(output, source):
        raise ValueError(f"{name}={output} would replace the input {key}={source}: give another {name}")


# whole files


@contextmanager
def open_atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file to write into, which replaces `path` when all of it is written and on the disk.

    Its permissions follow the umask. A killed process leaves the old file unchanged, and at most a file `.*.tmp`.

    Raises:
        ValueError: if it cannot be written, as on a full disk; `path` stays unchanged.
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
    """Yield a folder to write files into, which replace those in `folder` when all of them are written.

    Raises:
        ValueError: if one cannot be written, as on a full disk; the files in `folder` stay unchanged.
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
        remedy = "free space, or write elsewhere" if full else "write elsewhere, or make it writable"
        raise ValueError(
            f"{path} cannot be written ({error.strerror}), what was there is as before: {remedy}"
        ) from error


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with open_atomic(path) as file:
        file.write(data)


# JSON


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, indented."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: str | Path, remedy: str = "Move it away, or restore a copy.") -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ValueError: naming the file and the remedy.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it must hold an object")
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise _not_read(path, error, remedy) from error


# CSV


def write_rows(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows with the same keys, at least one, as CSV; text that looks like a formula is escaped."""
    rows = list(rows)
    write_atomically(path, _lines(list(rows[0]), [{key: key for key in rows[0]}, *rows]))


def append_rows(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to a CSV file, which is made if it does not exist; new keys become further columns.

    Raises:
        ValueError: if they cannot be written; the file stays unchanged.
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
    """Return lines of CSV that end in a line feed; cells with any line break are quoted."""
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
    """Read the rows of a CSV file as text, and the named columns as the given types.

    Args:
        path: of the file.
        columns: {name: int, float or str} of columns that the file must have.
        remedy: advice about a damaged file, for messages.
        unfinished: leave out a last line without its line feed, which a killed process leaves.

    Raises:
        ValueError: naming the file, the line and the remedy.
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
