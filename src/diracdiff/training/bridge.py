"""The LightningModule of I2SB, InDI and Palette: trains on a bridge between images and their measurements."""

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from diracdiff.checkpoints.recipe import to_recipe
from diracdiff.evaluation.measurement import TrainingBatch, training_batch
from diracdiff.models import OperatorPreconditioning
from diracdiff.restorer import Restorer
from diracdiff.samplers import BridgeSampler
from diracdiff.training.module import RestorerModule
from diracdiff.utils.seeds import DEGRADATION, MEASUREMENT


class BridgeModule(RestorerModule):
    """Train the denoiser of a bridge on x_t, see `diracdiff.samplers.Bridge`, instead of y_t.

    Args:
        restorer: has a `BridgeSampler`; its process makes the measurements, at t = 1.
        arguments: see `RestorerModule`. Losses weigh an error by 1 / sigma_t^2 of the bridge.

    Raises:
        ValueError: see `RestorerModule`; or if the restorer has no bridge, or a network for other inputs.
    """

    def __init__(self, restorer: Restorer, **arguments: Any):
        super().__init__(restorer, **arguments)
        denoiser = restorer.denoiser
        fits = not denoiser.incremental and not isinstance(denoiser.preconditioning, OperatorPreconditioning)
        if not isinstance(restorer.sampler, BridgeSampler) or not fits:
            raise ValueError("sampler: a bridge needs a network of x_t. Use experiment=i2sb, indi or palette.")
        self.bridge = restorer.sampler.bridge

    def settings(self, trainer: pl.Trainer, data: pl.LightningDataModule | None) -> dict[str, Any]:
        """Return the settings of `RestorerModule` and the bridge."""
        return super().settings(trainer, data) | {"bridge": to_recipe(self.bridge)}

    def degrade(self, x: Tensor, batch_idx: int) -> TrainingBatch:
        """Return x_t at random times for images, (B, C, H, W), and measurements of them."""
        generator = torch.Generator(x.device).manual_seed(self.seed_of(MEASUREMENT, batch_idx))
        z, z_1 = torch.randn(2, *x.shape, generator=generator, device=x.device, dtype=x.dtype)
        y = self.bound(self.restorer.process, x, batch_idx).measure(x, z_1)
        seed, fraction = self.seed_of(DEGRADATION, batch_idx), self.fraction_at_end()
        given = training_batch(self.bridge.process, x, seed, self.times, share_at_end=fraction)
        measurement = y if self.denoiser.given_measurement else None
        return replace(given, y=self.bridge.sample(x, y, given.t, z), measurement=measurement)
