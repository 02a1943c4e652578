"""Sampler of the reverse process (paper, Algorithm 1): the loop over time, as a generator of states."""

import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor

from diracdiff.noise import MAX_SIGMA
from diracdiff.process import StochasticDegradation
from diracdiff.samplers.grid import UniformGrid
from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.increment import TOLERANCE, Increment, LookAhead
from diracdiff.samplers.reverse_process import (
    OUTPUTS,
    ConditionalDenoiser,
    ImageNoise,
    Predictor,
    ReverseProcess,
    State,
    is_conditional,
)
from diracdiff.samplers.solvers import Euler, Solver
from diracdiff.utils.validate import COMPUTED_IN, check_between, check_count, check_images, check_option

MAX_STEPS = 100_000


class ReverseSampler:
    """Sampler of the reverse process (paper, Algorithm 1).

    With eta = 1, it samples the paper's SDE (Eq. 6). With eta = 0, it solves the probability-flow ODE (Song et al.
    2021, Eq. 13). The marginals of y_t do not depend on eta.

    A measurement with a milder degradation than A_1 starts at `t_start`. If it has less noise than the process at
    `t_start`, the missing noise is added first. `sigma`, or `measurement_sigma` of the process, is its noise level. A
    denoiser that is conditioned on the measurement receives it with the noise level of training. The iterate then
    starts with the noise of the process at t = 1.

    Like the stopping time, two parameters trade distortion for perception. `noise_scale` scales the noise of the steps
    of the SDE without changing the drift. With `t_restart`, sampling restarts at t_0 = `t_restart` from the x_hat of
    the first network call: y_{t_0} = A_{t_0}(x_hat) + sigma_{t_0} z. For a denoiser that is conditioned on the
    measurement, y_{t_0} is sampled by `StochasticDegradation.sample_given_measurement`.

    Args:
        num_steps: number of steps from `t_start` to t = 0, at least 1. On a uniform grid, dt = t_start / num_steps.
        solver: solver of the reverse process. None: `Euler`.
        increment: estimate of the incremental reconstruction. None: `LookAhead`.
        guidance: measurement guidance, or None.
        eta: fraction of noise in [0, 1]. 1: SDE. 0: ODE.
        t_start: time of the measurement, in (0, 1].
        sigma: standard deviation of the measurement noise in units of the [0, 1] range, in [0, 100]. None: that of the
            process.
        grid: time grid, see `diracdiff.samplers.grid`. None: uniform.
        noise_scale: factor of the noise of the steps of the SDE, in [0, 100].
        t_restart: time of the restart, in (0, t_start), or None.

    Raises:
        ValueError: if an argument breaks its rule, or solver, increment and eta do not fit together.
    """

    def __init__(
        self,
        num_steps: int = 20,
        solver: Solver | None = None,
        increment: Increment | None = None,
        guidance: Guidance | None = None,
        eta: float = 1.0,
        t_start: float = 1.0,
        sigma: float | None = None,
        grid: Callable[[float], float] | None = None,
        noise_scale: float = 1.0,
        t_restart: float | None = None,
    ):
        check_count(num_steps, "num_steps")
        if num_steps > MAX_STEPS:
            raise ValueError(f"num_steps={num_steps}: must be at most {MAX_STEPS}.")
        check_between(0, 1, eta=eta)
        check_between(0, 100, noise_scale=noise_scale)
        if not 0 < t_start <= 1:
            raise ValueError(f"t_start={t_start}: must lie in (0, 1].")
        if sigma is not None and not 0 <= sigma <= MAX_SIGMA:
            raise ValueError(f"sigma={sigma}: must be from 0 to {MAX_SIGMA:g}, in units of the [0, 1] image range.")
        if t_restart is not None and not (0 < t_restart < t_start and num_steps > 1):
            rule = f"must be null, or in (0, t_start={t_start:g}) with 2 or more steps."
            raise ValueError(f"t_restart={t_restart}: {rule}")
        self.num_steps, self.guidance = num_steps, guidance
        self.solver = solver if solver is not None else Euler()
        self.increment = increment if increment is not None else LookAhead()
        self.grid = grid if grid is not None else UniformGrid()
        self.eta, self.t_start, self.noise_scale = float(eta), float(t_start), float(noise_scale)
        self.sigma, self.t_restart = (None if value is None else float(value) for value in (sigma, t_restart))
        self.solver.check(self.increment, self.eta)
        self.increment.check(min(t - s for t, s in pairwise(self.times())))

    def replace(self, **changes: Any) -> Self:
        """Return a sampler of the same class with some arguments changed.

        Raises:
            ValueError: if an argument breaks its rule.
        """
        arguments = inspect.signature(type(self)).parameters
        return type(self)(**{name: getattr(self, name) for name in arguments} | changes)

    def times(self, t_stop: float = 0.0) -> list[float]:
        """Return the times of the states, decreasing from `t_start` to the last time of the grid >= `t_stop`."""
        first, start = ([], self.t_start) if self.t_restart is None else ([self.t_start], self.t_restart)
        steps = self.num_steps - len(first)
        grid = [*first, *(start * self.grid(1 - k / steps) for k in range(steps)), 0.0]
        return [t for t in grid if t >= min(t_stop, self.t_start) - TOLERANCE]

    def states(
        self,
        process: StochasticDegradation,
        denoiser: Predictor | ConditionalDenoiser,
        measurement: Tensor,
        noise: ImageNoise,
        t_stop: float = 0.0,
        output: str = "x_hat",
    ) -> Iterator[State]:
        """Sample backwards in time from a measurement, and yield the states lazily.

        Args:
            process: degradation process of the measurement. Per-image operators must be bound.
            denoiser: denoiser, or function that maps y, (B, C, H, W), and t, (), to x_hat.
            measurement: measurement at `t_start`, (B, C, H, W).
            noise: one noise stream per image.
            t_stop: stopping time in [0, 1]. Between two times of the grid, the larger time is the last.
            output: output of the last state, "x_hat" or "iterate". For "iterate", the network is not called for the
                last state, unless it is the first.

        Yields:
            The state at each time of the grid, starting with the measurement.

        Raises:
            ValueError: if an argument breaks its rule, if `sigma` exceeds the noise of the process at `t_start`, if the
                denoiser is conditioned on the measurement and `t_start` is not 1, or if per-image operators are not
                bound.
        """
        check_between(0, 1, t_stop=t_stop)
        check_option(OUTPUTS, output=output)
        if not process.degradation.is_bound:
            rule = "per-image masks, kernels or factors must be bound"
            raise ValueError(f"process: {rule}. Use restorer.bind, or restore with mask=…, kernel=… or factor=….")
        check_images(measurement, "measurement", device=noise.device, dtypes=COMPUTED_IN)
        if len(noise.generators) != len(measurement):
            raise ValueError(
                f"noise: must have one stream per image, got {len(noise.generators)} for {len(measurement)}. Give "
                "ImageNoise one seed per image."
            )
        measurement, y = self._initial_state(process, denoiser, measurement, noise)
        guidance = self.guidance if self.guidance is not None and self.guidance.step > 0 else None
        predictor = (
            denoiser.condition_on(process, measurement) if isinstance(denoiser, ConditionalDenoiser) else denoiser
        )
        parts = (self.increment, guidance, self.eta, self.t_start, self.noise_scale)
        reverse = ReverseProcess(process, predictor, measurement, noise, *parts)
        times = self.times(t_stop)
        for t, s in zip(times, [*times[1:], None], strict=True):
            if reverse.last_call is not None and (t == 0 or (s is None and output == "iterate")):
                yield State(t, y, reverse.last_call[1].x_hat, reverse.nfe, x_hat_is_current=False)
                return
            prediction = reverse.predict(y, t)
            yield State(t, y, prediction.x_hat, reverse.nfe, x_hat_is_current=True)
            if s is not None and self.t_restart is not None and t == self.t_start:
                z = noise.normal(y.shape[1:], y.dtype)
                if is_conditional(denoiser):
                    y = process.sample_given_measurement(prediction.x_hat, s, z, measurement)
                else:
                    y = process.sample(prediction.x_hat, s, z)
            elif s is not None:
                y = self.solver(reverse, y, prediction, t, s)

    def run(
        self,
        process: StochasticDegradation,
        denoiser: Predictor | ConditionalDenoiser,
        measurement: Tensor,
        noise: ImageNoise,
        t_stop: float = 0.0,
        output: str = "x_hat",
    ) -> Tensor:
        """Return the output of the last state, (B, C, H, W), not clipped. The arguments are those of `states`."""
        *_, last = self.states(process, denoiser, measurement, noise, t_stop, output)
        return last.image(output)

    def is_stochastic(self, process: StochasticDegradation, t_stop: float = 0.0) -> bool:
        """Return True if two samples of the same measurement differ.

        Args:
            process: degradation process of the measurement.
            t_stop: stopping time in [0, 1].
        """
        if len(self.times(t_stop)) > 1 and (self.eta * self.noise_scale > 0 or self.t_restart is not None):
            return True
        like = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
        measured = process.sigma_of_measurement(like, self.t_start).item() if self.sigma is None else self.sigma
        return measured < process.sigma(self.t_start, like).item() * (1 - 1e-6)

    def _initial_state(
        self,
        process: StochasticDegradation,
        denoiser: Predictor | ConditionalDenoiser,
        measurement: Tensor,
        noise: ImageNoise,
    ) -> tuple[Tensor, Tensor]:
        """Return the measurement for the denoiser, and y with the noise of the process at `t_start`."""
        conditional = is_conditional(denoiser)
        if conditional and self.t_start != 1:
            rule = "must be 1 for a network that is conditioned on the measurement."
            raise ValueError(f"t_start={self.t_start:g}: {rule} Use t_start=1.")
        if self.sigma is None and process.measurement_sigma is None:
            return measurement, measurement
        sigma_start = process.sigma(self.t_start, measurement)
        sigma_y = process.sigma_of_measurement(measurement, self.t_start)
        limit = (sigma_y if conditional else sigma_start).max().item()
        if self.sigma is not None and self.sigma > limit * (1 + 1e-6):
            rule = f"must be at most the noise of the model at t = {self.t_start:g}, {limit:.4g} in units of [0, 1]"
            raise ValueError(f"sigma={self.sigma}: {rule}. Decrease sigma or increase t_start.")
        sigma = sigma_y if self.sigma is None else torch.full_like(sigma_y, self.sigma)

        def add_missing(y: Tensor, before: Tensor, after: Tensor) -> Tensor:
            missing = (after**2 - before**2).clamp(min=0).sqrt()
            return y + missing * noise.normal(y.shape[1:], y.dtype)

        if not conditional:
            return measurement, add_missing(measurement, sigma, sigma_start)
        if self.sigma is not None:
            measurement = add_missing(measurement, sigma, sigma_y)
        return measurement, add_missing(measurement, sigma_y, sigma_start)
