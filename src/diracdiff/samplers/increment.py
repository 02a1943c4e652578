"""Estimates of the incremental reconstruction R = A_s(x) - A_t(x), s < t (paper, Section 3.3 and supplement).

If x_hat is the clean image, look-ahead is exact, and the error of the other estimates is of second order in the step
dt = t - s. If look-back would leave [0, 1], at the first step, the estimates look ahead.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from diracdiff.process import StochasticDegradation

TOLERANCE = 1e-9
"""Tolerance for rounding errors of times."""


class Increment(ABC):
    """Estimate of the incremental reconstruction R = A_s(x) - A_t(x)."""

    @abstractmethod
    def __call__(
        self, process: StochasticDegradation, x_hat: Tensor, degraded: Tensor, t: float, s: float, y: Tensor
    ) -> Tensor:
        """Return the estimate of R, (B, C, H, W).

        Args:
            process: degradation process.
            x_hat: denoised image, (B, C, H, W).
            degraded: A_t(x_hat), (B, C, H, W).
            t: time of the iterate.
            s: next time, below t.
            y: iterate y_t, (B, C, H, W).
        """

    def check(self, min_step: float) -> None:  # noqa: B027
        """Check that the estimate suits a sampler with the smallest step `min_step`.

        Raises:
            ValueError: if it does not.
        """


class FiniteDifference(Increment):
    """Base class of estimates scale [A_a(x_hat) - A_b(x_hat)], where a or b is t."""

    @abstractmethod
    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        """Return a, b and the scale for a step from t to s."""

    def __call__(
        self, process: StochasticDegradation, x_hat: Tensor, degraded: Tensor, t: float, s: float, y: Tensor
    ) -> Tensor:
        *times, scale = self.difference(t, s)
        earlier, later = (degraded if time == t else process.mean(x_hat, time) for time in times)
        return scale * (earlier - later)


class LookAhead(FiniteDifference):
    """Look-ahead estimate A_s(x_hat) - A_t(x_hat) (paper, Eq. 13)."""

    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        return s, t, 1.0


class LookBack(FiniteDifference):
    """Look-back estimate A_t(x_hat) - A_{t+dt}(x_hat) (paper, Eq. 34)."""

    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        later = 2 * t - s
        return (s, t, 1.0) if later > 1 + TOLERANCE else (t, min(1.0, later), 1.0)


class SmallLookAhead(FiniteDifference):
    """Small look-ahead estimate (dt / delta) [A_{t-delta}(x_hat) - A_t(x_hat)] (paper, Eq. 32).

    Args:
        delta: distance in time, in (0, 1], at most the smallest step of the sampler.

    Raises:
        ValueError: if delta is out of range.
    """

    def __init__(self, delta: float):
        if not 0 < delta <= 1:
            raise ValueError(f"delta={delta}: must lie in (0, 1].")
        self.delta = float(delta)

    def check(self, min_step: float) -> None:
        if self.delta > min_step + TOLERANCE:
            rule = f"must not exceed the sampler's smallest step, {min_step:.4g}"
            raise ValueError(f"delta={self.delta}: {rule}. Decrease delta or num_steps.")

    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        return max(0.0, t - self.delta), t, (t - s) / self.delta


class SmallLookBack(SmallLookAhead):
    """Small look-back estimate (dt / delta) [A_t(x_hat) - A_{t+delta}(x_hat)] (paper, Eq. 36).

    The argument is that of `SmallLookAhead`.
    """

    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        later = t + self.delta
        return super().difference(t, s) if later > 1 + TOLERANCE else (t, min(1.0, later), (t - s) / self.delta)


class ExactLookBack(Increment):
    """Exact look-back estimate -dt dA_t/dt(x_hat), the limit of small look-back for delta to 0.

    It needs one forward-mode derivative.
    """

    def __call__(
        self, process: StochasticDegradation, x_hat: Tensor, degraded: Tensor, t: float, s: float, y: Tensor
    ) -> Tensor:
        # One time per image, because forward mode converts tangents of shape () from float32 to float64.
        time = x_hat.new_full((len(x_hat),), t)
        return (s - t) * torch.func.jvp(lambda u: process.mean(x_hat, u), (time,), (torch.ones_like(time),))[1]


class NetworkIncrement(Increment):
    """Estimate of A_s(x) by an incremental reconstruction network, minus A_t(x_hat).

    Args:
        denoiser: maps (process, y_t, t, s) with times of shape () to A_s(x), (B, C, H, W). An `nn.Module` is moved to
            the device of the iterates, and is part of the restorer's checkpoint.
    """

    def __init__(self, denoiser: Callable[[StochasticDegradation, Tensor, Tensor, Tensor], Tensor]):
        self.denoiser = denoiser.eval() if isinstance(denoiser, nn.Module) else denoiser

    def __call__(
        self, process: StochasticDegradation, x_hat: Tensor, degraded: Tensor, t: float, s: float, y: Tensor
    ) -> Tensor:
        if isinstance(self.denoiser, nn.Module):
            self.denoiser.to(y.device)
        time, next_time = (torch.tensor(v, dtype=y.dtype, device=y.device) for v in (t, s))
        return self.denoiser(process, y, time, next_time).to(y.dtype) - degraded
