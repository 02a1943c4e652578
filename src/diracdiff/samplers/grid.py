"""Time grids: increasing maps of [0, 1] onto itself that place the times of a sampler.

N steps from `start` visit the times start * grid(1 - k / N), k = 0 … N. Where a grid is flat, times are dense.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from diracdiff.utils.validate import check_positive


class UniformGrid:
    """u: equal steps."""

    def __call__(self, u: float) -> float:
        return u


class PowerGrid:
    """u^exponent: times dense near t = 0 for exponents above 1, near the measurement for those below.

    Args:
        exponent: positive.
    """

    def __init__(self, exponent: float):
        check_positive(exponent=exponent)
        self.exponent = float(exponent)

    def __call__(self, u: float) -> float:
        return float(u**self.exponent)


class AdaptiveGrid:
    """Linear interpolation of times that `diracdiff schedule` places densely where a trajectory changes most.

    Args:
        times: increasing times from 0 to 1.
    """

    def __init__(self, times: Sequence[float]):
        self.times = [float(t) for t in times]
        if len(self.times) < 2 or self.times[0] != 0 or self.times[-1] != 1:
            raise ValueError(f"the times of a grid must run from 0 to 1, got {self.times[:1]} … {self.times[-1:]}")
        if any(b <= a for a, b in pairwise(self.times)):
            raise ValueError("the times of a grid must increase")

    @classmethod
    def from_csv(cls, path: str | Path) -> "AdaptiveGrid":
        """Read a table with a header line and the times in its last column.

        Raises:
            ValueError: if there is no such table or it is not one.
        """
        if not Path(path).is_file():
            raise ValueError(f"no table of times {path}: make one with `diracdiff schedule checkpoint=…`")
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()[1:]
            return cls([float(line.rsplit(",", 1)[-1]) for line in lines])
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not a table of times (header line, then u,t): {error}") from error

    def __call__(self, u: float) -> float:
        last = len(self.times) - 1
        left = min(int(u * last), last - 1)
        return self.times[left] + (u * last - left) * (self.times[left + 1] - self.times[left])
