"""Degradation operator of a batch of measurements, with adjoint, decomposition and linear solvers."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from diracdiff.degradations.base import Degradation
from diracdiff.degradations.svd import SVD
from diracdiff.utils.shapes import as_time, per_image

CG_TOLERANCE = 1e-6
CG_STEPS = 200


class Operator:
    """Operator A = A_t of a batch of measurements.

    Args:
        degradation: degradation process A_t. Per-image operators must be bound.
        measurement: measurements y, (B, C, H, W), that define size, precision and device of the images.
        t: time of the measurements in [0, 1], () or (B,).

    Attributes:
        linear: A is linear.
        name: class name of the degradation.
    """

    def __init__(self, degradation: Degradation, measurement: Tensor, t: float | Tensor = 1.0):
        self.degradation, self.like, self.t = degradation, measurement, as_time(t, measurement)
        self.linear, self.name = degradation.linear, type(degradation).__name__

    def __call__(self, x: Tensor) -> Tensor:
        """Return A(x), (B, C, H, W), for images x, (B, C, H, W)."""
        return self.degradation(x, self.t)

    @cached_property
    def svd(self) -> SVD | None:
        """Singular value decomposition A = U S V^T, or None without a closed form."""
        return self.degradation.svd(self.like, self.t)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^T y, (B, C, H, W), for measurements y, (B, C, H, W). A must be linear."""
        if self.svd is not None:
            return self.svd.v(self.svd.values * self.svd.ut(y))
        with torch.enable_grad():
            x = torch.zeros_like(y, requires_grad=True)
            return torch.autograd.grad(self(x), x, y)[0]

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        """Return the proximal point argmin_x ||A x - y||^2 + weight ||x - z||^2, (B, C, H, W).

        Args:
            z: images, (B, C, H, W).
            y: measurements, (B, C, H, W).
            weight: weights, positive, () or (B,).
        """
        weight = per_image(as_time(weight, self.like), self.like)
        if self.svd is not None:
            s = self.svd.values
            return self.svd.v((s * self.svd.ut(y) + weight * self.svd.vt(z)) / (s**2 + weight))
        return z + _conjugate_gradients(lambda x: self.adjoint(self(x)) + weight * x, self.adjoint(y - self(z)))

    def whiten(self, residual: Tensor, signal: float | Tensor, noise: float | Tensor) -> Tensor:
        """Return (signal A A^T + noise I)^-1 residual, (B, C, H, W).

        Args:
            residual: images in the domain of the measurements, (B, C, H, W).
            signal: variances of the signal, at least 0, () or (B,).
            noise: variances of the noise, positive, () or (B,).
        """
        signal, noise = (per_image(as_time(variance, self.like), self.like) for variance in (signal, noise))
        if self.svd is not None:
            return self.svd.u(self.svd.ut(residual) / (signal * self.svd.values**2 + noise))
        return _conjugate_gradients(lambda r: signal * self(self.adjoint(r)) + noise * r, residual)


def _conjugate_gradients(matrix: Callable[[Tensor], Tensor], rhs: Tensor) -> Tensor:
    """Solve matrix(x) = rhs, (B, C, H, W), with a symmetric positive definite matrix for each image.

    Step sizes and stopping rule are per-image, so that a result does not depend on the rest of the batch.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1).reshape(-1, 1, 1, 1)

    x, residual = torch.zeros_like(rhs), rhs
    direction, squared_norm = residual, dot(residual, residual)
    tolerance = CG_TOLERANCE**2 * squared_norm
    for _ in range(CG_STEPS):
        active = squared_norm > tolerance
        if not active.any():
            break
        product = matrix(direction)
        step = torch.where(active, squared_norm / dot(direction, product).clamp(min=1e-30), 0)
        x, residual = x + step * direction, residual - step * product
        previous, squared_norm = squared_norm, torch.where(active, dot(residual, residual), squared_norm)
        direction = torch.where(active, residual + squared_norm / previous.clamp(min=1e-30) * direction, direction)
    return x
