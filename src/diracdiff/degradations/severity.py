"""Severity curves, which map times in [0, 1] to severities of a degradation."""

import csv
import math
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

Severity = Callable[[Tensor], Tensor]
T = TypeVar("T")


class LinearSeverity:
    """Linear severity curve start + t (end - start).

    Args:
        start: severity at t = 0, at least 0, in the unit of the degradation.
        end: severity at t = 1, at least `start`.

    Raises:
        ValueError: if start or end is out of range.
    """

    def __init__(self, start: float, end: float):
        if not 0 <= start <= end < math.inf:
            raise ValueError(f"start={start}, end={end}: must satisfy 0 <= start <= end < infinity. Change them.")
        self.start, self.end = float(start), float(end)

    def __call__(self, t: Tensor) -> Tensor:
        return self.start + t * (self.end - self.start)


class TabulatedSeverity:
    """Severity curve that interpolates a table linearly, such as a greedy schedule (paper, Algorithm 2).

    Args:
        times: increasing times from 0 to 1.
        values: severities at these times, finite and not decreasing.

    Raises:
        ValueError: if times or values break their rule, or have different lengths.
    """

    def __init__(self, times: Sequence[float], values: Sequence[float]):
        self.times, self.values = check_times(times), [float(v) for v in values]
        if len(self.times) != len(self.values):
            counts = f"{len(values)} values and {len(times)} times"
            raise ValueError(f"values: must be as many as times, got {counts}. Complete the table.")
        if not all(map(math.isfinite, self.values)) or any(b < a for a, b in pairwise(self.values)):
            raise ValueError("values: must be finite and must not decrease with t. Change the table.")

    @classmethod
    def from_csv(cls, path: str | Path) -> "TabulatedSeverity":
        """Read a table with one header line and the columns time and severity.

        Args:
            path: CSV file, or name of a bundled table. `published_blur` is the authors' schedule of the blur's standard
                deviation in pixels at 256 px.

        Raises:
            ValueError: if the file does not exist or is not a valid table.
        """
        bundled = resources.files("diracdiff.degradations") / "tables" / f"{path}.csv"
        with resources.as_file(bundled) as file:
            return read_table(file if file.is_file() else path, "t,value", cls)

    def __call__(self, t: Tensor) -> Tensor:
        times, values = (torch.tensor(v, dtype=t.dtype, device=t.device) for v in (self.times, self.values))
        right = torch.searchsorted(times, t.detach().contiguous()).clamp(1, len(self.times) - 1)
        weight = (t - times[right - 1]) / (times[right] - times[right - 1])
        return values[right - 1] + weight * (values[right] - values[right - 1])


def check_times(times: Sequence[float]) -> list[float]:
    """Return times as floats.

    Raises:
        ValueError: if the times do not increase from 0 to 1.
    """
    values = [float(t) for t in times]
    if len(values) < 2 or values[0] != 0 or values[-1] != 1 or not all(a < b for a, b in pairwise(values)):
        raise ValueError(f"times: must increase from 0 to 1, got {values[:1]} … {values[-1:]}. Change the table.")
    return values


def read_table(path: str | Path, columns: str, build: Callable[[list[float], list[float]], T]) -> T:
    """Build an object from the first two columns of a CSV file with one header line.

    Args:
        path: CSV file.
        columns: names of the two columns, for messages.
        build: maps the two columns to the object. Raises ValueError for invalid columns.

    Raises:
        ValueError: if the file does not exist, does not contain numbers, or `build` raises ValueError.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: must exist. Give a CSV file with the columns {columns}.")
    try:
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8").splitlines()))[1:]
        return build([float(row[0]) for row in rows], [float(row[1]) for row in rows])
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"{path}: must be a table with one header line and the columns {columns}. {error}") from error
