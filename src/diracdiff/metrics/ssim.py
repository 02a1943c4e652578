"""SSIM, structural similarity."""

from torch import Tensor

from diracdiff.metrics.metric import ImageMetric, Reference
from diracdiff.utils.errors import UserError

WINDOW = 11


class SSIM(ImageMetric):
    """Wang's structural similarity (Wang et al. 2004): window 11, std 1.5, borders left out, of clipped images."""

    name = "ssim"
    title, higher_is_better = "SSIM", True

    def check_size(self, side: int) -> None:
        if side < WINDOW:
            raise UserError(f"SSIM needs images of at least {WINDOW} pixels a side, got {side}: use larger ones")

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        return structural_similarity(images.clamp(0, 1), reference.clean.float())


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of images in [0, 1], (B, C, H, W), of at least WINDOW pixels a side: (B,)."""
    from kornia.metrics import ssim

    values: Tensor = ssim(a, b, WINDOW, padding="valid")
    return values.flatten(1).mean(1)
