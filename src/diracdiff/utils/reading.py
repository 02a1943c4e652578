"""Read CSV and JSON files that commands wrote: typed values, or one line that names the file and the remedy."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diracdiff.utils.errors import UserError
from diracdiff.utils.escaping import for_terminal, from_csv

CSV: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
"""How CSV files are opened: names that are not UTF-8 keep their bytes."""

NOUNS = {int: "an integer", float: "a number", str: "text", dict: "an object", list: "a list", type(None): "null"}


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
        remedy: what to do about a damaged file.
        unfinished: whether a last line without its line feed, which a killed process leaves, is left out.

    Raises:
        UserError: naming the file, the line and the remedy.
    """
    columns = {} if columns is None else columns
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
        raise _damaged(path, f"line {line}", error, remedy) from error


def read_json(path: str | Path, shape: Any, remedy: str = "Move it away, or restore a copy.") -> Any:
    """Read a JSON file whose content has a shape, see `misfit`.

    Raises:
        UserError: naming the file, the place and the remedy.
    """
    try:
        content = json.loads(Path(path).read_bytes(), parse_int=_integer)
    except (OSError, ValueError, RecursionError) as error:
        line = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "line 1"
        raise _damaged(path, line, error, remedy) from error
    if found := misfit(content, shape):
        raise _damaged(path, "content", found, remedy)
    return content


def misfit(value: Any, shape: Any, place: str = "") -> str | None:
    """Describe the first place where a value of JSON lacks a shape; None where it has it.

    Args:
        value: of JSON.
        shape: a type, where `float` stands for any number; None; a tuple of alternatives; a list with one shape for all
            items or one for each; or a dictionary {key: shape}, in which "key?" may be missing and `str` stands for
            every key.
        place: of the value, for the message.
    """
    if isinstance(shape, tuple):
        found = [misfit(value, one, place) for one in shape]
        return None if None in found else found[0]
    if isinstance(shape, dict) and isinstance(value, dict):
        if str in shape:
            shape = dict.fromkeys(value, shape[str])
        for key, part in shape.items():
            name = key.removesuffix("?")
            if name in value:
                if found_in := misfit(value[name], part, f"{place}.{name}".lstrip(".")):
                    return found_in
            elif name == key:
                return f"{f'{place}.{key}'.lstrip('.')} is missing"
        return None
    if isinstance(shape, list) and isinstance(value, list) and len(shape) in (1, len(value)):
        parts = shape * len(value) if len(shape) == 1 else shape
        places = (f"{place}[{i}]" for i in range(len(value)))
        return next(filter(None, map(misfit, value, parts, places)), None)
    kind = shape if isinstance(shape, type) else type(shape)
    if not isinstance(shape, dict | list) and type(value) in ({int, float} if kind is float else {kind}):
        return None
    noun = f"a list of {len(shape)}" if isinstance(shape, list) and len(shape) > 1 else NOUNS.get(kind, kind.__name__)
    return f"{place or 'the whole'} must be {noun}"


def _integer(text: str) -> int:
    if abs(value := int(text)) >= 2**63:
        raise ValueError("an integer has more than 64 bits")
    return value


def _damaged(path: str | Path, place: str, reason: object, remedy: str) -> UserError:
    if isinstance(reason, OSError):
        return UserError(f"{path}: cannot be read ({reason.strerror}). {remedy}")
    return UserError(f"{path}, {place}: cannot be read ({for_terminal(' '.join(str(reason).split()))[:200]}). {remedy}")
