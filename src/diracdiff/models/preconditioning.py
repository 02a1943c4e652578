"""Scales of a network's input and output that know the operator, in the place of Karras' for the identity."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from diracdiff.degradations import SVD
from diracdiff.models.interpolation import smoothed
from diracdiff.process import StochasticDegradation

DATA_MEAN, DATA_STD = 0.5, 0.25
"""Mean m and standard deviation S of pixels that preconditioning assumes, in the [0, 1] range."""


class OperatorPreconditioning:
    """x_hat = x_skip + c_out F(c_in (y - A_t m)) with scales for every coefficient of a basis in which A_t is diagonal.

    With the coefficient's eigenvalue s_i of A_t: x_skip is the linear estimate of x of least mean square error, and
    c_out^2 = 1 / (1 / S^2 + s_i^2 / sigma_t^2) the variance that it leaves, if pixels have mean m and standard
    deviation S; c_in^2 = 1 / (s_i^2 S^2 + sigma_t^2). What a hole hides so arrives at unit scale however dark the mask
    is, and what is left to learn is what a linear filter cannot know. With A_t the identity these are the scales of
    Karras et al. 2022 (Table 1).

    A network that is given the measurement y_1 beside y_t has the estimate from both: the precision is
    1 / S^2 + s_1^2 / sigma_y^2 + (s_t - a s_1)^2 / v, see `StochasticDegradation.beyond_measurement`.

    In a basis of frequencies natural images are far from white: their variance falls with about the third power of the
    frequency. With `exponent` 3 the linear estimate then is Wiener's filter and c_out falls as the images' spectrum
    does, so that an untrained network already is a good linear restorer. c_in keeps the white S, with which the network
    sees an image rather than its whitened edges.

    Pixels are not white either: where a mask hides some, those around tell. With `interpolate` they are a Gaussian
    process on a quadtree, see `diracdiff.models.interpolation`: x_skip and c_out are its estimate and what it leaves,
    so that an untrained network already fills holes smoothly. The network sees x_skip and, if it is given the
    measurement, c_out in the place of a second image, both in units of S.

    Args:
        process: a degradation process with a diagonal form in a basis that is the same for every t.
        exponent: of the images' spectrum, S_i^2 = c (1 + r^2)^(-exponent / 2) at r half cycles per side at the
            degradation's image size, with the mean S^2; 0: white. Pixels, those of a mask say, are white.
        interpolate: of a basis of pixels: let pixels tell of those around. Bases of frequencies have the spectrum.

    Raises:
        ValueError: if there is no such basis in closed form, or the exponent is negative.
    """

    def __init__(self, process: StochasticDegradation, exponent: float = 0.0, interpolate: bool = False):
        if not exponent >= 0:
            raise ValueError(f"the exponent of the images' spectrum must be at least 0, got {exponent:g}")
        self.process, self.exponent, self.interpolate = process, float(exponent), bool(interpolate)
        self._of_size: dict[Any, tuple[Tensor, Tensor]] = {}
        if process.degradation.diagonal(torch.zeros(1, 1, 8, 8), 1.0) is None:
            raise ValueError(
                f"preconditioning by the operator needs its diagonal form, which {type(process.degradation).__name__} "
                "does not have: use preconditioning none or edm, as method=paper does"
            )

    def __call__(self, y: Tensor, t: Tensor, measurement: "Tensor | Known | None" = None) -> tuple[Tensor, "Scaled"]:
        """The network's input, (B, C, H, W) or (B, 2 C, H, W), and what makes x_hat of its output.

        Args:
            y: y_t, (B, C, H, W).
            t: times, (B,).
            measurement: y_1, (B, C, H, W), or what is `known` of it, for a network that is given it.
        """
        process, basis = self.process, self._basis(y, t)
        prior, mean = self._fixed(basis, y)
        variance = process.sigma(t, y) ** 2
        s = basis.values
        rest = basis.ut(y) - s * mean
        known = self.known(measurement) if isinstance(measurement, Tensor) else measurement
        if known is None:
            news, told = s**2 / variance, s * rest / variance
        else:
            share, free = process.beyond_measurement(t, y)
            own = s - share * known.values
            news, told = own**2 / free, own * (rest - share * known.rest) / free
        if self.interpolate and basis.frequencies == (None, None):
            if known is not None:
                news, told = known.precision + news, known.estimate + told
            mean, left = smoothed((told * prior).expand_as(y), (news * prior).expand_as(y))
            seen = [mean / DATA_STD] if known is None else [mean / DATA_STD, left.sqrt()]
            return torch.cat(seen, 1), Scaled(basis, mean, 1 / (left * prior))
        images = basis.u(rest / (s**2 * DATA_STD**2 + variance).sqrt())
        if known is None:
            precision = 1 / prior + news
            return images, Scaled(basis, told / precision, precision)
        precision = 1 / prior + known.precision + news
        return torch.cat([images, known.images], 1), Scaled(basis, (known.estimate + told) / precision, precision)

    def known(self, measurement: Tensor) -> "Known":
        """What a measurement y_1, (B, C, H, W), says at every time of a walk that begins at it."""
        last = self._basis(measurement, measurement.new_ones(len(measurement)))
        _, mean = self._fixed(last, measurement)
        variance = self.process.sigma_of_measurement(measurement) ** 2
        s = last.values
        rest = last.ut(measurement) - s * mean
        images = last.u(rest / (s**2 * DATA_STD**2 + variance).sqrt())
        return Known(s, rest, images, s**2 / variance, s * rest / variance)

    def _basis(self, y: Tensor, t: Tensor) -> SVD:
        basis = self.process.degradation.diagonal(y, t)
        assert basis is not None
        return basis

    def _fixed(self, basis: SVD, y: Tensor) -> tuple[Tensor, Tensor]:
        """The images' spectrum and the coefficients of m, which no time and no image changes: (H, W), (1, 1, H, W)."""
        key = (*y.shape[-2:], y.dtype, y.device)
        if key not in self._of_size:
            with torch.inference_mode(False), torch.no_grad():
                mean = basis.vt(torch.full((1, 1, *y.shape[-2:]), DATA_MEAN, dtype=y.dtype, device=y.device))
                prior = spectrum(basis, y.detach(), self.exponent, self.process.degradation.image_size)
            self._of_size = {key: (prior, mean)}  # of the last size alone: photographs have many
        return self._of_size[key]


