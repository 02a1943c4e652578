"""The reverse process (paper, Algorithm 1), written once, as a generator of states."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.increment import LookAhead
from diracdiff.samplers.noise import ImageNoise

OUTPUTS = ("mean", "iterate")


@dataclass(frozen=True)
class State:
    """The reverse process at one time.

    Attributes:
        t: time, from 1 down.
        y: the iterate y_t, (B, C, H, W).
        x_hat: the denoised image of the last network call, (B, C, H, W).
        nfe: network calls per image so far.
        fresh: whether x_hat was made from this y. False at the end of a walk whose result is the iterate, and at
            t = 0: no call is needed there.
    """

    t: float
    y: Tensor
    x_hat: Tensor
    nfe: int
    fresh: bool

    def calls(self, output: str) -> int:
        """Network calls per image that the result takes: y is at hand before x_hat is made from it."""
        return self.nfe - 1 if output == "iterate" and self.fresh else self.nfe

    def image(self, output: str) -> Tensor:
        """The result of stopping here: x_hat for "mean", y for "iterate"."""
        return self.x_hat if output == "mean" else self.y


class ReverseSampler:
    """Euler-Maruyama steps of the reverse SDE (Eq. 7) on a uniform grid of times.

    y_s = y_t + R + (1 + eta^2) / 2 (sigma_t^2 - sigma_s^2) score + eta sqrt(sigma_t^2 - sigma_s^2) z
    with s = t - 1 / steps, score = (A_t(x_hat) - y_t) / sigma_t^2 (Eq. 11), R an estimate of A_s(x) - A_t(x) and
    eta the stochasticity: 1 is Eq. 7 and 0 the probability-flow ODE (Song et al. 2021, Eq. 13). The marginals of
    y_t are the same for every eta.

    The network is called at the times of the grid that are at least `stop` and greater than 0: `steps` calls
    for stop = 0 and one call (one-shot reconstruction) for stop = 1 or steps = 1.

    Args:
        steps: number of steps from t = 1 to t = 0; the paper's dt is 1 / steps.
        stop: time in [0, 1] at which to stop; between two times of the grid, the earlier one in the walk counts.
        increment: estimate of the incremental reconstruction.
        guidance: measurement guidance, or None.
        output: "mean", the last x_hat, or "iterate", the last y.
        stochasticity: eta in [0, 1].
    """

    def __init__(
        self,
        steps: int = 20,
        stop: float = 0.0,
        increment: Callable | None = None,
        guidance: Guidance | None = None,
        output: str = "mean",
        stochasticity: float = 1.0,
    ):
        if int(steps) != steps or steps < 1:
            raise ValueError(f"sampler.steps must be an integer of at least 1, got {steps}")
        if not 0 <= stop <= 1:
            raise ValueError(f"sampler.stop must lie in [0, 1], got {stop}")
        if output not in OUTPUTS:
            raise ValueError(f"sampler.output must be one of {OUTPUTS}, got {output!r}")
        if not 0 <= stochasticity <= 1:
            raise ValueError(f"sampler.stochasticity must lie in [0, 1], got {stochasticity}")
        self.steps = int(steps)
        self.stop = float(stop)
        self.increment = increment if increment is not None else LookAhead()
        self.guidance = guidance
        self.output = output
        self.stochasticity = float(stochasticity)

    def replace(self, **changes) -> "ReverseSampler":
        """The same sampler with other arguments."""
        names = ("steps", "stop", "increment", "guidance", "output", "stochasticity")
        return ReverseSampler(**{name: getattr(self, name) for name in names} | changes)

    def times(self) -> list[float]:
        """The grid: from 1 down to the last time that is at least `stop`."""
        grid = [1 - k / self.steps for k in range(self.steps)] + [0.0]
        return [t for t in grid if t >= self.stop - 1e-9]

    def states(
        self,
        process: StochasticDegradation,
        denoiser: Callable[[Tensor, Tensor], Tensor],
        measurement: Tensor,
        noise: ImageNoise,
    ) -> Iterator[State]:
        """Walk back from a measurement.

        Args:
            process: the degradation process that made the measurement.
            denoiser: maps (y, t), t (), to the posterior mean x_hat, (B, C, H, W).
            measurement: y_1, (B, C, H, W).
            noise: one stream per image.

        Yields:
            The state at every time of the grid, the measurement's first.
        """
        times = self.times()
        y, x_hat = measurement, None
        for nfe, (t, s) in enumerate(zip(times, [*times[1:], None], strict=True), start=1):
            if t == 0 or (s is None and self.output == "iterate" and x_hat is not None):
                yield State(t, y, x_hat, nfe - 1, fresh=False)
                return
            x_hat, score_guidance = self._denoise(process, denoiser, measurement, y, t)
            yield State(t, y, x_hat, nfe, fresh=True)
            if s is not None:
                y = self._step(process, y, x_hat, score_guidance, t, s, noise)

    def run(
        self,
        process: StochasticDegradation,
        denoiser: Callable[[Tensor, Tensor], Tensor],
        measurement: Tensor,
        noise: ImageNoise,
    ) -> Tensor:
        """The result at the stopping time, (B, C, H, W), not clipped."""
        for state in self.states(process, denoiser, measurement, noise):
            last = state
        return last.image(self.output)

    def _denoise(self, process, denoiser, measurement, y, t) -> tuple[Tensor, Tensor | None]:
        guided = self.guidance is not None and self.guidance.step > 0
        with torch.set_grad_enabled(guided):
            y = y.detach().requires_grad_(guided)
            x_hat = denoiser(y, torch.tensor(t, dtype=y.dtype, device=y.device)).to(y.dtype)
            term = self.guidance(process, y, x_hat, measurement) if guided else None
        return x_hat.detach(), term

    @torch.no_grad()
    def _step(self, process, y, x_hat, score_guidance, t, s, noise) -> Tensor:
        variance = process.sigma(t, y) ** 2
        removed = variance - process.sigma(s, y) ** 2
        degraded = process.mean(x_hat, t)
        score = (degraded - y) / variance
        if score_guidance is not None:
            score = score + score_guidance
        increment = self.increment(process.degradation, x_hat, t, s, degraded)
        eta = self.stochasticity
        y = y + increment + (1 + eta**2) / 2 * removed * score
        return y + eta * removed.sqrt() * noise.normal(y.shape[1:], y.dtype) if eta > 0 else y
