"""A walk back in time from measurements: its states, and what its steps may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.increment import Increment
from diracdiff.samplers.noise import ImageNoise

OUTPUTS = ("mean", "iterate")
"""What a reader may take of a state: the denoised image x_hat, or the iterate y."""

Predictor = Callable[[Tensor, Tensor], Tensor]
"""Maps (y, t), (B, C, H, W) and (), to the posterior mean x_hat, (B, C, H, W)."""


class Prediction(NamedTuple):
    """What one network call gives: x_hat, and the term that guidance adds to the score, or None."""

    x_hat: Tensor
    guidance: Tensor | None


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
        """Network calls per image that the result takes: y is there before x_hat is made from it."""
        return self.nfe - 1 if output == "iterate" and self.fresh else self.nfe

    def image(self, output: str) -> Tensor:
        """The result of stopping here: x_hat for "mean", y for "iterate"."""
        return self.x_hat if output == "mean" else self.y


class Walk:
    """What the steps of one walk share.

    Args:
        process: the degradation process that made the measurement.
        denoiser: see `Predictor`.
        measurement: y at `start`, (B, C, H, W).
        noise: one stream per image.
        increment: estimate of the incremental reconstruction.
        guidance: measurement guidance, or None.
        stochasticity: eta in [0, 1].
        start: time of the measurement.

    Attributes:
        nfe: network calls per image so far.
        latest: what the last network call gave, or None before the first one.
    """

    def __init__(
        self,
        process: StochasticDegradation,
        denoiser: Predictor,
        measurement: Tensor,
        noise: ImageNoise,
        increment: Increment,
        guidance: Guidance | None,
        stochasticity: float,
        start: float,
    ):
        self.process, self.denoiser, self.measurement, self.noise = process, denoiser, measurement, noise
        self.increment, self.guidance = increment, guidance
        self.stochasticity, self.start = stochasticity, start
        self.nfe = 0
        self.latest: Prediction | None = None

    def predict(self, y: Tensor, t: float) -> Prediction:
        """Call the network on y_t, (B, C, H, W). Keeps a graph only while guidance needs one."""
        with torch.set_grad_enabled(self.guidance is not None):
            y = y.detach().requires_grad_(self.guidance is not None)
            x_hat = self.denoiser(y, torch.tensor(t, dtype=y.dtype, device=y.device)).to(y.dtype)
            term = self.guidance(self.process, y, x_hat, self.measurement, self.start) if self.guidance else None
        self.nfe += 1
        self.latest = Prediction(x_hat.detach(), term)
        return self.latest

    @torch.no_grad()
    def drift(self, y: Tensor, prediction: Prediction, t: float, s: float, at: float | None = None) -> Tensor:
        """The change of y from t to s without its noise, (B, C, H, W).

        R + (1 + eta^2) / 2 (sigma_t^2 - sigma_s^2) score, where score = (A_t(x_hat) - y) / sigma_t^2 (paper, Eq. 11)
        and R is the estimate of A_s(x) - A_t(x).

        Args:
            y: the iterate at time `at`.
            prediction: made from y.
            t: time at the step's beginning.
            s: time at its end.
            at: time of the score, t or s; t by default.
        """
        at = t if at is None else at
        x_hat = prediction.x_hat
        degraded = self.process.mean(x_hat, t)
        variance = self.process.sigma(at, y) ** 2
        score = ((degraded if at == t else self.process.mean(x_hat, at)) - y) / variance
        if prediction.guidance is not None:
            score = score + prediction.guidance
        increment = self.increment(self.process.degradation, x_hat, degraded, t, s, y)
        return increment + (1 + self.stochasticity**2) / 2 * self._removed(y, t, s) * score

    def diffuse(self, y: Tensor, t: float, s: float) -> Tensor:
        """The iterate y with the noise of a step from t to s, eta sqrt(sigma_t^2 - sigma_s^2) z."""
        if self.stochasticity == 0:
            return y
        z = self.noise.normal(y.shape[1:], y.dtype)
        return y + self.stochasticity * self._removed(y, t, s).sqrt() * z

    def _removed(self, y: Tensor, t: float, s: float) -> Tensor:
        """sigma_t^2 - sigma_s^2, shaped to broadcast over y."""
        return self.process.sigma(t, y) ** 2 - self.process.sigma(s, y) ** 2
