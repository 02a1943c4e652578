"""Priors: denoisers x_hat(y, sigma) for white noise, trained on clean images without a degradation."""

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
    """Protocol of a denoiser that computes E[x | x + sigma z].

    Attributes:
        sigma_min: minimum noise level, positive, in units of the [0, 1] range.
        sigma_max: maximum noise level, in units of the [0, 1] range.
    """

    sigma_min: float
    sigma_max: float

    def __call__(self, y: Tensor, sigma: float | Tensor, /) -> Tensor:
        """Denoise images.

        Args:
            y: noisy images, (B, C, H, W).
            sigma: standard deviation of the noise, () or (B,).

        Returns:
            x_hat, (B, C, H, W).
        """
        ...


class NetworkPrior:
    """Prior with a denoiser that was trained with `task=prior`, or for a single noise level.

    Args:
        denoiser: denoiser with the method `denoise(y, sigma)`, see `diracdiff.models.Denoiser`.
        sigma_min: minimum noise level of the training, in units of the [0, 1] range.
        sigma_max: maximum noise level of the training, in units of the [0, 1] range.
        restorer: restorer of the denoiser, or None.
    """

    def __init__(self, denoiser: Denoiser, sigma_min: float, sigma_max: float, restorer: Restorer | None = None):
        self.denoiser, self.restorer = denoiser.eval(), restorer
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Denoise images, see `Prior`. `sigma` is clamped to [sigma_min, sigma_max]."""
        sigma = as_time(sigma, y).to(y.dtype).clamp(self.sigma_min, self.sigma_max)
        return self.denoiser.denoise(y, sigma).to(y.dtype)


def load_prior(
    checkpoint: str | Path | None, device: str = "cpu", trusted_modules: Iterable[str] = (), key: str = "prior"
) -> NetworkPrior:
    """Load a denoiser that was trained with task=prior, or with task=denoise_fixed for a single noise level.

    Args:
        checkpoint: file or folder of the model, or a DnCNN file of SCICO, see `diracdiff.baselines.scico`.
        device: device of the network.
        trusted_modules: see `diracdiff.restorer.load`.
        key: configuration key of the path, for messages.

    Raises:
        ValueError: if the checkpoint is missing, or is not a denoiser for white noise.
    """
    if checkpoint is None:
        task = "task=prior" if key == "prior" else "experiment=dncnn"
        raise ValueError(f"{key}=null: must be a checkpoint. Train one with {task} and set {key}=runs/…/best.ckpt.")
    if Path(checkpoint).suffix == ".mpk":
        restorer = read_dncnn(checkpoint, key).to(device)
    else:
        restorer = load(checkpoint, device, trusted_modules)
    if not isinstance(restorer.process.degradation, Identity):
        name = type(restorer.process.degradation).__name__
        raise ValueError(f"{key}={checkpoint}: was trained for {name}, must be a denoiser. Train one with task=prior.")
    if restorer.denoiser.conditioning == "time" or restorer.denoiser.incremental:
        raise ValueError(f"{key}={checkpoint}: must depend on the noise level. Use model.conditioning=log_sigma.")
    sigma_min, sigma_max = restorer.process.noise(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    return NetworkPrior(restorer.denoiser, sigma_min, sigma_max, restorer)
