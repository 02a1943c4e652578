"""Severity curves: the map from time t in [0, 1] to the parameter of a degradation."""

import csv
import math
from collections.abc import Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor


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
    """Linear interpolation of a table, as a greedy schedule makes it (paper, Algorithm 2).

    Args:
        times: increasing times, from 0 to 1.
        values: the parameter at those times; must not decrease, since severity grows with t.

    """

    def __init__(self, times: Sequence[float], values: Sequence[float]):
        times, values = [float(t) for t in times], [float(v) for v in values]
        if len(times) != len(values) or len(times) < 2:
            raise ValueError(f"a table needs two or more rows, got {len(times)} times, {len(values)} values")
        if not all(map(math.isfinite, times + values)):
            raise ValueError("a table must hold finite numbers only")
        if times[0] != 0 or times[-1] != 1 or any(b <= a for a, b in pairwise(times)):
            raise ValueError(f"times must increase from 0 to 1, got {times[0]} … {times[-1]}")
        for time, (low, high) in zip(times[1:], pairwise(values), strict=True):
            if high < low:
                raise ValueError(f"severity must not decrease with t, got {low} then {high} at t = {time}")
        self.times, self.values = times, values

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
        source = shipped if shipped.is_file() else Path(path)
        if not source.is_file():
            raise ValueError(f"no severity table {path!r}: give a CSV file or a shipped name (published_blur)")
        try:
            rows = list(csv.reader(source.read_text(encoding="utf-8").splitlines()))[1:]
            return cls([float(row[0]) for row in rows], [float(row[1]) for row in rows])
        except (OSError, ValueError, IndexError, csv.Error) as error:
            raise ValueError(f"{path} is not a severity table (header line, then t,value): {error}") from error

    def __call__(self, t: Tensor) -> Tensor:
        times, values = (torch.tensor(v, dtype=t.dtype, device=t.device) for v in (self.times, self.values))
        right = torch.searchsorted(times, t.detach().contiguous()).clamp(1, len(self.times) - 1)
        weight = (t - times[right - 1]) / (times[right] - times[right - 1])
        return values[right - 1] + weight * (values[right] - values[right - 1])
