"""Noise levels of measurements, and tests whether restored images explain them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from diracdiff.degradations import Identity
from diracdiff.evaluation.data_consistency import ResidualTest, estimate_sigma
from diracdiff.restorer import Restorer

FAR = 1.25
"""Factor by which an estimated noise level may differ from the model's: texture misleads the estimate as much."""

Concern = Literal["hidden", "noisier", "cleaner"]
"""A reason why a model does not suit a measurement."""


@dataclass(frozen=True)
class NoiseLevel:
    """Noise of a measurement, standard deviations in units of the [0, 1] range.

    Attributes:
        sigma: that residuals are measured in.
        source: of sigma, "model", "given" or "estimated".
        estimated: from the measurement itself; None where it is too small.
        model: that the model was trained for.
    """

    sigma: float
    source: str
    estimated: float | None
    model: float


@dataclass(frozen=True)
class ConsistencyTest:
    """Test of a restored image against its measurement.

    Attributes:
        certificate: test statistics.
        z: standardised residuals, (1 or 3, H, W).
        noise: of the measurement.
        hidden: the pixels that the model's mask hides are noise; None where that cannot be decided.
    """

    certificate: ResidualTest
    z: Tensor
    noise: NoiseLevel
    hidden: bool | None


def noise_level(restorer: Restorer, y: Tensor, sigma: float | str | None, step: float) -> NoiseLevel:
    """Return the noise level of a measurement.

    Args:
        restorer: has the model's level.
        y: the measurement, (C, H, W).
        sigma: a given level, None (the model's), or "auto" (estimated; the model's where the image is too small).
        step: between two values of y.
    """
    process, start = restorer.process, restorer.sampler.start
    model = process.sigma_of_measurement(y.unsqueeze(0), start).max().item()
    estimated = estimate_sigma(y, step)
    if sigma == "auto" and estimated is not None:
        return NoiseLevel(max(estimated, 1e-6), "estimated", estimated, model)
    given = restorer.sampler.sigma if sigma in (None, "auto") else float(sigma)
    return NoiseLevel(given or model, "given" if given else "model", estimated, model)


def concern_of(restorer: Restorer, noise: NoiseLevel, hidden: bool | None) -> Concern | None:
    """Return the reason why a model does not suit a measurement, if there is one."""
    if hidden is False:
        return "hidden"
    if noise.estimated is None or isinstance(restorer.process.degradation, Identity):
        return None
    if noise.estimated > FAR * noise.model:
        return "noisier"
    return "cleaner" if noise.estimated < noise.model / FAR else None
