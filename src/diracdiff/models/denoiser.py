"""From a network to the posterior mean x_hat(y_t, t)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from diracdiff.models.network import Network
from diracdiff.shapes import as_time, on_multiples, per_image

CONDITIONING = ("sigma", "log_sigma", "time")
PRECONDITIONING = ("none", "edm")
DATA_MEAN, DATA_STD = 0.5, 0.25
"""Mean and standard deviation of pixels that the "edm" preconditioning assumes, in the [0, 1] range."""


class Denoiser(nn.Module):
    """x_hat(y, t) = y + F(y, sigma_t) (paper, Section 4).

    With "edm" preconditioning, x_hat = m + c_skip (y - m) + c_out F(c_in (y - m), level), where m is the mean of a
    pixel and the scales follow from sigma_t and the standard deviation of a pixel (Karras et al. 2022, Table 1): for
    noise that is much larger than the image.

    Images of any size are padded by reflection to a multiple that the network takes, and cropped back.

    The weights are put into the channels-last layout, which is faster.

    A network with two conditions is an incremental reconstruction network: it is told t - s as well and predicts
    A_s(x), the image itself at s = 0.

    Args:
        network: F, see `Network`; an `nn.Module`.
        noise: sigma_t.
        conditioning: what the network is told: "sigma", the noise level, "log_sigma", ln(sigma_t) / 4, or "time",
            t itself (needed where the noise does not change with t).
        residual: predict x - y instead of x.
        preconditioning: "none" or "edm", which takes the place of `residual`.

    Raises:
        ValueError: if a choice is unknown, or the network lacks what `Network` asks for.
    """

    def __init__(
        self,
        network: nn.Module,
        noise: Callable[[Tensor], Tensor],
        conditioning: str = "sigma",
        residual: bool = True,
        preconditioning: str = "none",
    ):
        super().__init__()
        if conditioning not in CONDITIONING:
            raise ValueError(f"conditioning must be one of {CONDITIONING}, got {conditioning!r}")
        if preconditioning not in PRECONDITIONING:
            raise ValueError(f"preconditioning must be one of {PRECONDITIONING}, got {preconditioning!r}")
        if not isinstance(network, Network):
            raise ValueError(
                f"{type(network).__name__} must have image_channels, multiple and conditions, see "
                "diracdiff.models.Network"
            )
        self.network: Network = network
        self.noise = noise
        self.conditioning, self.residual, self.preconditioning = conditioning, residual, preconditioning
        self.incremental = network.conditions == 2
        self.to(memory_format=torch.channels_last)

    def forward(self, y: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        """x_hat, (B, C, H, W), for y (B, C, H, W) and t () or (B,); with an incremental network A_s(x), s < t.

        Raises:
            ValueError: if `s` is given to a network that predicts the clean image only.
        """
        if s is not None and not self.incremental:
            raise ValueError("this network predicts the clean image only: s must be None")
        t = as_time(t, y).expand(len(y))
        sigma = self.noise(t)
        level = t if self.conditioning == "time" else self._level(sigma)
        if self.incremental:
            level = torch.stack([level, t if s is None else t - as_time(s, y)], dim=1)
        return self._clean(y, sigma, level)

    def at(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """x_hat, (B, C, H, W), for y (B, C, H, W) whose noise is sigma, () or (B,), whatever t it belongs to.

        Raises:
            ValueError: if the network is told the time, or two conditions.
        """
        if self.conditioning == "time" or self.incremental:
            raise ValueError("a network that is told the time has no x_hat for a noise level alone")
        sigma = as_time(sigma, y).to(y.dtype).expand(len(y))
        return self._clean(y, sigma, self._level(sigma))

    def _level(self, sigma: Tensor) -> Tensor:
        return sigma if self.conditioning == "sigma" else sigma.log() / 4

    def _clean(self, y: Tensor, sigma: Tensor, level: Tensor) -> Tensor:
        if self.preconditioning == "edm":
            total = (sigma**2 + DATA_STD**2).sqrt()
            skip, scale = (DATA_STD / total) ** 2, sigma * DATA_STD / total
            centred = y - DATA_MEAN
            output = self._predict(centred / per_image(total, y), level)
            return DATA_MEAN + per_image(skip, y) * centred + per_image(scale, y) * output
        output = self._predict(y, level)
        return y + output if self.residual else output

    def _predict(self, images: Tensor, level: Tensor) -> Tensor:
        multiple = self.network.multiple
        return on_multiples(lambda padded: self.network(padded, level), images, multiple)
