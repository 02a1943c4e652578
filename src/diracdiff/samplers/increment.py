"""Estimates of the incremental reconstruction R = A_s(x) - A_t(x), s < t (paper, Section 3.3 and supplement).

If x_hat is the clean image, look-ahead is exact, and the error of every other estimate falls with the square of the
step dt = t - s. Where looking back would leave [0, 1], at the first step, estimates look ahead.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from diracdiff.process import StochasticDegradation

TOLERANCE = 1e-9
"""Tolerance of times, in which rounding must not decide."""


class Increment(ABC):
    """An estimate of R."""

    @abstractmethod
    def __call__(
        self, process: StochasticDegradation, x_hat: Tensor, degraded: Tensor, t: float, s: float, y: Tensor
    ) -> Tensor:
        """Return R, (B, C, H, W), for x_hat, `degraded`, which is A_t(x_hat), and the iterate y, like R each."""

    def check(self, min_step: float) -> None:  # noqa: B027
        """Raise ValueError if the estimate does not suit a sampler whose smallest step is `min_step`."""


class FiniteDifference(Increment):
    """scale [A_a(x_hat) - A_b(x_hat)], where a or b is t."""

    @abstractmethod
    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        """Return a, b and the scale."""

    def __call__(
        self, process: StochasticDegradation, x_hat: Tensor, degraded: Tensor, t: float, s: float, y: Tensor
    ) -> Tensor:
        *times, scale = self.difference(t, s)
        earlier, later = (degraded if time == t else process.mean(x_hat, time) for time in times)
        return scale * (earlier - later)


class LookAhead(FiniteDifference):
    """A_s(x_hat) - A_t(x_hat) (Eq. 13)."""

    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        return s, t, 1.0


class LookBack(FiniteDifference):
    """A_t(x_hat) - A_{t+dt}(x_hat) (Eq. 34)."""

    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        later = 2 * t - s
        return (s, t, 1.0) if later > 1 + TOLERANCE else (t, min(1.0, later), 1.0)


class SmallLookAhead(FiniteDifference):
    """(dt / delta) [A_{t-delta}(x_hat) - A_t(x_hat)] (Eq. 32).

    Args:
        delta: distance in time, positive and at most the sampler's smallest step.
    """

    def __init__(self, delta: float):
        if not 0 < delta <= 1:
            raise ValueError(f"delta={delta}: must lie in (0, 1].")
        self.delta = float(delta)

    def check(self, min_step: float) -> None:
        if self.delta > min_step + TOLERANCE:
            raise ValueError(
                f"the increment's delta must not exceed the sampler's smallest step, {min_step:.4g}, got {self.delta}: "
                "lower it or take fewer steps"
            )

    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        return max(0.0, t - self.delta), t, (t - s) / self.delta


class SmallLookBack(SmallLookAhead):
    """(dt / delta) [A_t(x_hat) - A_{t+delta}(x_hat)] (Eq. 36); `delta` as in `SmallLookAhead`."""

    def difference(self, t: float, s: float) -> tuple[float, float, float]:
        later = t + self.delta
        return super().difference(t, s) if later > 1 + TOLERANCE else (t, min(1.0, later), (t - s) / self.delta)


class ExactLookBack(Increment):
    """-dt dA_t/dt(x_hat), the limit of small look-back: one forward-mode derivative."""

    def __call__(
        self, process: StochasticDegradation, x_hat: Tensor, degraded: Tensor, t: float, s: float, y: Tensor
    ) -> Tensor:
        # One time per image: in float32, forward mode turns tangents of shape () into float64.
        time = x_hat.new_full((len(x_hat),), t)
        return (s - t) * torch.func.jvp(lambda u: process.mean(x_hat, u), (time,), (torch.ones_like(time),))[1]


class NetworkIncrement(Increment):
    """A_s(x) as an incremental reconstruction network predicts it from y_t, minus A_t(x_hat).

    Args:
        denoiser: maps (process, y_t, t, s), times (), to A_s(x), (B, C, H, W). As an `nn.Module` it follows the
            iterates to their device, and a checkpoint of its restorer carries it.
    """

    def __init__(self, denoiser: Callable[[StochasticDegradation, Tensor, Tensor, Tensor], Tensor]):
        self.denoiser = denoiser.eval() if isinstance(denoiser, nn.Module) else denoiser

    def __call__(
        self, process: StochasticDegradation, x_hat: Tensor, degraded: Tensor, t: float, s: float, y: Tensor
    ) -> Tensor:
        if isinstance(self.denoiser, nn.Module):
            self.denoiser.to(y.device)
        time, later = (torch.tensor(v, dtype=y.dtype, device=y.device) for v in (t, s))
        return self.denoiser(process, y, time, later).to(y.dtype) - degraded
