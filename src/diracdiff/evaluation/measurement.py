"""Measurements and training batches: clean images degraded with noise that follows from seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.samplers import ImageNoise
from diracdiff.utils.seeds import image_seed
from diracdiff.utils.validate import range_error

ROUNDING = 0.01  # margin by which clean images may leave [0, 1]
RARE = 1e-9  # probability that noise alone exceeds a bound of `check_measurement`

RINGING, TYPICAL_RINGING = 0.5, 0.06
"""Margins by which operators may move a value out of [0, 1], and all values of an image in root mean square.

Super-resolution and undersampled Fourier transforms of photographs reach 0.37 and 0.042.
"""


def check_measurement(y: Tensor, process: StochasticDegradation, t: float = 1.0) -> None:
    """Refuse measurements at t, (B, C, H, W), that leave [0, 1] by more than their noise and ringing explain.

    The bound of single values follows from the tail exp(-k^2 / 2) of the normal distribution. The mean square of an
    image's distances from [0, 1] is largest for zeros and ones; it is sub-gamma like a chi-square variable (Boucheron
    et al. 2013, Theorem 2.3).

    Raises:
        ValueError: if any value or, in root mean square, the values of any image do.
    """
    sigma, pixels, rare = process.sigma(t, y).max().item(), y[0].numel(), math.log(len(y) / RARE)
    range_ = 1 / sigma
    density, tail = math.exp(-(range_**2) / 2) / math.sqrt(2 * math.pi), math.erfc(range_ / math.sqrt(2)) / 2
    mean = 0.5 + (1 + range_**2) * tail - range_ * density  # noise of one sign, and of the other beyond the far end
    largest = RINGING + sigma * math.sqrt(2 * (math.log(pixels) + rare))
    typical = TYPICAL_RINGING + sigma * math.sqrt(mean + 2 * math.sqrt(rare / pixels) + 2 * rare / pixels)
    beyond = (y - y.clamp(0, 1)).abs().flatten(1)
    if not (beyond.max() <= largest and beyond.square().mean(1).sqrt().max() <= typical):
        low, high = (end.item() for end in y.aminmax())
        raise range_error("measurement", low, high, f" up to noise of sigma {sigma:.3g}")


@dataclass(frozen=True)
class Measured:
    """A batch of measurements.

    Attributes:
        y: measurements, (B, C, H, W).
        t: time of the measurements.
        seeds: seeds of the images' noise.
        noise: random streams of the measurements' noise, which sampling continues.
        process: process with the operators of the images.
    """

    y: Tensor
    t: float
    seeds: list[int]
    noise: ImageNoise
    process: StochasticDegradation


@torch.no_grad()
def measure(process: StochasticDegradation, x: Tensor, names: Sequence[str], seed: int, t: float = 1.0) -> Measured:
    """Degrade images with noise that follows from (seed, name) of each.

    Args:
        process: degradation process.
        x: clean images in [0, 1], (B, C, H, W).
        names: one per image.
        seed: seed of the run.
        t: time of the measurements.
    """
    seeds = [image_seed(seed, name) for name in names]
    noise = ImageNoise(seeds, x.device)
    process = process.bind_images(seeds, x)
    return Measured(process.measure(x, noise.normal(x.shape[1:], x.dtype), t), t, seeds, noise, process)


@dataclass(frozen=True)
class TrainingBatch:
    """Clean images, and the inputs of a network in training.

    Attributes:
        x: clean images, (B, C, H, W).
        y: y_t, (B, C, H, W).
        t: times, (B,).
        s: earlier times, uniform in [0, t), (B,).
        process: process with the operators of the images.
        measurement: y_1 with the joint distribution of sampling, (B, C, H, W), or None for a network without it.
    """

    x: Tensor
    y: Tensor
    t: Tensor
    s: Tensor
    process: StochasticDegradation
    measurement: Tensor | None = None


def training_batch(
    process: StochasticDegradation,
    x: Tensor,
    seed: int,
    t_range: tuple[float, float] = (0.0, 1.0),
    measured: bool = False,
    prob_terminal: float = 0.0,
) -> TrainingBatch:
    """Degrade images at random times, uniform in `t_range`, with noise: both follow from the seed.

    Args:
        process: degradation process.
        x: clean images in [0, 1], (B, C, H, W).
        seed: seed of this batch, see `step_seed`.
        t_range: range of the times, in [0, 1].
        measured: add measurements, with the joint distribution of y_t and y_1 in sampling.
        prob_terminal: probability in [0, 1] that an image's time is the last of `t_range` instead.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    low, high = t_range
    t = low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)
    if prob_terminal > 0:
        t[torch.rand(len(x), generator=generator, device=x.device) < prob_terminal] = high
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    s = t * torch.rand(len(x), generator=generator, device=x.device)
    if not measured:
        return TrainingBatch(x, process.sample(x, t, noise), t, s, process)
    of_measurement = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    y = process.sample_joint(x, t, noise, of_measurement)
    return TrainingBatch(x, y, t, s, process, process.measure(x, of_measurement))
