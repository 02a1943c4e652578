"""Priors: denoisers x_hat(y, sigma) of white noise, trained on natural images without a degradation."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from diracdiff.baselines.scico import read_dncnn
from diracdiff.degradations import Identity
from diracdiff.models import Denoiser
from diracdiff.restorer import Restorer, load
from diracdiff.utils.shapes import as_time


class Prior(Protocol):
    """E[x | x + sigma z] for sigma in [sigma_min, sigma_max], in units of the [0, 1] range; sigma_min is positive."""

    sigma_min: float
    sigma_max: float

    def __call__(self, y: Tensor, sigma: float | Tensor, /) -> Tensor:
        """Return x_hat, (B, C, H, W), for y (B, C, H, W) with noise sigma, () or (B,)."""
        ...


class NetworkPrior:
    """The denoiser of a restorer that was trained with `task=prior`, or a denoiser of one noise level.

    Args:
        denoiser: has `at(y, sigma)`, see `diracdiff.models.Denoiser`.
        sigma_min: lowest noise level of its training, in units of the [0, 1] range.
        sigma_max: highest noise level.
        restorer: that the denoiser was loaded with, or None.
    """

    def __init__(self, denoiser: Denoiser, sigma_min: float, sigma_max: float, restorer: Restorer | None = None):
        self.denoiser, self.restorer = denoiser.eval(), restorer
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Return x_hat, see `Prior`; sigma is clamped to the range of the training."""
        sigma = as_time(sigma, y).to(y.dtype).clamp(self.sigma_min, self.sigma_max)
        return self.denoiser.denoise(y, sigma).to(y.dtype)


def load_prior(
    checkpoint: str | Path | None, device: str = "cpu", trusted_modules: Iterable[str] = (), key: str = "prior"
) -> NetworkPrior:
    """Load the denoiser of a checkpoint that was trained with task=prior, or task=denoise_fixed for one noise level.

    Args:
        checkpoint: its path, or that of a DnCNN of SCICO, see `diracdiff.baselines.scico`.
        device: of the network.
        trusted_modules: see `diracdiff.restorer.load`.
        key: of the path, for messages.

    Raises:
        ValueError: if there is none, or it is not a denoiser of white noise.
    """
    if checkpoint is None:
        task = "task=prior" if key == "prior" else "experiment=dncnn"
        raise ValueError(f"{key} must be given: train one with {task} and give {key}=runs/…/best.ckpt")
    if Path(checkpoint).suffix == ".mpk":
        restorer = read_dncnn(checkpoint, key).to(device)
    else:
        restorer = load(checkpoint, device, trusted_modules)
    if not isinstance(restorer.process.degradation, Identity):
        name = type(restorer.process.degradation).__name__
        raise ValueError(f"{key}={checkpoint}: is trained for {name}, must be a denoiser. Train one with task=prior.")
    if restorer.denoiser.conditioning == "time" or restorer.denoiser.incremental:
        raise ValueError(f"{key}={checkpoint}: must depend on the noise level. Use model.conditioning=log_sigma.")
    sigma_min, sigma_max = restorer.process.noise(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    return NetworkPrior(restorer.denoiser, sigma_min, sigma_max, restorer)
