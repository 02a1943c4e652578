"""Image quality per image: PSNR, SSIM and LPIPS of images in [0, 1], clipped first."""

import contextlib
import functools
import io
import math
import warnings

import torch
from kornia.metrics import ssim
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from diracdiff.errors import UserError, warn
from diracdiff.weights import download_timeout, first_line

BACKBONES = {
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
}
SSIM_WINDOW = 11
SMALLEST = {"squeeze": 17, "alex": 31, "vgg": 16}  # images that pass a backbone, in pixels a side


class ImageMetrics:
    """PSNR [dB], SSIM and LPIPS, one value per image.

    SSIM is Wang's (window 11, std 1.5, borders left out). LPIPS is named by its backbone, `lpips_squeeze` say,
    because values of different backbones do not compare. It is left out, with a warning, where the backbone's
    weights cannot be had. A plain object: its network is nobody's submodule and in no checkpoint.

    Args:
        lpips: backbone "squeeze", "alex" or "vgg" (the paper's), or None to leave LPIPS out.
    """

    def __init__(self, lpips: str | None = "squeeze"):
        if lpips is not None and lpips not in BACKBONES:
            raise UserError(f"lpips must be one of {sorted(BACKBONES)} or null, got {lpips!r}")
        self.lpips = lpips
        self._network = _load_lpips(lpips, torch.hub.get_dir()) if lpips else None

    def __deepcopy__(self, memo: dict) -> "ImageMetrics":
        return self

    @property
    def lpips_name(self) -> str | None:
        """`lpips_<backbone>`, or None where LPIPS is left out."""
        return f"lpips_{self.lpips}" if self._network is not None else None

    @property
    def names(self) -> list[str]:
        """The metrics at hand, in the order of every table."""
        return ["psnr", "ssim"] + ([self.lpips_name] if self.lpips_name else [])

    def check_size(self, side: int) -> None:
        """Find out before any work whether images of so many pixels a side can be compared.

        Raises:
            UserError: if they are smaller than the window of SSIM, or than what the backbone of LPIPS takes.
        """
        if side < SSIM_WINDOW:
            raise UserError(f"SSIM needs images of at least {SSIM_WINDOW} pixels a side, got {side}: use larger ones")
        if self._network is not None and side < SMALLEST[self.lpips]:
            raise UserError(
                f"LPIPS with the backbone {self.lpips} needs images of at least {SMALLEST[self.lpips]} pixels a side, "
                f"got {side}: use larger ones, or lpips=null"
            )

    @torch.no_grad()
    def __call__(self, restored: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Compare restored images with clean ones in [0, 1], (B, C, H, W) each: {name: (B,)}, on the CPU.

        Raises:
            UserError: if the images are too small, see `check_size`.
        """
        self.check_size(min(clean.shape[-2:]))
        with torch.autocast(clean.device.type, enabled=False):
            return self._compare(restored.float().clamp(0, 1), clean.float())

    def _compare(self, restored: Tensor, clean: Tensor) -> dict[str, Tensor]:
        values = {
            "psnr": peak_signal_noise_ratio(restored, clean, data_range=(0.0, 1.0), dim=(1, 2, 3), reduction="none"),
            "ssim": structural_similarity(restored, clean),
        }
        if self._network is not None:
            self._network.to(clean.device)
            values[self.lpips_name] = self._network(restored, clean, normalize=True).flatten()
        return {name: value.cpu() for name, value in values.items()}


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Wang's SSIM of images in [0, 1], (B, C, H, W), of at least SSIM_WINDOW pixels a side: (B,)."""
    return ssim(a, b, SSIM_WINDOW, padding="valid").flatten(1).mean(1)


@functools.cache
def _load_lpips(backbone: str, folder: str) -> torch.nn.Module | None:
    try:
        return load_lpips(backbone)
    except UserError as error:
        warn(f"LPIPS is left out: {error}. Without LPIPS there is no t_PO.")
        return None


def load_lpips(backbone: str) -> torch.nn.Module:
    """The LPIPS network with a backbone of BACKBONES, frozen, for images in [-1, 1].

    Raises:
        UserError: if the backbone's weights cannot be had.
    """
    from lpips import LPIPS

    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), download_timeout():
            warnings.filterwarnings("ignore", message=".*pretrained.*|.*weight enum.*")
            network = LPIPS(net=backbone, verbose=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of LPIPS' backbone {backbone!r} cannot be had ({first_line(error)}). "
            f"Connect once, or copy {BACKBONES[backbone]} into {torch.hub.get_dir()}/checkpoints"
        ) from error
    return network.eval().requires_grad_(False)


def interval(values: list[float], seed: int = 0, resamples: int = 2000) -> tuple[float, float]:
    """95 % confidence interval of the mean: percentiles of the means of bootstrap resamples of the images."""
    generator = torch.Generator().manual_seed(seed)
    sample = torch.tensor(values, dtype=torch.float64)
    means = sample[torch.randint(len(sample), (resamples, len(sample)), generator=generator)].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def mean(values: list[float]) -> float:
    """Arithmetic mean, summed exactly, so that it does not depend on the order."""
    return math.fsum(values) / len(values)
