"""The degradation of a measurement, with its adjoint, decomposition and linear solves."""

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
    """A = A_t of a batch of measurements.

    Args:
        degradation: the process A_t; per-image operators must be bound.
        measurement: y, (B, C, H, W): the batch, the size, the precision and the device of the images.
        t: the time of the measurement, () or (B,) for an operator per image.
    """

    def __init__(self, degradation: Degradation, measurement: Tensor, t: float | Tensor = 1.0):
        self.degradation, self.like, self.t = degradation, measurement, as_time(t, measurement)
        self.linear, self.name = degradation.linear, type(degradation).__name__

    def __call__(self, x: Tensor) -> Tensor:
        """Return A(x), (B, C, H, W)."""
        return self.degradation(x, self.t)

    @cached_property
    def svd(self) -> SVD | None:
        """A = U S V^T, or None where there is no closed form."""
        return self.degradation.svd(self.like, self.t)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^T y, (B, C, H, W)."""
        if self.svd is not None:
            return self.svd.v(self.svd.values * self.svd.ut(y))
        with torch.enable_grad():
            x = torch.zeros_like(y, requires_grad=True)
            return torch.autograd.grad(self(x), x, y)[0]

    def prox(self, z: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
        """Return argmin_x ||A x - y||^2 + weight ||x - z||^2, (B, C, H, W), for a positive weight, () or (B,)."""
        weight = per_image(as_time(weight, self.like), self.like)
        if self.svd is not None:
            s = self.svd.values
            return self.svd.v((s * self.svd.ut(y) + weight * self.svd.vt(z)) / (s**2 + weight))
        return z + _conjugate_gradients(lambda x: self.adjoint(self(x)) + weight * x, self.adjoint(y - self(z)))

    def whiten(self, residual: Tensor, signal: float | Tensor, noise: float | Tensor) -> Tensor:
        """Return (signal A A^T + noise)^-1 residual, (B, C, H, W), for variances >= 0, noise > 0, () or (B,)."""
        signal, noise = (per_image(as_time(variance, self.like), self.like) for variance in (signal, noise))
        if self.svd is not None:
            return self.svd.u(self.svd.ut(residual) / (signal * self.svd.values**2 + noise))
        return _conjugate_gradients(lambda r: signal * self(self.adjoint(r)) + noise * r, residual)


def _conjugate_gradients(matrix: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """Solve matrix(x) = right, symmetric and positive definite in each image of a batch, (B, C, H, W).

    Every image has its own step sizes and stopping rule, so a result does not depend on the rest of the batch.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1).reshape(-1, 1, 1, 1)

    x, residual = torch.zeros_like(right), right
    direction, size = residual, dot(residual, residual)
    enough = CG_TOLERANCE**2 * size
    for _ in range(CG_STEPS):
        active = size > enough
        if not active.any():
            break
        image = matrix(direction)
        step = torch.where(active, size / dot(direction, image).clamp(min=1e-30), 0)
        x, residual = x + step * direction, residual - step * image
        previous, size = size, torch.where(active, dot(residual, residual), size)
        direction = torch.where(active, residual + size / previous.clamp(min=1e-30) * direction, direction)
    return x
