"""Undersampled Fourier transform, as in magnetic resonance imaging, on real images.

A scanner measures the transform of the image line by line, and is faster by the fraction of the lines that it skips.
Here a line is one vertical frequency (the phase encoding) with all horizontal frequencies, and lines of opposite
frequency go together, so that the result is real. Unlike a scanner's, the measurement is an image with white noise:
it is noisy in the missing lines, too.
"""

import math
from random import Random

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.severity import Severity
from diracdiff.degradations.svd import SVD, Separable, matrix_svd


class FourierUndersampling(Degradation):
    """Multiplication of the vertical frequencies with a mask in [0, 1] that loses one pair of lines after another.

    The severity is the fraction of missing lines: 0.75 is an acceleration of 4. The lines of lowest frequency stay. The
    others go in a random order in which the chance to be next is proportional to the frequency; in its turn, the weight
    of a line falls linearly from 1 to 0, and 1 - mask sums to the severity at all times.

    Args:
        severity: fraction of missing lines, from 0 to 1 - centre.
        image_size: side in pixels of the training images; not used.
        centre: fraction of the lines that always stay, at most this and at least one line; in [0, 1).
        seed: of the order.
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
        """Return weights of the frequencies 0 … n // 2 of n rows, (n // 2 + 1,) or (B, n // 2 + 1)."""
        starts, lines = severity.new_tensor(self._turns(n))
        return 1 - ((severity.unsqueeze(-1) * n - starts) / lines).clamp(0, 1)

    def _turns(self, n: int) -> tuple[list[int], list[int]]:
        """Return how many lines are gone before a frequency's turn, n if it stays, and its number of lines, 1 or 2."""
        lines = [1 if 2 * k % n == 0 else 2 for k in range(n // 2 + 1)]
        random = Random(self.seed)
        # Exponential waiting times with rates proportional to k (Efraimidis and Spirakis 2006).
        waiting = {k: -math.log(1 - random.random()) / k for k in range(1, n // 2 + 1)}
        starts, gone = [n] * len(lines), 0
        for k in sorted(waiting, key=waiting.__getitem__):
            if 2 * k + 1 > self.centre * n:
                starts[k], gone = gone, gone + lines[k]
        return starts, lines


def fourier_basis(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return orthonormal real waves of n samples: their frequencies, (n,), and the waves as columns, (n, n).

    A frequency of the discrete Fourier transform has a cosine and a sine, but 0 and n / 2 a cosine only. Device and
    precision of the waves are those of `like`.
    """
    j = torch.arange(n, device=like.device)
    frequency = (j + 1) // 2
    angle = (j.unsqueeze(-1) * frequency).remainder(n).to(like.dtype) * (2 * math.pi / n)
    waves = torch.where((j % 2 == 1) | (j == 0), angle.cos(), angle.sin())
    return frequency, waves / waves.square().sum(0).sqrt()
