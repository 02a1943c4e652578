"""Reverse process of one batch: noise, states, and the operations that solvers use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.increment import Increment

OUTPUTS = ("x_hat", "iterate")
"""Outputs of a state: the denoised image x_hat or the iterate y."""

Predictor = Callable[[Tensor, Tensor], Tensor]
"""Function that maps y, (B, C, H, W), and t, (), to the posterior mean x_hat, (B, C, H, W)."""


@runtime_checkable
class ConditionalDenoiser(Protocol):
    """Interface of denoisers that depend on the process.

    Attributes:
        condition_on_measurement: the denoiser depends on the measurement too.
    """

    condition_on_measurement: bool

    def condition_on(self, process: StochasticDegradation, measurement: Tensor | None = None) -> Predictor:
        """Return x_hat as a function of (y, t).

        Args:
            process: degradation process.
            measurement: measurements y_1, (B, C, H, W).
        """
        ...


def is_conditional(denoiser: Predictor | ConditionalDenoiser) -> bool:
    """Return True if a denoiser is conditioned on the measurement."""
    return isinstance(denoiser, ConditionalDenoiser) and denoiser.condition_on_measurement


class Prediction(NamedTuple):
    """Result of a network call.

    Attributes:
        x_hat: denoised image, (B, C, H, W).
        guidance: term that guidance adds to the score, (B, C, H, W), or None.
    """

    x_hat: Tensor
    guidance: Tensor | None


@dataclass(frozen=True)
class State:
    """State of the reverse process.

    Attributes:
        t: time in [0, 1].
        y: iterate y_t, (B, C, H, W).
        x_hat: denoised image of the last network call, (B, C, H, W).
        nfe: number of function evaluations (network calls) per image up to this state.
        x_hat_is_current: x_hat is computed from this y. False at t = 0 and for a last state with output "iterate",
            unless the state is the first.
    """

    t: float
    y: Tensor
    x_hat: Tensor
    nfe: int
    x_hat_is_current: bool

    def nfe_for(self, output: str) -> int:
        """Return the NFE of an output. The iterate needs no network call at its time."""
        return self.nfe - 1 if output == "iterate" and self.x_hat_is_current else self.nfe

    def image(self, output: str) -> Tensor:
        """Return the output "x_hat" or "iterate", (B, C, H, W)."""
        return self.x_hat if output == "x_hat" else self.y


class ImageNoise:
    """Standard normal noise with one stream per image.

    The noise of an image depends on its seed only. Results do not depend on the batch size, the order of images or the
    number of devices. Streams of different types of devices differ.

    Args:
        seeds: one seed per image.
        device: device of the random generators and of the noise.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(seed)) for seed in seeds]

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the next noise of each image, (B, *shape).

        Args:
            shape: shape of one image.
            dtype: precision of the noise.
        """
        samples = [torch.randn(*shape, generator=g, device=self.device, dtype=dtype) for g in self.generators]
        return torch.stack(samples)


@dataclass
class ReverseProcess:
    """Reverse process of one batch of measurements.

    Attributes:
        process: degradation process.
        predictor: x_hat as a function of (y, t).
        measurement: measurement at `t_start`, (B, C, H, W).
        noise: one noise stream per image.
        increment: estimate of the incremental reconstruction.
        guidance: measurement guidance, or None.
        eta: fraction of noise in [0, 1]. 1: SDE. 0: ODE.
        t_start: time of the measurement, in (0, 1].
        noise_scale: factor of the noise of the steps, at least 0.
        nfe: number of network calls per image.
        last_call: time and result of the last network call, or None before the first one.
        previous_call: time and result of the network call before the last one, or None.
    """

    process: StochasticDegradation
    predictor: Predictor
    measurement: Tensor
    noise: ImageNoise
    increment: Increment
    guidance: Guidance | None
    eta: float
    t_start: float
    noise_scale: float = 1.0
    nfe: int = 0
    last_call: tuple[float, Prediction] | None = None
    previous_call: tuple[float, Prediction] | None = None

    def predict(self, y: Tensor, t: float) -> Prediction:
        """Call the network for an iterate y_t, (B, C, H, W), at time t. Gradients are computed for guidance only."""
        with torch.set_grad_enabled(self.guidance is not None):
            y = y.detach().requires_grad_(self.guidance is not None)
            x_hat = self.predictor(y, torch.tensor(t, dtype=y.dtype, device=y.device)).to(y.dtype)
            term = self.guidance(self.process, y, x_hat, self.measurement, self.t_start) if self.guidance else None
        prediction = Prediction(x_hat.detach(), term)
        self.nfe, self.previous_call, self.last_call = self.nfe + 1, self.last_call, (t, prediction)
        return prediction

    @torch.no_grad()
    def reverse_increment(
        self,
        y: Tensor,
        prediction: Prediction,
        t: float,
        s: float,
        weight: Tensor | None = None,
        at: float | None = None,
    ) -> Tensor:
        """Return R + weight score, the deterministic part of the step from t to s, (B, C, H, W).

        Args:
            y: iterate, (B, C, H, W).
            prediction: result of the network call.
            t: time before the step.
            s: time after the step, below t.
            weight: weight of the score, a variance that broadcasts over y. None: (1 + eta^2) / 2 (sigma_t^2 -
                sigma_s^2).
            at: time of the score, t or s. None: t.
        """
        if weight is None:
            weight = (1 + self.eta**2) / 2 * self.variance_decrement(y, t, s)
        at, x_hat = t if at is None else at, prediction.x_hat
        degraded = self.process.mean(x_hat, t)
        score = ((degraded if at == t else self.process.mean(x_hat, at)) - y) / self.process.sigma(at, y) ** 2
        if prediction.guidance is not None:
            score = score + prediction.guidance
        return self.increment(self.process, x_hat, degraded, t, s, y) + weight * score

    def diffuse(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Return y + noise_scale eta sigma z, (B, C, H, W).

        Args:
            y: iterate, (B, C, H, W).
            sigma: standard deviation, that broadcasts over y.
        """
        if self.eta == 0:
            return y
        return y + self.noise_scale * self.eta * sigma * self.noise.normal(y.shape[1:], y.dtype)

    def variance_decrement(self, y: Tensor, t: float, s: float) -> Tensor:
        """Return sigma_t^2 - sigma_s^2 in a shape that broadcasts over y, (B, C, H, W)."""
        return self.process.sigma(t, y) ** 2 - self.process.sigma(s, y) ** 2
