"""What several samples of one measurement say of how sure a restoration is."""

import math

from torch import Tensor

PICTURES = ("uncertainty", "mean", "low", "high")
"""What is written of an image besides one sample."""

LEAST_STD = 1 / 510
"""Half a grey level, below which standard deviations are not told apart."""


class Spread:
    """Several samples of each measurement of a batch.

    Args:
        samples: (K, B, C, H, W), K of at least 2.

    Attributes:
        count: K.
        mean: of the samples, (B, C, H, W); nearer to the image than one sample.
        std: their standard deviation, (B, C, H, W), at least LEAST_STD.
        variance: of the whole image, (B,).

    Raises:
        ValueError: if there is one sample only.
    """

    def __init__(self, samples: Tensor):
        self.count = len(samples)
        if self.count < 2:
            raise ValueError(f"a spread needs at least 2 samples, got {self.count}")
        self.mean, self.std = samples.mean(0), samples.std(0).clamp(min=LEAST_STD)
        self.variance = (self.std**2).flatten(1).mean(1)

    def interval(self, factor: float) -> tuple[Tensor, Tensor]:
        """Lower and upper bound of every pixel, (B, C, H, W) each, in [0, 1]."""
        return (self.mean - factor * self.std).clamp(0, 1), (self.mean + factor * self.std).clamp(0, 1)

    def needed(self, clean: Tensor) -> Tensor:
        """The factor that every pixel of the clean images would have needed, (B, C, H, W)."""
        return (clean - self.mean).abs() / self.std

    def error(self, clean: Tensor) -> Tensor:
        """Mean square error of the samples' mean in units of their variance, (B,)."""
        return ((clean - self.mean) ** 2).flatten(1).mean(1) / self.variance

    def psnr(self, errors: tuple[float, float]) -> list[tuple[float, float]]:
        """Bounds in dB of every image's PSNR, of the samples' mean, from bounds of its error."""
        return [(psnr(v * errors[1]), psnr(v * errors[0])) for v in self.variance.tolist()]


def raw_factor(level: float, samples: int) -> float:
    """Student's factor: right if the image and its K samples are K + 1 draws of one Gaussian."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, samples - 1)) * math.sqrt(1 + 1 / samples)


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean square error of images in [0, 1]."""
    return -10 * math.log10(error) if error > 0 else math.inf
