"""The reverse process of one batch: its noise, its states, and the operations that solvers are made of."""

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
"""Outputs of a state: the denoised image x_hat, or the iterate y."""

Predictor = Callable[[Tensor, Tensor], Tensor]
"""Maps (y, t), (B, C, H, W) and (), to the posterior mean x_hat, (B, C, H, W)."""


@runtime_checkable
class ConditionalDenoiser(Protocol):
    """A denoiser that depends on the process, and on the measurement if `condition_on_measurement`."""

    condition_on_measurement: bool

    def condition_on(self, process: StochasticDegradation, measurement: Tensor | None = None) -> Predictor:
        """Return x_hat of (y, t) for this process and measurement, (B, C, H, W)."""
        ...


def is_conditional(denoiser: Predictor | ConditionalDenoiser) -> bool:
    """Return True for a denoiser that is conditioned on the measurement."""
    return isinstance(denoiser, ConditionalDenoiser) and denoiser.condition_on_measurement


class Prediction(NamedTuple):
    """The result of a network call: x_hat, and the term that guidance adds to the score, or None."""

    x_hat: Tensor
    guidance: Tensor | None


@dataclass(frozen=True)
class State:
    """The reverse process at one time.

    Attributes:
        t: time, from 1 down.
        y: the iterate y_t, (B, C, H, W).
        x_hat: the denoised image of the last network call, (B, C, H, W).
        nfe: number of function evaluations (network calls) per image so far.
        x_hat_is_current: x_hat was made from this y. False for a last state whose output is the iterate, and at t = 0.
    """

    t: float
    y: Tensor
    x_hat: Tensor
    nfe: int
    x_hat_is_current: bool

    def nfe_for(self, output: str) -> int:
        """Return the NFE that the output takes: y is there before x_hat is made from it."""
        return self.nfe - 1 if output == "iterate" and self.x_hat_is_current else self.nfe

    def image(self, output: str) -> Tensor:
        """Return x_hat or, for "iterate", y."""
        return self.x_hat if output == "x_hat" else self.y


class ImageNoise:
    """A stream of standard normal noise per image.

    What an image receives depends on its seed alone, so a result does not depend on the batch size, the order
    of the images or the number of devices. Streams on the CPU and on a GPU differ.

    Args:
        seeds: one seed per image.
        device: where the noise is drawn.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(seed)) for seed in seeds]

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the next noise of every image, (B, *shape), for the shape of one image."""
        draws = [torch.randn(*shape, generator=g, device=self.device, dtype=dtype) for g in self.generators]
        return torch.stack(draws)


@dataclass
class ReverseProcess:
    """The reverse process from one batch of measurements, with the settings of its sampler.

    Attributes:
        predictor: x_hat of (y, t).
        measurement: y at `t_start`, (B, C, H, W).
        nfe: network calls per image so far.
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
        """Call the network on y_t, (B, C, H, W). Keeps a graph only while guidance needs one."""
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
        """Return R + weight score, the change of y from t to s without its noise, (B, C, H, W).

        The weight is a variance, (1 + eta^2) / 2 (sigma_t^2 - sigma_s^2) by default; `at`, t or s, is the time of the
        score, t by default.
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
        """Add noise of standard deviation noise_scale eta sigma to y; sigma broadcasts over y, (B, C, H, W)."""
        if self.eta == 0:
            return y
        return y + self.noise_scale * self.eta * sigma * self.noise.normal(y.shape[1:], y.dtype)

    def variance_decrement(self, y: Tensor, t: float, s: float) -> Tensor:
        """Return sigma_t^2 - sigma_s^2, shaped to broadcast over y."""
        return self.process.sigma(t, y) ** 2 - self.process.sigma(s, y) ** 2
