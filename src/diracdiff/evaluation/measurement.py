"""Measurements and training batches: clean images degraded with noise that follows from seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.samplers.noise import ImageNoise
from diracdiff.utils.seeds import image_seed
from diracdiff.utils.validate import out_of_range

ROUNDING = 0.01
"""Margin by which clean images may leave [0, 1]."""

RINGING, TYPICAL_RINGING = 0.5, 0.06
"""Margins by which operators may move a value out of [0, 1], and all values of an image in root mean square.

Super-resolution and undersampled Fourier transforms of photographs reach 0.37 and 0.042.
"""

LEAST_SIGMA_TO_GENERATE = 2.5
"""Ten standard deviations of a pixel: a measurement with more noise contains almost nothing of its image."""


def check_measurement(y: Tensor, process: StochasticDegradation, t: float = 1.0) -> None:
    """Refuse measurements at t, (B, C, H, W), that leave [0, 1] by more than their noise and ringing explain.

    Raises:
        ValueError: if any value or, in root mean square, the values of any image do.
    """
    sigma = process.sigma(t, y).max().item()
    largest, typical = noise_limits(sigma, y[0].numel(), len(y))
    beyond = (y - y.clamp(0, 1)).abs().flatten(1)
    root_mean_square = beyond.square().mean(1).sqrt().max()
    if not (beyond.max() <= RINGING + largest and root_mean_square <= TYPICAL_RINGING + typical):
        low, high = (end.item() for end in y.aminmax())
        raise out_of_range("measurement", low, high, f" up to noise of sigma {sigma:.3g}")


def noise_limits(sigma: float, pixels: int, images: int, rare: float = 1e-9) -> tuple[float, float]:
    """Return bounds that values in [0, 1] with white noise exceed with a probability of at most 2 `rare`.

    Args:
        sigma: standard deviation of the noise, above 0.
        pixels: number of values of an image.
        images: number of images.
        rare: probability that one of the bounds is exceeded.

    Returns:
        The largest distance of a value from [0, 1], by the tail exp(-k^2 / 2) of the normal distribution; and the
        largest root mean square of these distances over an image. The mean square is largest for images of zeros and
        ones, and sub-gamma like a chi-square variable (Boucheron et al. 2013, Theorem 2.3).
    """
    t, range_ = math.log(images / rare), 1 / sigma
    density, tail = math.exp(-(range_**2) / 2) / math.sqrt(2 * math.pi), math.erfc(range_ / math.sqrt(2)) / 2
    mean = 0.5 + (1 + range_**2) * tail - range_ * density  # noise of one sign, and of the other beyond the far end
    square = mean + 2 * math.sqrt(t / pixels) + 2 * t / pixels
    return sigma * math.sqrt(2 * (math.log(pixels) + t)), sigma * math.sqrt(square)


def check_hides(sigma: float) -> None:
    """Raise ValueError unless noise of this standard deviation hides images, so that they can be generated from it."""
    if sigma < LEAST_SIGMA_TO_GENERATE:
        raise ValueError(
            f"images can be generated where noise hides them, sigma_1 of at least {LEAST_SIGMA_TO_GENERATE} in "
            f"units of the [0, 1] range, got {sigma:.3g}: train with task=denoise"
        )


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
    times: tuple[float, float] = (0.0, 1.0),
    measured: bool = False,
    share_at_end: float = 0.0,
) -> TrainingBatch:
    """Degrade images at random times, uniform in `times`, with noise: both follow from the seed.

    Args:
        process: degradation process.
        x: clean images in [0, 1], (B, C, H, W).
        seed: seed of this batch, see `step_seed`.
        times: range of the times, in [0, 1].
        measured: add measurements, with the joint distribution of y_t and y_1 in sampling.
        share_at_end: probability in [0, 1] that an image's time is the last of `times` instead.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    low, high = times
    t = low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)
    if share_at_end > 0:
        t[torch.rand(len(x), generator=generator, device=x.device) < share_at_end] = high
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    s = t * torch.rand(len(x), generator=generator, device=x.device)
    if not measured:
        return TrainingBatch(x, process.sample(x, t, noise), t, s, process)
    of_measurement = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    y = process.sample_joint(x, t, noise, of_measurement)
    return TrainingBatch(x, y, t, s, process, process.measure(x, of_measurement))
