"""Severity curves: the map from time t in [0, 1] to the parameter of a degradation."""

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
    """start + t (end - start).

    Args:
        start: parameter at t = 0, in the degradation's unit (mostly pixels of a 256-px image).
        end: parameter at t = 1; at least `start`.
    """

    def __init__(self, start: float, end: float):
        if not 0 <= start <= end < math.inf:
            raise ValueError(f"severity must satisfy 0 <= start <= end < infinity, got start={start}, end={end}")
        self.start, self.end = float(start), float(end)

    def __call__(self, t: Tensor) -> Tensor:
        return self.start + t * (self.end - self.start)


class TabulatedSeverity:
    """Linear interpolation of a table, such as a greedy schedule (paper, Algorithm 2).

    Args:
        times: increasing times, from 0 to 1.
        values: the parameter at those times; must not decrease, since severity grows with t.
    """

    def __init__(self, times: Sequence[float], values: Sequence[float]):
        self.times, self.values = check_times(times), [float(v) for v in values]
        if len(self.times) != len(self.values):
            raise ValueError(f"a table needs as many values as times, got {len(values)} for {len(times)}")
        if not all(map(math.isfinite, self.values)) or any(b < a for a, b in pairwise(self.values)):
            raise ValueError("values must be finite, and must not decrease with t")

    @classmethod
    def from_csv(cls, path: str | Path) -> "TabulatedSeverity":
        """Read a table with one header line and the columns time, value.

        Args:
            path: a CSV file, or the name of a table that is shipped (`published_blur`: the authors' curve for
                blur, standard deviation in pixels at 256 px).

        Raises:
            ValueError: if there is no such table or it is not one.
        """
        shipped = resources.files("diracdiff.degradations") / "tables" / f"{path}.csv"
        with resources.as_file(shipped) as file:
            return read_table(file if file.is_file() else path, "t,value", cls)

    def __call__(self, t: Tensor) -> Tensor:
        times, values = (torch.tensor(v, dtype=t.dtype, device=t.device) for v in (self.times, self.values))
        right = torch.searchsorted(times, t.detach().contiguous()).clamp(1, len(self.times) - 1)
        weight = (t - times[right - 1]) / (times[right] - times[right - 1])
        return values[right - 1] + weight * (values[right] - values[right - 1])


def check_times(times: Sequence[float]) -> list[float]:
    """Return times as numbers.

    Raises:
        ValueError: unless they increase from 0 to 1.
    """
    found = [float(t) for t in times]
    if len(found) < 2 or found[0] != 0 or found[-1] != 1 or not all(a < b for a, b in pairwise(found)):
        raise ValueError(f"times must increase from 0 to 1, got {found[:1]} … {found[-1:]}")
    return found


def read_table(path: str | Path, columns: str, build: Callable[[list[float], list[float]], T]) -> T:
    """Build an object from the first two columns of a CSV file with one header line.

    Args:
        path: of the file.
        columns: their names, for messages.
        build: takes the columns, and raises ValueError if they break a rule.

    Raises:
        ValueError: naming the file, if it does not exist, does not hold numbers, or they break a rule.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: give a table, a CSV file with the columns {columns}")
    try:
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8").splitlines()))[1:]
        return build([float(row[0]) for row in rows], [float(row[1]) for row in rows])
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"{path} is not a table (header line, then {columns}): {error}") from error
