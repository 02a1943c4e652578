"""From a network to the posterior mean x_hat(y_t, t), or x_hat(y_t, y_1, t)."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from diracdiff.models.preconditioning import DATA_MEAN, DATA_STD, MeasurementTerms, OperatorPreconditioning
from diracdiff.process import StochasticDegradation
from diracdiff.utils.shapes import apply_padded, as_time, per_image
from diracdiff.utils.validate import check_images, check_option


def full_precision(images: Tensor) -> torch.autocast:
    """Return a context without autocast: a change of basis in bfloat16 would add noise."""
    return torch.autocast(images.device.type, enabled=False)


@runtime_checkable
class Network(Protocol):
    """F(y, level): an image-shaped prediction from degraded images and their noise level.

    Attributes:
        image_channels: C.
        multiple: height and width must be multiples of this.
        conditions: number of conditioning values: 1, the level, or 2 for an incremental reconstruction network.
        images: optional; 2 for a network that is conditioned on the measurement, concatenated along channels.
    """

    image_channels: int
    multiple: int
    conditions: int

    def __call__(self, y: Tensor, level: Tensor) -> Tensor:
        """Return (B, C, H, W) for images y (B, C, H, W) and levels (B,), or (B, conditions)."""
        ...


class Denoiser(nn.Module):
    """x_hat(y, t) = y + F(y, sigma_t) (paper, Section 4).

    With "edm" preconditioning, x_hat = m + c_skip (y - m) + c_out F(c_in (y - m), level), where m is the mean of a
    pixel and the scales follow from sigma_t and the standard deviation of a pixel (Karras et al. 2022, Table 1): for
    noise that is much larger than the image. With "flow", x_hat = y + t S F((y - m) / S, level): F is the velocity of
    a rectified flow whose end is x, in standard deviations S of a pixel. With "bridge",
    x_hat = y - sigma_t F((y - m) / S, level), see `diracdiff.samplers.Bridge`.

    Images of any size are padded by reflection to a multiple that the network takes, and cropped back. The weights are
    in the channels-last layout, which is faster.

    A network with two conditions is an incremental reconstruction network: t - s is its second one, and it predicts
    A_s(x), the image itself at s = 0. A network of two images is conditioned on the measurement y_1 and predicts
    E[x | y_t, y_1]; with it, the reverse process samples the posterior.

    Args:
        network: F, see `Network`; an `nn.Module`.
        conditioning: the network's condition: "sigma", the noise level, "log_sigma", ln(sigma_t) / 4, or "time", t
            itself (needed where the noise does not change with t).
        residual: predict x - y instead of x.
        preconditioning: "none", or what takes the place of `residual`: "edm", "flow", "bridge" or an
            `OperatorPreconditioning`.
        condition_on_measurement: condition on the measurement y_1; None: if the network takes two images.

    Attributes:
        autocast: precision of the network, torch.bfloat16 for example; None: that of its surroundings.

    Raises:
        ValueError: if an argument breaks its rule, or the network lacks an attribute of `Network`.
    """

    autocast: torch.dtype | None = None

    def __init__(
        self,
        network: nn.Module,
        conditioning: str = "sigma",
        residual: bool = True,
        preconditioning: str | OperatorPreconditioning = "none",
        condition_on_measurement: bool | None = None,
    ):
        super().__init__()
        check_option(("sigma", "log_sigma", "time"), conditioning=conditioning)
        if not isinstance(preconditioning, OperatorPreconditioning):
            check_option(("none", "edm", "flow", "bridge"), preconditioning=preconditioning)
        if not isinstance(network, Network):
            raise ValueError(f"network: {type(network).__name__} must have the attributes of diracdiff.models.Network.")
        self.network: Network = network
        self.conditioning, self.residual, self.preconditioning = conditioning, residual, preconditioning
        self.incremental = network.conditions == 2
        two = getattr(network, "images", 1) == 2
        self.condition_on_measurement = two if condition_on_measurement is None else condition_on_measurement
        if self.incremental and self.condition_on_measurement:
            raise ValueError("an incremental reconstruction network cannot be given the measurement: use images=1")
        if preconditioning == "flow" and (self.incremental or self.condition_on_measurement):
            raise ValueError(
                "preconditioning=flow: needs a network of y_t alone. "
                "Use model.condition_on_measurement=false task.predict=clean."
            )
        self.to(memory_format=torch.channels_last)

    def forward(
        self,
        process: StochasticDegradation,
        y: Tensor,
        t: Tensor,
        s: Tensor | None = None,
        measurement: Tensor | MeasurementTerms | None = None,
    ) -> Tensor:
        """Return x_hat, (B, C, H, W); with an incremental network and s < t, A_s(x).

        Args:
            process: the degradation process of y; per-image operators must be bound.
            y: y_t, (B, C, H, W).
            t: its time, () or (B,).
            s: an earlier time, for an incremental network.
            measurement: y_1, like y, for a network that is conditioned on it, or its terms.

        Raises:
            ValueError: if y is no batch of the network's channels, in the precision and on the device of its weights;
                or if `s` or `measurement` is given to a network that does not take it, or is missing.
        """
        if s is not None and not self.incremental:
            raise ValueError("this network predicts the clean image only: s must be None")
        if (measurement is not None) != self.condition_on_measurement:
            needs = "needs" if self.condition_on_measurement else "does not take"
            raise ValueError(f"this network {needs} the measurement")
        weights = next(self.parameters(), None)
        device = None if weights is None else weights.device
        dtypes = None if weights is None or torch.is_autocast_enabled(weights.device.type) else (weights.dtype,)
        check_images(y, "y", self.network.image_channels, device, dtypes)
        t = as_time(t, y).expand(len(y))
        sigma = process.noise(t)
        level = t if self.conditioning == "time" else self._level(sigma)
        if self.incremental:
            level = torch.stack([level, t if s is None else t - as_time(s, y)], dim=1)
        if isinstance(self.preconditioning, OperatorPreconditioning):
            with full_precision(y):
                images, linear = self.preconditioning(process, y, t, measurement)
            output = self._predict(images, level)
            with full_precision(y):
                return linear.x_hat(output)
        assert not isinstance(measurement, MeasurementTerms)
        if self.preconditioning == "flow":
            return y + per_image(t * DATA_STD, y) * self._predict((y - DATA_MEAN) / DATA_STD, level)
        return self._clean(y, sigma, level, measurement)

    def condition_on(
        self, process: StochasticDegradation, measurement: Tensor | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Return x_hat of (y, t) for a process and a measurement y_1, (B, C, H, W), whose terms are computed once."""
        if measurement is None or not self.condition_on_measurement:
            return partial(self, process)
        if not isinstance(self.preconditioning, OperatorPreconditioning):
            return partial(self, process, measurement=measurement)
        with full_precision(measurement):
            return partial(self, process, measurement=self.preconditioning.measurement_terms(process, measurement))

    def denoise(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Return x_hat, (B, C, H, W), for y (B, C, H, W) with noise of level sigma, () or (B,), whatever its t.

        Raises:
            ValueError: if the network depends on more than the noise level.
        """
        if self.conditioning == "time" or self.incremental or self.condition_on_measurement:
            raise ValueError("a network of the time or the measurement has no x_hat for a noise level alone")
        if self.preconditioning not in ("none", "edm"):
            raise ValueError("a flow or a network of the operator has no x_hat for a noise level alone")
        sigma = as_time(sigma, y).to(y.dtype).expand(len(y))
        return self._clean(y, sigma, self._level(sigma))

    def _level(self, sigma: Tensor) -> Tensor:
        return sigma if self.conditioning == "sigma" else sigma.log() / 4

    def _clean(self, y: Tensor, sigma: Tensor, level: Tensor, measurement: Tensor | None = None) -> Tensor:
        if self.preconditioning in ("edm", "bridge"):
            edm, centred = self.preconditioning == "edm", y - DATA_MEAN
            total = (sigma**2 + DATA_STD**2).sqrt() if edm else torch.full_like(sigma, DATA_STD)
            images = centred / per_image(total, y)
            if measurement is not None:
                images = torch.cat([images, (measurement - DATA_MEAN) / DATA_STD], 1)
            output = self._predict(images, level)
            if not edm:
                return y - per_image(sigma, y) * output
            skip, scale = (DATA_STD / total) ** 2, sigma * DATA_STD / total
            return DATA_MEAN + per_image(skip, y) * centred + per_image(scale, y) * output
        output = self._predict(y if measurement is None else torch.cat([y, measurement], 1), level)
        return y + output if self.residual else output

    def _predict(self, images: Tensor, level: Tensor) -> Tensor:
        """Return F, in the precision of the images."""
        with nullcontext() if self.autocast is None else torch.autocast(images.device.type, self.autocast):
            output = apply_padded(lambda padded: self.network(padded, level), images, self.network.multiple)
        return output.to(images.dtype)
