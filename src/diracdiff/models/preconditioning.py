"""Preconditioning of networks by the operator A_t, which generalises Karras et al. 2022 (Table 1) for the identity."""

from typing import NamedTuple

import torch
from torch import Tensor

from diracdiff.degradations import SVD
from diracdiff.models.interpolation import interpolate
from diracdiff.process import StochasticDegradation
from diracdiff.utils.validate import check_option

DATA_MEAN, DATA_STD = 0.5, 0.25
"""Assumed mean m and standard deviation S of a pixel, in units of the [0, 1] range."""

INPUTS = ("whitened", "estimate")


class MeasurementTerms(NamedTuple):
    """Terms of a degraded image y in a basis in which A is diagonal.

    Attributes:
        basis: diagonal form of A with eigenvalues s.
        residual: coefficients of y - A m, (B, C, H, W).
        whitened: image y - A m with unit variance per coefficient, (B, C, H, W).
        precision: precision of the coefficients, s^2 / sigma^2. It broadcasts over (B, C, H, W).
        information: s residual / sigma^2, (B, C, H, W).
    """

    basis: SVD
    residual: Tensor
    whitened: Tensor
    precision: Tensor
    information: Tensor


class LinearEstimate(NamedTuple):
    """Linear estimate of the clean image, x = m + V (estimate + error).

    Attributes:
        basis: decomposition with the basis V.
        estimate: estimated coefficients, (B, C, H, W).
        precision: precision of the coefficients, the inverse variance of the error. It broadcasts over (B, C, H, W).
    """

    basis: SVD
    estimate: Tensor
    precision: Tensor

    def x_hat(self, output: Tensor) -> Tensor:
        """Return x_hat = x_skip + c_out F, (B, C, H, W), for the output F of the network, (B, C, H, W)."""
        return DATA_MEAN + self.basis.v(self.estimate + self.basis.vt(output) / self.precision.sqrt())


class OperatorPreconditioning:
    """Preconditioning x_hat = x_skip + c_out F(c_in (y - A_t m)) with scales per coefficient.

    Coefficients are those of a basis in which A_t is diagonal. Let s_i be the eigenvalues of A_t, and let pixels have
    mean m and standard deviation S. Then x_skip is the linear estimate of x with minimum mean squared error,
    c_out^2 = 1 / (1 / S^2 + s_i^2 / sigma_t^2) is the variance of its error, and c_in^2 = 1 / (s_i^2 S^2 + sigma_t^2).
    The input has unit variance, also in masked regions. For the identity, these are the scales of Karras et al. 2022
    (Table 1).

    If the network is conditioned on the measurement y_1, x_skip is the estimate from y_t and y_1. Its precision is
    1 / S^2 + s_1^2 / sigma_y^2 + (s_t - a s_1)^2 / v, see `StochasticDegradation.conditional_noise`.

    In a basis of frequencies, the variance of natural images falls with about the third power of the frequency. With
    `exponent` 3, x_skip is the Wiener filter, and c_out follows the spectrum of the images. c_in uses the constant S,
    so that the input resembles an image. In a basis of pixels (masks), x_skip interpolates masked pixels with a
    multiscale prior of the same exponent, see `diracdiff.models.interpolation`.

    With inputs "estimate", the input of the network is V x_skip / S, followed by the whitened data. In a basis of
    pixels, the standard deviation c_out / S follows. For small s_i, whitened data are mainly measurement noise with
    unit variance. The estimate shows the fraction of signal in them.

    Args:
        exponent: exponent of the spectrum of images, at least 0: S_i^2 = c (1 + r^2)^(-exponent / 2) with mean S^2 at r
            half cycles per side of images of size `image_size`. 0: white spectrum without interpolation.
        inputs: input of the network, "whitened" or "estimate".

    Raises:
        ValueError: if the exponent is negative, or `inputs` is unknown.
    """

    def __init__(self, exponent: float = 0.0, inputs: str = "whitened"):
        if not exponent >= 0:
            raise ValueError(f"exponent={exponent:g}: must be at least 0. Use 0 for a white spectrum.")
        check_option(INPUTS, inputs=inputs)
        self.exponent, self.inputs = float(exponent), inputs

    def check(self, process: StochasticDegradation) -> None:
        """Check that A_t has a diagonal form in a basis that is the same for all t.

        Raises:
            ValueError: if it has none.
        """
        if process.degradation.diagonal(torch.zeros(1, 1, 8, 8), 1.0) is None:
            rule = f"needs a diagonal form, which {type(process.degradation).__name__} does not have"
            raise ValueError(f"preconditioning=operator: {rule}. Use preconditioning=none or edm, or method=paper.")

    def __call__(
        self, process: StochasticDegradation, y: Tensor, t: Tensor, measurement: Tensor | MeasurementTerms | None = None
    ) -> tuple[Tensor, LinearEstimate]:
        """Return the input of the network, (B, num_images C, H, W), and the linear estimate.

        Args:
            process: degradation process of y. Per-image operators must be bound.
            y: iterates y_t, (B, C, H, W).
            t: times in [0, 1], (B,).
            measurement: measurements y_1, (B, C, H, W), or their `measurement_terms`, for a network that is conditioned
                on them.
        """
        terms = _terms(process, y, t, process.sigma(t, y) ** 2)
        basis = terms.basis
        prior = spectrum(basis, y.detach(), self.exponent, process.degradation.image_size)
        information, whitened, total = terms.information, [terms.whitened], 1 / prior + terms.precision
        if measurement is not None:
            if isinstance(measurement, Tensor):
                measurement = self.measurement_terms(process, measurement)
            weight, v = process.conditional_noise(t, y)
            s = basis.values - weight * measurement.basis.values
            information = measurement.information + s * (terms.residual - weight * measurement.residual) / v
            whitened, total = [terms.whitened, measurement.whitened], 1 / prior + measurement.precision + s**2 / v
        pixels = basis.frequencies == (None, None)
        if pixels and self.exponent > 0:
            size = process.degradation.image_size
            mean, variance = interpolate((information * prior).expand_as(y), total * prior - 1, self.exponent, size)
            linear = LinearEstimate(basis, mean, 1 / (variance * prior))
        else:
            linear = LinearEstimate(basis, information / total, total)
        images = whitened
        if self.inputs == "estimate":
            images = [basis.v(linear.estimate) / DATA_STD, *whitened]
            images += [(linear.precision.rsqrt() / DATA_STD).expand_as(y)] if pixels else []
        return torch.cat(images, 1), linear

    def num_images(self, process: StochasticDegradation, condition_on_measurement: bool) -> int:
        """Return the number of images in the input of the network.

        Args:
            process: degradation process.
            condition_on_measurement: the network is conditioned on the measurement.
        """
        extra = (2 if _has_pixel_basis(process) else 1) if self.inputs == "estimate" else 0
        return 1 + condition_on_measurement + extra

    def measurement_terms(self, process: StochasticDegradation, measurement: Tensor) -> MeasurementTerms:
        """Return the terms of measurements y_1, (B, C, H, W). They do not depend on t."""
        one, variance = measurement.new_ones(len(measurement)), process.sigma_of_measurement(measurement) ** 2
        return _terms(process, measurement, one, variance)


