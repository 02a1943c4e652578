"""PSNR, the measure of distortion."""

from torch import Tensor

from diracdiff.metrics.metric import ImageMetric, Reference


class PSNR(ImageMetric):
    """Peak signal-to-noise ratio, -10 log10 of the mean squared error, per image, of images clipped to [0, 1]."""

    name = "psnr"
    title, unit, digits, higher_is_better = "PSNR", "dB", 2, True
    target, abbreviation = "psnr", "DO"

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        from torchmetrics.functional.image import peak_signal_noise_ratio

        clean, clipped = reference.clean.float(), images.clamp(0, 1)
        return peak_signal_noise_ratio(clipped, clean, data_range=(0.0, 1.0), dim=(1, 2, 3), reduction="none")
