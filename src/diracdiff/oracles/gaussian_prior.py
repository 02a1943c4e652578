"""The exact denoiser of Gaussian images."""

import torch
from torch import Tensor

from diracdiff.utils.shapes import as_time, per_image


class GaussianPrior:
    """The exact denoiser of x ~ N(mean, C), where C is the map x -> R x R^T with a symmetric matrix R per direction.

    C has eigenvalues s_i s_j, and E[x | y] = mean + C (C + sigma^2)^-1 (y - mean). For tests and demonstrations: every
    posterior is known in closed form.

    Args:
        matrix: R, (n, n), symmetric and positive definite; the images are n x n.
        mean: of a pixel.
    """

    sigma_min, sigma_max = 1e-4, 100.0

    def __init__(self, matrix: Tensor, mean: float = 0.5):
        self.matrix, self.mean = matrix, mean
        values, basis = torch.linalg.eigh(matrix.double())
        if not (values > 0).all():
            raise ValueError(f"matrix must be positive definite, its least eigenvalue is {values.min().item():.3g}")
        self.basis: Tensor = basis
        self.variances: Tensor = values.unsqueeze(-1) * values

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Return x_hat, (B, C, n, n)."""
        basis, variances = self.basis.to(y), self.variances.to(y)
        sigma = per_image(as_time(sigma, y), y)
        coefficients = basis.mT @ (y - self.mean) @ basis
        return self.mean + basis @ (variances / (variances + sigma**2) * coefficients) @ basis.mT

    def sample(self, noise: Tensor) -> Tensor:
        """Return images from standard normal noise, (B, C, n, n)."""
        basis, variances = self.basis.to(noise), self.variances.to(noise)
        return self.mean + basis @ (variances.sqrt() * noise) @ basis.mT