def _has_pixel_basis(process: StochasticDegradation) -> bool:
    basis = process.degradation.diagonal(torch.zeros(1, 1, 8, 8), 1.0)
    return basis is not None and basis.frequencies == (None, None)


def _terms(process: StochasticDegradation, y: Tensor, t: Tensor, variance: Tensor) -> MeasurementTerms:
    """Return the terms of y, (B, C, H, W). The noise variance broadcasts over y."""
    basis = process.degradation.diagonal(y, t)
    assert basis is not None
    s = basis.values
    residual = basis.ut(y) - s * basis.vt(y.new_full((1, 1, *y.shape[-2:]), DATA_MEAN))
    whitened = basis.u(residual / (s**2 * DATA_STD**2 + variance).sqrt())
    return MeasurementTerms(basis, residual, whitened, s**2 / variance, s * residual / variance)


def spectrum(basis: SVD, like: Tensor, exponent: float, size: int) -> Tensor:
    """Return the prior variances S_i^2 of the coefficients of an image, (H, W), see `OperatorPreconditioning`.

    Args:
        basis: decomposition with the basis of the coefficients.
        like: images, (B, C, H, W), of any size.
        exponent: exponent of the spectrum, at least 0.
        size: side in pixels of images whose coefficients have the mean variance S^2. The frequency r is in half cycles
            per side of these images.
    """
    height, width = like.shape[-2:]
    if exponent == 0 or basis.frequencies == (None, None):
        return like.new_full((height, width), DATA_STD**2)
    rows, columns = (
        torch.arange(n, dtype=like.dtype, device=like.device) if axis is None else axis
        for n, axis in zip((height, width), basis.frequencies, strict=True)
    )
    r = torch.arange(size, dtype=like.dtype, device=like.device)
    variance = _power_law(rows * size / height, columns * size / width, exponent) / _power_law(r, r, exponent).mean()
    for axis, frequencies in zip((-2, -1), basis.frequencies, strict=True):
        if frequencies is None:  # the variance of a pixel is the mean over the frequencies of its axis
            variance = variance.mean(axis, keepdim=True).expand(height, width)
    return DATA_STD**2 * variance


def _power_law(rows: Tensor, columns: Tensor, exponent: float) -> Tensor:
    return (1 + rows.unsqueeze(-1) ** 2 + columns**2) ** (-exponent / 2)
