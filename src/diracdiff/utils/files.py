"""Files written whole or not at all, and the checks before anything is written."""

import csv
import errno
import io
import itertools
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from diracdiff.utils.errors import UserError
from diracdiff.utils.escaping import for_csv
from diracdiff.utils.reading import CSV, read_rows


def check_output(folder: Path, targets: Iterable[Path], overwrite: bool) -> None:
    """Refuse an output folder that cannot be written, and targets in it that exist unless they may be replaced.

    Raises:
        UserError: naming what is in the way.
    """
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"output={folder} must be a folder, but {existing} is a file: give another output")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise UserError(f"output={folder} cannot be written ({error.strerror}): give another output") from error
    for target in targets:
        if target.is_dir():
            raise UserError(f"{target} must be a file, but is a folder: give another output")
        if os.path.lexists(target) and not overwrite:
            raise UserError(f"{target} exists: give another output, or overwrite=true")


def check_not_input(name: str, output: str | Path, key: str, source: str | Path) -> None:
    """Refuse to write what is read, which overwrite=true does not allow either; a hard link is the same file.

    Raises:
        UserError: naming both.
    """
    if os.path.exists(output) and os.path.exists(source) and os.path.samefile(output, source):
        raise UserError(f"{name}={output} would replace the input {key}={source}: give another {name}")


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file to write into, which replaces `path` when all of it is written and on the disk.

    Its permissions follow the umask. A killed process leaves the old file unchanged, and at most a file `.*.tmp`.

    Raises:
        UserError: if it cannot be written, as on a full disk; `path` stays unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise not_written(path, error) from error
        raise


def not_written(path: Path, error: OSError) -> UserError:
    """Return the error of a file that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free space, or write elsewhere" if full else "write elsewhere, or make it writable"
    return UserError(f"{path} cannot be written ({error.strerror}), what was there is as before: {remedy}")


def sync_folder(folder: Path) -> None:
    """Let the names in a folder be on the disk, where its file system can do that."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def together(folder: Path) -> Iterator[Path]:
    """Yield a folder to write files into, which replace those in `folder` when all of them are written.

    Raises:
        UserError: if one cannot be written, as on a full disk; what was there stays unchanged.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as staging:
            yield Path(staging)
            for path in Path(staging).iterdir():
                os.replace(path, folder / path.name)
    except BaseException as error:
        if made and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        cause = error.__cause__ if isinstance(error, UserError) else error
        if isinstance(cause, OSError):
            raise not_written(folder, cause) from error
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, indented."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def write_rows(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows with the same keys, at least one, as CSV; text that looks like a formula is escaped."""
    left = iter(rows)
    first = next(left)
    with replacing(path) as file:
        text = io.TextIOWrapper(file, **CSV)
        _write(text, list(first), itertools.chain([dict(zip(first, first, strict=True)), first], left))
        text.detach()


def append_rows(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to a CSV file, which is made if it does not exist; new keys become further columns.

    Raises:
        UserError: if they cannot be written; the file stays unchanged.
    """
    path, header = Path(path), list[str]()
    if not rows:
        return
    if path.exists():
        with open(path, **CSV) as file:
            header = next(csv.reader(file), [])
    columns = list(dict.fromkeys(itertools.chain(header, *rows)))
    if columns != header:
        before = read_rows(path) if header else []
        write_rows(path, ({key: row.get(key, "") for key in columns} for row in [*before, *rows]))
        return
    size = path.stat().st_size
    try:
        with open(path, "a", **CSV) as file:
            _write(file, columns, rows)
    except OSError as error:
        os.truncate(path, size)
        raise not_written(path, error) from error


@dataclass
class _Lines:
    """Lines of CSV that end in a line feed; a carriage return in a cell is quoted only where lines end in one."""

    file: TextIO

    def write(self, line: str) -> int:
        return self.file.write(line.removesuffix("\r\n") + "\n")


def _write(file: TextIO, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    escaped = ({key: for_csv(value) for key, value in row.items()} for row in rows)
    csv.DictWriter(_Lines(file), columns).writerows(escaped)
