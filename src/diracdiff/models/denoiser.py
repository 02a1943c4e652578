"""Denoiser: estimate of the clean image x_hat(y_t, t), or x_hat(y_t, y_1, t), by a network."""

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
    """Return a context that disables autocast on the device of the images.

    Changes of basis need it, because rounding to bfloat16 would add noise.
    """
    return torch.autocast(images.device.type, enabled=False)


@runtime_checkable
class Network(Protocol):
    """Interface of networks F(y, level), which map degraded images and noise levels to images.

    Attributes:
        image_channels: number C of channels of an image.
        multiple: height and width of the input must be multiples of this number.
        conditions: number of conditioning values. 1: noise level. 2: incremental reconstruction network.
        images: optional number of input images, concatenated along channels; 2 if conditioned on the measurement.
    """

    image_channels: int
    multiple: int
    conditions: int

    def __call__(self, y: Tensor, level: Tensor) -> Tensor:
        """Return predictions, (B, C, H, W).

        Args:
            y: input images, (B, images C, H, W).
            level: conditioning values, (B,), or (B, conditions) for several conditions.
        """
        ...


class Denoiser(nn.Module):
    """Estimate of the clean image x_hat(y, t) = y + F(y, sigma_t) with a network F (paper, Section 4).

    Preconditionings replace this formula. m and S are mean and standard deviation of a pixel.

    - "edm": x_hat = m + c_skip (y - m) + c_out F(c_in (y - m), level) with the scales of Karras et al. 2022 (Table 1),
      for noise that is much larger than the image.
    - "flow": x_hat = y + t S F((y - m) / S, level). F is the velocity of a rectified flow that ends at x.
    - "bridge": x_hat = y - sigma_t F((y - m) / S, level), see `diracdiff.samplers.Bridge`.
    - `OperatorPreconditioning`: scales that depend on A_t.

    Images of any size are padded by reflection to a multiple of `Network.multiple` and cropped back. The weights have
    the channels-last layout, which is faster.

    A network with two conditions is an incremental reconstruction network. Its second condition is t - s, and it
    predicts A_s(x), which is x for s = 0. A network with two input images is conditioned on the measurement y_1. It
    predicts E[x | y_t, y_1], and the reverse process samples the posterior.

    Args:
        network: network F, an `nn.Module` with the attributes of `Network`.
        conditioning: condition of the network. "sigma": sigma_t. "log_sigma": ln(sigma_t) / 4. "time": t, for
            constant noise.
        residual: predict x - y instead of x, without preconditioning.
        preconditioning: "none", "edm", "flow", "bridge" or an `OperatorPreconditioning`.
        condition_on_measurement: condition on the measurement y_1. None: if the network has two input images.

    Attributes:
        autocast: precision of the network under autocast, such as torch.bfloat16, or None to leave it unchanged.
        incremental: the network is an incremental reconstruction network.

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
        if condition_on_measurement is None:
            condition_on_measurement = getattr(network, "images", 1) == 2
        self.condition_on_measurement = condition_on_measurement
        if self.incremental and self.condition_on_measurement:
            rule = "must be false for an incremental reconstruction network"
            raise ValueError(f"condition_on_measurement=true: {rule}. Use a network with images=1.")
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
        """Return x_hat, (B, C, H, W), or an estimate of A_s(x) for an incremental reconstruction network.

        Args:
            process: degradation process of y. Per-image operators must be bound.
            y: iterates y_t, (B, C, H, W).
            t: times in [0, 1], () or (B,).
            s: target times in [0, t], () or (B,), for an incremental reconstruction network. None: 0.
            measurement: measurements y_1, like y, or their terms, for a network that is conditioned on them.

        Raises:
            ValueError: if channels, precision or device of y differ from the network's, if the network does not take
                `s` or `measurement`, or if `measurement` is missing.
        """
        if s is not None and not self.incremental:
            raise ValueError("s: must be None for a network that predicts clean images. Train with predict=increment.")
        if (measurement is not None) != self.condition_on_measurement:
            rule = "must be given" if self.condition_on_measurement else "must be None"
            condition = f"condition_on_measurement={str(self.condition_on_measurement).lower()}"
            raise ValueError(f"measurement: {rule} for a network with {condition}. Use `condition_on`.")
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
        """Return x_hat as a function of (y, t). The terms of the measurement are computed once.

        Args:
            process: degradation process. Per-image operators must be bound.
            measurement: measurements y_1, (B, C, H, W). Ignored by a network that is not conditioned on them.
        """
        if measurement is None or not self.condition_on_measurement:
            return partial(self, process)
        if not isinstance(self.preconditioning, OperatorPreconditioning):
            return partial(self, process, measurement=measurement)
        with full_precision(measurement):
            return partial(self, process, measurement=self.preconditioning.measurement_terms(process, measurement))

    def denoise(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Denoise images with a known noise level.

        Args:
            y: noisy images, (B, C, H, W).
            sigma: noise levels in units of the [0, 1] range, () or (B,).

        Returns:
            x_hat, (B, C, H, W).

        Raises:
            ValueError: if the network depends on more than the noise level.
        """
        if self.conditioning == "time" or self.incremental or self.condition_on_measurement:
            rule = "must depend on y and sigma alone, not on the time or the measurement"
            raise ValueError(f"denoiser: {rule}. Use a model of task=denoise.")
        if self.preconditioning not in ("none", "edm"):
            rule = "must depend on y and sigma alone, which needs preconditioning none or edm"
            raise ValueError(f"denoiser: {rule}. Use a model of task=denoise.")
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
        """Return the output of the network in the precision of the images."""
        with nullcontext() if self.autocast is None else torch.autocast(images.device.type, self.autocast):
            output = apply_padded(lambda padded: self.network(padded, level), images, self.network.multiple)
        return output.to(images.dtype)
