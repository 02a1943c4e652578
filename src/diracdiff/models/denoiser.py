"""From a network to the posterior mean x_hat(y_t, t)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from diracdiff.shapes import as_time

CONDITIONING = ("sigma", "time")


class Denoiser(nn.Module):
    """x_hat(y, t) = y + F(y, sigma_t) (paper, Section 4).

    Args:
        network: F, maps images (B, C, H, W) and levels (B,) to images.
        noise: sigma_t.
        conditioning: what the network is told: "sigma", the noise level, or "time", t itself (needed where the
            noise does not change with t).
        residual: predict x - y instead of x.
    """

    def __init__(
        self,
        network: nn.Module,
        noise: Callable[[Tensor], Tensor],
        conditioning: str = "sigma",
        residual: bool = True,
    ):
        super().__init__()
        if conditioning not in CONDITIONING:
            raise ValueError(f"conditioning must be one of {CONDITIONING}, got {conditioning!r}")
        self.network, self.noise = network, noise
        self.conditioning, self.residual = conditioning, residual

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        """x_hat, (B, C, H, W), for y (B, C, H, W) and t () or (B,)."""
        t = as_time(t, y).expand(len(y))
        level = self.noise(t) if self.conditioning == "sigma" else t
        output = self.network(y, level)
        return y + output if self.residual else output


class Padded:
    """A denoiser for images of any size: pads by reflection to a multiple, denoises, crops back.

    Args:
        denoiser: maps (y, t) to x_hat.
        multiple: height and width that the denoiser needs are multiples of this.
    """

    def __init__(self, denoiser: Callable[[Tensor, Tensor], Tensor], multiple: int):
        self.denoiser, self.multiple = denoiser, multiple

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        height, width = y.shape[-2:]
        bottom, right = -height % self.multiple, -width % self.multiple
        mode = "reflect" if bottom < height and right < width else "replicate"
        padded = F.pad(y, (0, right, 0, bottom), mode=mode)
        return self.denoiser(padded, t)[..., :height, :width]
