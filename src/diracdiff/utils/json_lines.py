"""Files of JSON, an object a line, to which several processes may append at once."""

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diracdiff.utils.errors import UserError, warn
from diracdiff.utils.files import not_written


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append a whole line, or nothing, while other processes wait.

    Raises:
        UserError: if it cannot be written, or the file is a symbolic link.
    """
    line = (json.dumps(row) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as handle:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":  # a killed process left half a line
                line = b"\n" + line
            try:
                while line:
                    line = line[os.write(handle, line) :]
            except OSError:
                os.ftruncate(handle, size)
                raise
    except OSError as error:
        if path.is_symlink():
            raise UserError(f"{path} is a symbolic link, which is not followed: remove it") from error
        raise not_written(path, error) from error


def read_lines(path: Path, valid: Callable[[dict[str, Any]], bool] = bool, quiet: bool = False) -> list[dict[str, Any]]:
    """Return the objects of a file, none if there is none; one warning counts the lines that are damaged.

    Args:
        path: of the file.
        valid: returns True for an object that is as it should be.
        quiet: give no warning.

    Raises:
        UserError: if it cannot be read, or is a symbolic link.
    """
    try:
        with _locked(path, os.O_RDONLY, fcntl.LOCK_SH) as handle, open(handle, "rb", closefd=False) as file:
            lines = file.read().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        reason = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise UserError(f"{path} cannot be read ({reason}): remove it") from error
    rows, damaged = [], []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and valid(row):
            rows.append(row)
        elif line.strip():
            damaged.append(number)
    if damaged and not quiet:
        count = f"{len(damaged)} damaged lines are" if len(damaged) > 1 else "1 damaged line is"
        warn(f"{path}: {count} ignored, the first is line {damaged[0]}")
    return rows


@contextmanager
def _locked(path: Path, flags: int, lock: int) -> Iterator[int]:
    """Open a regular file, which is no symbolic link, and lock it."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "it is not a regular file")
        fcntl.flock(handle, lock)
        yield handle
    finally:
        os.close(handle)
