"""Files of JSON, an object a line, which may be added to while a command runs."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diracdiff.storage.files import not_written, replacing


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Add a line in one piece, so that several processes may do it.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, _line(row))
        finally:
            os.close(handle)
    except OSError as error:
        raise not_written(path, error) from error


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the file anew, whole or not at all.

    Raises:
        UserError: if it cannot be written.
    """
    with replacing(path) as file:
        file.writelines(_line(row) for row in rows)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; none if there is none. A line that a killed process left half written is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows += [row] if isinstance(row, dict) else []
    return rows


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()
