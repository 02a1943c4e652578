"""Generation of measurements and training batches with seeded noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.samplers import ImageNoise
from diracdiff.utils.seeds import image_seed
from diracdiff.utils.validate import range_error

ROUNDING = 0.01  # tolerance for clean images outside [0, 1]
FALSE_ALARM = 1e-9  # probability that noise alone exceeds a bound of `check_measurement`

RINGING, TYPICAL_RINGING = 0.5, 0.06
"""Tolerances for the distance of operator outputs from [0, 1]: maximum, and root mean square over an image.

Super-resolution and undersampled Fourier transforms of photographs reach 0.37 and 0.042.
"""


def check_measurement(y: Tensor, process: StochasticDegradation, t: float = 1.0) -> None:
    """Check that noise and ringing explain the distance of measurements from [0, 1].

    The bound for single values uses the tail exp(-k^2 / 2) of the normal distribution. The mean square distance of an
    image is largest for zeros and ones. It is sub-gamma like a chi-square variable (Boucheron et al. 2013, Theorem
    2.3).

    Args:
        y: measurements, (B, C, H, W).
        process: degradation process.
        t: time of the measurements, in [0, 1].

    Raises:
        ValueError: if a value, or the root mean square of an image, exceeds its bound.
    """
    sigma, pixels, log_odds = process.sigma(t, y).max().item(), y[0].numel(), math.log(len(y) / FALSE_ALARM)
    range_ = 1 / sigma
    density, tail = math.exp(-(range_**2) / 2) / math.sqrt(2 * math.pi), math.erfc(range_ / math.sqrt(2)) / 2
    mean = 0.5 + (1 + range_**2) * tail - range_ * density  # outward noise, and inward noise beyond the opposite bound
    max_bound = RINGING + sigma * math.sqrt(2 * (math.log(pixels) + log_odds))
    rms_bound = TYPICAL_RINGING + sigma * math.sqrt(mean + 2 * math.sqrt(log_odds / pixels) + 2 * log_odds / pixels)
    distance = (y - y.clamp(0, 1)).abs().flatten(1)
    if not (distance.max() <= max_bound and distance.square().mean(1).sqrt().max() <= rms_bound):
        low, high = (end.item() for end in y.aminmax())
        raise range_error("measurement", low, high, f" up to noise of sigma {sigma:.3g}")


@dataclass(frozen=True)
class MeasuredBatch:
    """Batch of measurements.

    Attributes:
        y: measurements, (B, C, H, W).
        t: time of the measurements, in [0, 1].
        seeds: noise seed of each image.
        noise: random streams of the images, which sampling continues.
        process: degradation process, bound to the parameters of the images.
    """

    y: Tensor
    t: float
    seeds: list[int]
    noise: ImageNoise
    process: StochasticDegradation


@torch.no_grad()
def measure(
    process: StochasticDegradation,
    x: Tensor,
    names: Sequence[str],
    seed: int,
    t: float = 1.0,
    sigma: float | None = None,
) -> MeasuredBatch:
    """Degrade images with noise that is determined by the seed and the name of each image.

    Args:
        process: degradation process.
        x: clean images in [0, 1], (B, C, H, W).
        names: name of each image.
        seed: seed of the run.
        t: time of the measurements, in [0, 1].
        sigma: standard deviation of their noise; None: that of the process.
    """
    seeds = [image_seed(seed, name) for name in names]
    noise = ImageNoise(seeds, x.device)
    process = process.bind_images(seeds, x)
    z = noise.normal(x.shape[1:], x.dtype)
    y = process.measure(x, z, t) if sigma is None else process.mean(x, t) + sigma * z
    return MeasuredBatch(y, t, seeds, noise, process)


@dataclass(frozen=True)
class TrainingBatch:
    """Batch of clean images and network inputs for training.

    Attributes:
        x: clean images in [0, 1], (B, C, H, W).
        y: degraded images y_t, (B, C, H, W).
        t: times, (B,).
        s: target times of incremental networks, uniform in [0, t), (B,).
        process: degradation process, bound to the parameters of the images.
        measurement: measurements y_1, (B, C, H, W), jointly distributed with y_t as in sampling; None for networks that
            are not conditioned on the measurement.
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
    with_measurement: bool = False,
    prob_terminal: float = 0.0,
) -> TrainingBatch:
    """Degrade images at random times, uniform in `t_range`. Times and noise are determined by the seed.

    Args:
        process: degradation process, bound to the parameters of the images.
        x: clean images in [0, 1], (B, C, H, W).
        seed: seed of the batch, see `step_seed`.
        t_range: range of the times, in [0, 1].
        with_measurement: add measurements y_1 with the joint distribution of y_t and y_1 in sampling.
        prob_terminal: probability in [0, 1] that the time of an image is the last of `t_range`.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    low, high = t_range
    t = low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)
    if prob_terminal > 0:
        t[torch.rand(len(x), generator=generator, device=x.device) < prob_terminal] = high
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    s = t * torch.rand(len(x), generator=generator, device=x.device)
    if not with_measurement:
        return TrainingBatch(x, process.sample(x, t, noise), t, s, process)
    measurement_noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    y = process.sample_joint(x, t, noise, measurement_noise)
    return TrainingBatch(x, y, t, s, process, process.measure(x, measurement_noise))
