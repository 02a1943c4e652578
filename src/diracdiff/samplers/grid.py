"""Time grids: increasing maps of [0, 1] onto itself that place the times of a sampler.

N steps from `start` visit the times start * grid(1 - k / N), k = 0 … N. Where a grid is flat, times are dense.
"""

from collections.abc import Sequence
from pathlib import Path

from diracdiff.degradations.severity import check_times, read_table
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
        self.times = check_times(times)

    @classmethod
    def from_csv(cls, path: str | Path) -> "AdaptiveGrid":
        """Read a table with a header line and the times in its second column, as `diracdiff schedule` writes it.

        Raises:
            ValueError: if there is no such table or it is not one.
        """
        return read_table(path, "u,t", lambda _, times: cls(times))

    def __call__(self, u: float) -> float:
        last = len(self.times) - 1
        left = min(int(u * last), last - 1)
        return self.times[left] + (u * last - left) * (self.times[left + 1] - self.times[left])
