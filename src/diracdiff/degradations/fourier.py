"""Undersampled Fourier transform of real images, as in magnetic resonance imaging.

A scanner measures the Fourier transform of the image line by line and skips a fraction of the lines. Here a line is one
vertical frequency (the phase encoding) with all horizontal frequencies. Lines of opposite frequencies are removed
together, so that the image stays real. Unlike the data of a scanner, the measurement is an image with white noise, and
the missing lines contain noise too.
"""

import math
from random import Random

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.severity import Severity
from diracdiff.degradations.svd import SVD, Separable, matrix_svd


class FourierUndersampling(Degradation):
    """Multiplication of the vertical frequencies with a mask in [0, 1] that removes pairs of lines successively.

    The severity is the fraction of missing lines. A fraction of 0.75 is an acceleration factor of 4. The lines of
    lowest frequency are never removed. The others are removed in a random order. The probability of a line to be next
    is proportional to its frequency. The weight of a line falls linearly from 1 to 0 during its removal, so that
    1 - mask sums to the severity at all times.

    Args:
        severity: fraction of missing lines over t, in [0, 1 - centre].
        image_size: side of the training images in pixels, not used.
        centre: largest fraction of the lines that are never removed, in [0, 1). At least one line remains.
        seed: seed of the random order.

    Raises:
        ValueError: if `centre` or the severity is out of range.
    """

    in_pixels = False

    def __init__(self, severity: Severity, image_size: int = REFERENCE_SIZE, centre: float = 0.08, seed: int = 0):
        if not 0 <= centre < 1:
            raise ValueError(f"centre={centre}: must lie in [0, 1).")
        self.limits = (0.0, 1 - centre)
        super().__init__(severity, image_size)
        self.centre, self.seed = float(centre), int(seed)

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        missing = 1 - self.mask(severity.to(x.dtype), x.shape[-2])
        lost: Tensor = torch.fft.rfft(x, dim=-2) * missing.unsqueeze(-2).unsqueeze(-1)
        return x - torch.fft.irfft(lost, n=x.shape[-2], dim=-2)

    def decompose(self, x: Tensor, severity: Tensor) -> SVD:
        height, width = x.shape[-2:]
        one = torch.eye(height, dtype=x.dtype, device=x.device).expand(*severity.shape, 1, height, height)
        rows = self.apply(one if severity.ndim else one.unsqueeze(0), severity).reshape(*severity.shape, height, height)
        return Separable(matrix_svd(rows), matrix_svd(torch.eye(width, dtype=x.dtype, device=x.device)))

    def diagonalise(self, x: Tensor, severity: Tensor) -> SVD:
        frequency, basis = fourier_basis(x.shape[-2], x)
        values, one = self.mask(severity.to(x.dtype), x.shape[-2])[..., frequency], x.new_ones(1)
        pixels = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        rows, columns = (values, basis, basis.mT, basis, basis.mT), (one, pixels, pixels, pixels, pixels)
        return Separable(rows, columns, (2 * frequency.to(x.dtype), None))

    def mask(self, severity: Tensor, n: int) -> Tensor:
        """Return the weights of the frequencies 0 … n // 2.

        Args:
            severity: fractions of missing lines, () or (B,).
            n: number of rows.

        Returns:
            Weights in [0, 1], (n // 2 + 1,) or (B, n // 2 + 1).
        """
        starts, lines = severity.new_tensor(self._removal_order(n))
        return 1 - ((severity.unsqueeze(-1) * n - starts) / lines).clamp(0, 1)

    def _removal_order(self, n: int) -> tuple[list[int], list[int]]:
        """Return the number of lines removed before each frequency (n if never removed), and its number of lines."""
        lines = [1 if 2 * k % n == 0 else 2 for k in range(n // 2 + 1)]
        random = Random(self.seed)
        # Exponential waiting times with rates proportional to k (Efraimidis and Spirakis 2006).
        waiting_times = {k: -math.log(1 - random.random()) / k for k in range(1, n // 2 + 1)}
        starts, num_removed = [n] * len(lines), 0
        for k in sorted(waiting_times, key=waiting_times.__getitem__):
            if 2 * k + 1 > self.centre * n:
                starts[k], num_removed = num_removed, num_removed + lines[k]
        return starts, lines


def fourier_basis(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the real orthonormal basis of the discrete Fourier transform.

    Each frequency has a cosine and a sine, except the frequencies 0 and n / 2, which have only a cosine.

    Args:
        n: number of samples.
        like: tensor that defines precision and device.

    Returns:
        The frequency of each basis vector in periods per n samples, (n,), and the basis as columns, (n, n).
    """
    j = torch.arange(n, device=like.device)
    frequency = (j + 1) // 2
    angle = (j.unsqueeze(-1) * frequency).remainder(n).to(like.dtype) * (2 * math.pi / n)
    waves = torch.where((j % 2 == 1) | (j == 0), angle.cos(), angle.sin())
    return frequency, waves / waves.square().sum(0).sqrt()