class Known(NamedTuple):
    """What a measurement says, in coefficients of the basis.

    Attributes:
        values: s_1.
        rest: of y_1 - A_1 m, (B, C, H, W).
        images: the network's second image, (B, C, H, W).
        precision: s_1^2 / sigma_y^2.
        estimate: s_1 rest / sigma_y^2.
    """

    values: Tensor
    rest: Tensor
    images: Tensor
    precision: Tensor
    estimate: Tensor


def spectrum(basis: SVD, like: Tensor, exponent: float, size: int) -> Tensor:
    """Variance of an image's coefficients, S_i^2, (H, W), see `OperatorPreconditioning`.

    Args:
        basis: of the coefficients.
        like: an image, (B, C, H, W), of any size.
        exponent: see `OperatorPreconditioning`.
        size: side in pixels of images whose half cycles r counts, and whose cosines have the mean variance S^2.
    """
    height, width = like.shape[-2:]
    if exponent == 0 or all(own is None for own in basis.frequencies):
        return like.new_full((height, width), DATA_STD**2)
    rows, columns = (
        torch.arange(n, dtype=like.dtype, device=like.device) if own is None else own
        for n, own in zip((height, width), basis.frequencies, strict=True)
    )
    r = torch.arange(size, dtype=like.dtype, device=like.device)
    variance = _power(rows * size / height, columns * size / width, exponent) / _power(r, r, exponent).mean()
    for axis, own in zip((-2, -1), basis.frequencies, strict=True):
        if own is None:  # of pixels along the axis: the mean over its frequencies
            variance = variance.mean(axis, keepdim=True).expand(height, width)
    return DATA_STD**2 * variance


def _power(rows: Tensor, columns: Tensor, exponent: float) -> Tensor:
    return (1 + rows.unsqueeze(-1) ** 2 + columns**2) ** (-exponent / 2)


class Scaled(NamedTuple):
    """What is known of x before the network is called: x = m + V (estimate + error), of variance 1 / precision.

    Attributes:
        basis: V.
        estimate: coefficients of the linear estimate, (B, C, H, W).
        precision: of every coefficient.
    """

    basis: SVD
    estimate: Tensor
    precision: Tensor

    def x_hat(self, output: Tensor) -> Tensor:
        """m + x_skip + c_out F, (B, C, H, W), for the network's output F."""
        basis = self.basis
        return DATA_MEAN + basis.v(self.estimate + basis.vt(output) / self.precision.sqrt())
