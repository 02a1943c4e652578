"""Priors: denoisers x_hat(y, sigma) of white noise, which know natural images but no degradation."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from diracdiff.degradations import Identity
from diracdiff.errors import UserError
from diracdiff.restorer import Restorer, load
from diracdiff.shapes import as_time, per_image


class Prior(Protocol):
    """E[x | x + sigma z].

    Attributes:
        sigma_min: the least noise it is asked about, positive, in units of the [0, 1] range.
        sigma_max: the greatest noise.
    """

    sigma_min: float
    sigma_max: float

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """x_hat, (B, C, H, W), for y (B, C, H, W) with noise sigma, () or (B,)."""
        ...


class NetworkPrior:
    """A denoiser of ours that was trained with `task=prior`, or a denoiser of one noise level.

    Args:
        denoiser: has `at(y, sigma)`, see `diracdiff.models.Denoiser`.
        sigma_min: least noise it was trained on, in units of the [0, 1] range.
        sigma_max: greatest noise.

    Attributes:
        restorer: that the denoiser was loaded with, or None.
    """

    restorer: Restorer | None = None

    def __init__(self, denoiser: nn.Module, sigma_min: float, sigma_max: float):
        if not 0 < sigma_min <= sigma_max:
            raise ValueError(f"a prior must have 0 < sigma_min <= sigma_max, got {sigma_min} and {sigma_max}")
        self.denoiser, self.sigma_min, self.sigma_max = denoiser.eval(), float(sigma_min), float(sigma_max)

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        sigma = as_time(sigma, y).to(y.dtype).clamp(self.sigma_min, self.sigma_max)
        return self.denoiser.at(y, sigma).to(y.dtype)


def load_prior(
    checkpoint: str | Path | None, device: str = "cpu", trust: Iterable[str] = (), key: str = "prior"
) -> "NetworkPrior":
    """The denoiser of a checkpoint that was trained with task=prior, or with task=denoise_fixed for one noise level.

    Its `restorer` is what the checkpoint holds.

    Args:
        checkpoint: its path.
        device: where to put it.
        trust: see `diracdiff.restorer.load`.
        key: how the user gave the path, for messages.

    Raises:
        UserError: if there is none, or it is not a denoiser of white noise.
    """
    if checkpoint is None:
        task = "task=prior" if key == "prior" else "experiment=dncnn"
        raise UserError(f"{key} must be given: train one with {task} and give {key}=runs/…/best.ckpt")
    restorer = load(checkpoint, device, trust)
    if not isinstance(restorer.process.degradation, Identity):
        raise UserError(
            f"{key}={checkpoint} undoes {type(restorer.process.degradation).__name__}, it is no denoiser of white "
            "noise: give a checkpoint that was trained with task=prior"
        )
    if restorer.conditioning == "time" or restorer.predict == "increment":
        raise UserError(f"{key}={checkpoint} is not told the noise level: train it with model.conditioning=log_sigma")
    ends = restorer.process.noise(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    prior = NetworkPrior(restorer.denoiser, *ends)
    prior.restorer = restorer
    return prior


class GaussianPrior:
    """The exact denoiser of x ~ N(mean, C) with a covariance C that a symmetric matrix per direction makes.

    C = R (x) R, x -> R x R^T, with eigenvalues s_i s_j: E[x | y] = mean + C (C + sigma^2)^-1 (y - mean). For tests and
    demonstrations: every posterior is known in closed form.

    Args:
        matrix: R, (n, n), symmetric and positive definite; the images are n x n.
        mean: of a pixel.
    """

    sigma_min, sigma_max = 1e-4, 100.0

    def __init__(self, matrix: Tensor, mean: float = 0.5):
        self.matrix, self.mean = matrix, mean
        values, self.basis = torch.linalg.eigh(matrix.double())
        if not (values > 0).all():
            raise ValueError(f"matrix must be positive definite, its least eigenvalue is {values.min().item():.3g}")
        self.variances = values.unsqueeze(-1) * values

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """x_hat, (B, C, n, n)."""
        basis, variances = self.basis.to(y), self.variances.to(y)
        sigma = per_image(as_time(sigma, y), y)
        coefficients = basis.mT @ (y - self.mean) @ basis
        return self.mean + basis @ (variances / (variances + sigma**2) * coefficients) @ basis.mT

    def sample(self, noise: Tensor) -> Tensor:
        """Images from standard normal noise, (B, C, n, n)."""
        basis, variances = self.basis.to(noise), self.variances.to(noise)
        return self.mean + basis @ (variances.sqrt() * noise) @ basis.mT
