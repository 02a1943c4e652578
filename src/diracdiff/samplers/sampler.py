"""The reverse process (paper, Algorithm 1): the one loop over time, as a generator of states."""

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
    """The reverse process on a grid of times.

    With eta = 1 it is the paper's SDE (Eq. 6) and with eta = 0 the probability-flow ODE (Song et al. 2021,
    Eq. 13); the marginals of y_t are the same for every eta.

    A measurement may be milder than A_1: `t_start` is its time. It may have less noise than the process at `t_start`:
    given its `sigma`, or the process's `measurement_sigma`, the missing noise is added first. A denoiser that is
    conditioned on the measurement gets it with the noise of its training, and y starts with the noise of the process
    at t = 1.

    Like the stopping time, two parameters trade distortion for perception. `noise_scale` scales the noise of the
    SDE's steps at unchanged drift. With `t_restart` t_0, sampling restarts from the x_hat of its first network call,
    y_{t_0} = A_{t_0}(x_hat) + sigma_{t_0} z; for a denoiser that is conditioned on the measurement y_{t_0} is
    conditioned on it too, see `StochasticDegradation.sample_given_measurement`.

    Args:
        num_steps: number of steps from `t_start` to t = 0; on a uniform grid the paper's dt is t_start / num_steps.
        solver: solver of the reverse process, Euler-Maruyama by default.
        increment: estimate of the incremental reconstruction; look-ahead by default.
        guidance: measurement guidance, or None.
        eta: amount of noise in [0, 1]: 1 is the SDE, 0 the ODE.
        t_start: time of the measurement, in (0, 1].
        sigma: standard deviation of the measurement's noise in units of the [0, 1] range, from 0 (no noise) to 100;
            None: the process's.
        grid: placement of the times, see `diracdiff.samplers.grid`.
        noise_scale: factor of the noise of the SDE's steps, in [0, 100].
        t_restart: t_0 in (0, t_start), or None.

    Raises:
        ValueError: if an argument breaks its rule, or the parts do not fit together.
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
        """Return a sampler of the same class with other arguments."""
        arguments = inspect.signature(type(self)).parameters
        return type(self)(**{name: getattr(self, name) for name in arguments} | changes)

    def times(self, t_stop: float = 0.0) -> list[float]:
        """Return the times of the states: from `t_start` down to the last one that is at least `t_stop`."""
        first, begin = ([], self.t_start) if self.t_restart is None else ([self.t_start], self.t_restart)
        steps = self.num_steps - len(first)
        grid = [*first, *(begin * self.grid(1 - k / steps) for k in range(steps)), 0.0]
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
        """Sample backwards in time from a measurement, as far as the reader iterates.

        Args:
            process: the degradation process of the measurement; per-image operators must be bound.
            denoiser: maps (y, t), t (), to the posterior mean x_hat, (B, C, H, W).
            measurement: y at `t_start`, (B, C, H, W).
            noise: one stream per image.
            t_stop: time in [0, 1] of the last state; between two times of the grid, the larger one counts.
            output: the last state's output. For "iterate" the network is not called at a last state after the first.

        Yields:
            The state at every time of the grid, the measurement's first.

        Raises:
            ValueError: if t_stop or output breaks its rule, the measurement is no batch on the noise's device,
                its sigma exceeds that of the process at `t_start`, the denoiser is conditioned on the measurement and
                `t_start` is not 1, or per-image operators are not bound.
        """
        check_between(0, 1, t_stop=t_stop)
        check_option(OUTPUTS, output=output)
        if not process.degradation.is_bound:
            raise ValueError(
                "each of these images has its own mask or kernel, which is not bound: use restorer.bind, or restore "
                "with mask=… or kernel=…"
            )
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
        """Return the output of the last state, (B, C, H, W), not clipped; see `states`."""
        *_, last = self.states(process, denoiser, measurement, noise, t_stop, output)
        return last.image(output)

    def is_stochastic(self, process: StochasticDegradation) -> bool:
        """Return True if two samples from the same measurement differ."""
        draws = self.eta * self.noise_scale > 0 or self.t_restart is not None
        return draws or self.sigma is not None or process.measurement_sigma is not None

    def _initial_state(
        self,
        process: StochasticDegradation,
        denoiser: Predictor | ConditionalDenoiser,
        measurement: Tensor,
        noise: ImageNoise,
    ) -> tuple[Tensor, Tensor]:
        """Return the measurement for the denoiser, and y with the noise of the process at `t_start`."""
        given = is_conditional(denoiser)
        if given and self.t_start != 1:
            rule = "must be 1 for a network that is conditioned on the measurement."
            raise ValueError(f"t_start={self.t_start:g}: {rule}")
        if self.sigma is None and process.measurement_sigma is None:
            return measurement, measurement
        sigma_start = process.sigma(self.t_start, measurement)
        sigma_y = process.sigma_of_measurement(measurement, self.t_start)
        limit = (sigma_y if given else sigma_start).max().item()
        if self.sigma is not None and self.sigma > limit * (1 + 1e-6):
            raise ValueError(
                f"sigma={self.sigma} is more noise than this model knows at t = {self.t_start:g}, "
                f"{limit:.4g} in units of the [0, 1] range: give a smaller sigma, or a larger t_start"
            )
        sigma = sigma_y if self.sigma is None else torch.full_like(sigma_y, self.sigma)

        def add_missing(y: Tensor, before: Tensor, after: Tensor) -> Tensor:
            missing = (after**2 - before**2).clamp(min=0).sqrt()
            return y + missing * noise.normal(y.shape[1:], y.dtype)

        if not given:
            return measurement, add_missing(measurement, sigma, sigma_start)
        if self.sigma is not None:
            measurement = add_missing(measurement, sigma, sigma_y)
        return measurement, add_missing(measurement, sigma_y, sigma_start)
