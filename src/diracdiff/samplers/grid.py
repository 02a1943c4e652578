"""Time grids: increasing maps of [0, 1] onto [0, 1] that define the times of a sampler.

N steps from `t_start` have the times t_start grid(1 - k / N), k = 0 … N. Times are dense where a grid is flat.
"""

from collections.abc import Sequence
from pathlib import Path

from diracdiff.degradations.severity import check_times, read_table
from diracdiff.utils.validate import check_positive


class UniformGrid:
    """Uniform grid, u: equal steps."""

    def __call__(self, u: float) -> float:
        return u


class PowerGrid:
    """Power grid, u^exponent.

    Args:
        exponent: exponent, positive. Above 1, times are dense near t = 0. Below 1, they are dense near the measurement.

    Raises:
        ValueError: if the exponent is not positive.
    """

    def __init__(self, exponent: float):
        check_positive(exponent=exponent)
        self.exponent = float(exponent)

    def __call__(self, u: float) -> float:
        return float(u**self.exponent)


class AdaptiveGrid:
    """Grid that interpolates a table of times linearly.

    `diracdiff schedule` writes tables with dense times where the iterates change most.

    Args:
        times: increasing times from 0 to 1.

    Raises:
        ValueError: if the times do not increase from 0 to 1.
    """

    def __init__(self, times: Sequence[float]):
        self.times = check_times(times)

    @classmethod
    def from_csv(cls, path: str | Path) -> "AdaptiveGrid":
        """Read a table of `diracdiff schedule`, with one header line and the times in the second column.

        Args:
            path: CSV file.

        Raises:
            ValueError: if the file does not exist or is not a valid table.
        """
        return read_table(path, "u,t", lambda _, times: cls(times))

    def __call__(self, u: float) -> float:
        last = len(self.times) - 1
        left = min(int(u * last), last - 1)
        return self.times[left] + (u * last - left) * (self.times[left + 1] - self.times[left])
