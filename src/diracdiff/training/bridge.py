"""LightningModule that trains the networks of I2SB, InDI and Palette."""

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
    """Train a denoiser on the states x_t of a bridge, see `diracdiff.samplers.Bridge`.

    Args:
        restorer: restorer with a `BridgeSampler`. Its degradation process at t = 1 makes the measurements.
        arguments: see `RestorerModule`. The loss is computed with sigma_t of the bridge.

    Raises:
        ValueError: see `RestorerModule`; also if the sampler has no bridge, or the network does not take x_t.
    """

    def __init__(self, restorer: Restorer, **arguments: Any):
        super().__init__(restorer, **arguments)
        denoiser = restorer.denoiser
        fits = not denoiser.incremental and not isinstance(denoiser.preconditioning, OperatorPreconditioning)
        if not isinstance(restorer.sampler, BridgeSampler) or not fits:
            raise ValueError("sampler: a bridge needs a network that takes x_t. Use experiment=i2sb, indi or palette.")
        self.bridge = restorer.sampler.bridge

    def settings(self, trainer: pl.Trainer, data: pl.LightningDataModule | None) -> dict[str, Any]:
        """Return the settings of `RestorerModule`, and the bridge."""
        return super().settings(trainer, data) | {"bridge": to_recipe(self.bridge)}

    def degrade(self, x: Tensor, batch_idx: int) -> TrainingBatch:
        """Return x_t at random times for images x, (B, C, H, W), with the measurements if the network takes them."""
        generator = torch.Generator(x.device).manual_seed(self.seed_of(MEASUREMENT, batch_idx))
        z, z_1 = torch.randn(2, *x.shape, generator=generator, device=x.device, dtype=x.dtype)
        y = self.bound(self.restorer.process, x, batch_idx).measure(x, z_1)
        seed, fraction = self.seed_of(DEGRADATION, batch_idx), self.terminal_probability()
        given = training_batch(self.bridge.process, x, seed, self.t_range, prob_terminal=fraction)
        measurement = y if self.denoiser.condition_on_measurement else None
        return replace(given, y=self.bridge.sample(x, y, given.t, z), measurement=measurement)
