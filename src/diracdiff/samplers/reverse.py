"""The reverse process (paper, Algorithm 1), written once, as a generator of states."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diracdiff.errors import UserError
from diracdiff.process import StochasticDegradation
from diracdiff.samplers.grid import UniformGrid
from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.increment import Increment, LookAhead
from diracdiff.samplers.noise import ImageNoise

OUTPUTS = ("mean", "iterate")
SOLVERS = ("euler", "heun")


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
    """The reverse process on a grid of times.

    Euler-Maruyama steps (Eq. 7): y_s = y_t + R + (1 + eta^2) / 2 (sigma_t^2 - sigma_s^2) score
    + eta sqrt(sigma_t^2 - sigma_s^2) z with s < t, score = (A_t(x_hat) - y_t) / sigma_t^2 (Eq. 11), R an estimate of
    A_s(x) - A_t(x) and eta the stochasticity: 1 is Eq. 7 and 0 the probability-flow ODE (Song et al. 2021, Eq. 13).
    The marginals of y_t are the same for every eta. Heun's steps average the change of such a step over x_hat at
    (y_t, t) and at its end, (y_s, s): second order for the ODE, at two network calls a step.

    The network is called at the times of the grid that are at least `stop` and greater than 0. With Euler's steps
    that is `steps` calls for stop = 0, and one call (one-shot reconstruction) for stop = start or steps = 1.

    A measurement may be milder than A_1: `start` is its time. It may have less noise than sigma_start: given its
    `sigma`, the noise that is lacking is added first.

    Args:
        steps: number of steps from `start` to t = 0; on a uniform grid the paper's dt is start / steps.
        stop: time in [0, 1] at which to stop; between two times of the grid, the earlier one in the walk counts.
        increment: estimate of the incremental reconstruction.
        guidance: measurement guidance, or None.
        output: "mean", the last x_hat, or "iterate", the last y.
        stochasticity: eta in [0, 1].
        start: time of the measurement, in (0, 1].
        sigma: standard deviation of the measurement's noise in units of the [0, 1] range; None: sigma_start.
        grid: where the times lie, see `diracdiff.samplers.grid`.
        solver: "euler" or "heun".
    """

    def __init__(
        self,
        steps: int = 20,
        stop: float = 0.0,
        increment: Increment | None = None,
        guidance: Guidance | None = None,
        output: str = "mean",
        stochasticity: float = 1.0,
        start: float = 1.0,
        sigma: float | None = None,
        grid: Callable[[float], float] | None = None,
        solver: str = "euler",
    ):
        if int(steps) != steps or steps < 1:
            raise ValueError(f"sampler.steps must be an integer of at least 1, got {steps}")
        if not 0 <= stop <= 1:
            raise ValueError(f"sampler.stop must lie in [0, 1], got {stop}")
        if output not in OUTPUTS:
            raise ValueError(f"sampler.output must be one of {OUTPUTS}, got {output!r}")
        if not 0 <= stochasticity <= 1:
            raise ValueError(f"sampler.stochasticity must lie in [0, 1], got {stochasticity}")
        if not 0 < start <= 1:
            raise ValueError(f"sampler.start must lie in (0, 1], got {start}")
        if sigma is not None and not sigma >= 0:
            raise ValueError(f"sampler.sigma must not be negative, in units of the [0, 1] image range, got {sigma}")
        if solver not in SOLVERS:
            raise ValueError(f"sampler.solver must be one of {SOLVERS}, got {solver!r}")
        self.steps = int(steps)
        self.stop = float(stop)
        self.increment = increment if increment is not None else LookAhead()
        self.guidance = guidance
        self.output = output
        self.stochasticity = float(stochasticity)
        self.start = float(start)
        self.sigma = None if sigma is None else float(sigma)
        self.grid = grid if grid is not None else UniformGrid()
        self.solver = solver
        if solver == "heun" and (stochasticity > 0 or type(self.increment) is not LookAhead):
            raise ValueError(
                "sampler.solver=heun is of second order for the ODE with look-ahead only: use "
                "sampler.stochasticity=0 and sampler/increment=look_ahead, or sampler.solver=euler"
            )
        self.increment.check(min(t - s for t, s in pairwise(self._grid())))

    def replace(self, **changes) -> "ReverseSampler":
        """The same sampler with other arguments."""
        arguments = inspect.signature(ReverseSampler).parameters
        return ReverseSampler(**{name: getattr(self, name) for name in arguments} | changes)

    def times(self) -> list[float]:
        """The times of the walk: from `start` down to the last one that is at least `stop`."""
        return [t for t in self._grid() if t >= min(self.stop, self.start) - 1e-9]

    def _grid(self) -> list[float]:
        return [self.start * self.grid(1 - k / self.steps) for k in range(self.steps)] + [0.0]

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
            measurement: y at `start`, (B, C, H, W).
            noise: one stream per image.

        Yields:
            The state at every time of the grid, the measurement's first.

        Raises:
            UserError: if the measurement's sigma is more than the process has at `start`.
        """

        def denoise(y: Tensor, t: float) -> tuple[Tensor, Tensor | None]:
            return self._denoise(process, denoiser, measurement, y, t)

        times = self.times()
        y, x_hat, nfe = self._first(process, measurement, noise), None, 0
        for t, s in zip(times, [*times[1:], None], strict=True):
            if t == 0 or (s is None and self.output == "iterate" and x_hat is not None):
                yield State(t, y, x_hat, nfe, fresh=False)
                return
            x_hat, score_guidance = denoise(y, t)
            nfe += 1
            yield State(t, y, x_hat, nfe, fresh=True)
            if s is None:
                return
            change = self._change(process, y, x_hat, score_guidance, t, s, at=t)
            if self.solver == "heun":
                x_hat, score_guidance = denoise(y + change, s)
                nfe += 1
                change = (change + self._change(process, y + change, x_hat, score_guidance, t, s, at=s)) / 2
            y = y + change
            if self.stochasticity > 0:
                z = noise.normal(y.shape[1:], y.dtype)
                y = y + self.stochasticity * _removed(process, y, t, s).sqrt() * z

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

    def _first(self, process, measurement, noise) -> Tensor:
        """The measurement with as much noise as the process has at `start`."""
        if self.sigma is None:
            return measurement
        known = process.sigma(self.start, measurement)
        if self.sigma > known.max() * (1 + 1e-6):
            raise UserError(
                f"sampler.sigma={self.sigma} is more noise than this model knows at t = {self.start:g}, "
                f"{known.max().item():.4g} in units of the [0, 1] range: give a smaller sigma, or a later sampler.start"
            )
        lacking = (known**2 - self.sigma**2).clamp(min=0).sqrt()
        return measurement + lacking * noise.normal(measurement.shape[1:], measurement.dtype)

    def _denoise(self, process, denoiser, measurement, y, t) -> tuple[Tensor, Tensor | None]:
        guided = self.guidance is not None and self.guidance.step > 0
        with torch.set_grad_enabled(guided):
            y = y.detach().requires_grad_(guided)
            x_hat = denoiser(y, torch.tensor(t, dtype=y.dtype, device=y.device)).to(y.dtype)
            term = self.guidance(process, y, x_hat, measurement, self.start) if guided else None
        return x_hat.detach(), term

    @torch.no_grad()
    def _change(self, process, y, x_hat, score_guidance, t, s, at) -> Tensor:
        """The change of y from t to s without its noise, with R and score from x_hat at time `at`, t or s."""
        degraded = process.mean(x_hat, t)
        variance = process.sigma(at, y) ** 2
        score = ((degraded if at == t else process.mean(x_hat, at)) - y) / variance
        if score_guidance is not None:
            score = score + score_guidance
        increment = self.increment(process.degradation, x_hat, degraded, t, s, y)
        return increment + (1 + self.stochasticity**2) / 2 * _removed(process, y, t, s) * score


def _removed(process, y, t, s) -> Tensor:
    """sigma_t^2 - sigma_s^2, shaped to broadcast over y."""
    return process.sigma(t, y) ** 2 - process.sigma(s, y) ** 2
