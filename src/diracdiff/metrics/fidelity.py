"""PSNR, SSIM and data consistency, metrics of single images without a network."""

from torch import Tensor

from diracdiff.metrics.metric import ImageMetric, Reference

WINDOW = 11
"""Side of the window of SSIM in pixels."""


class PSNR(ImageMetric):
    """Peak signal-to-noise ratio in dB, -10 log10 of the mean squared error of images clipped to [0, 1]."""

    name = "psnr"
    title, unit, digits, higher_is_better = "PSNR", "dB", 2, True
    target, abbreviation = "psnr", "DO"

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        from torchmetrics.functional.image import peak_signal_noise_ratio

        clean, clipped = reference.clean.float(), images.clamp(0, 1)
        return peak_signal_noise_ratio(clipped, clean, data_range=(0.0, 1.0), dim=(1, 2, 3), reduction="none")


class SSIM(ImageMetric):
    """Structural similarity (Wang et al. 2004) of clipped images, with window 11, std 1.5 and without borders."""

    name = "ssim"
    title, higher_is_better = "SSIM", True
    min_side = WINDOW

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        return structural_similarity(images.clamp(0, 1), reference.clean.float())


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Compute the structural similarity of images, (B,).

    Args:
        a: images in [0, 1], (B, C, H, W), with sides of at least `WINDOW` pixels.
        b: images to compare with, like a.
    """
    from kornia.metrics import ssim

    values: Tensor = ssim(a, b, WINDOW, padding="valid")
    return values.flatten(1).mean(1)


class Consistency(ImageMetric):
    """Data consistency ||y - A_t(images)|| / (sqrt(n) sigma) (paper, Theorem 3.6 and Fig. 4).

    The value of the clean image is about 1. Values below 1 mean that the image fits noise of the measurement.
    """

    name = "consistency"
    title, digits = "data consistency", 2

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        """Compute the values, (B,), see `ImageMetric.measure`.

        Raises:
            ValueError: if the reference has no measurement or no process.
        """
        sigma = reference.noise_level("consistency")
        y, process = reference.measurement, reference.process
        assert y is not None and process is not None
        return process.residual(y, images.to(y.dtype), reference.t).sqrt() / sigma
