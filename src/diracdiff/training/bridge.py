"""Lightning module for training the networks of I2SB, InDI and Palette."""

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
    """Lightning module that trains a denoiser on the states x_t of a bridge, see `diracdiff.samplers.Bridge`.

    The loss uses sigma_t of the bridge.

    Args:
        restorer: restorer with a `BridgeSampler`; its degradation process at t = 1 generates the measurements.
        **kwargs: further arguments of `RestorerModule`.

    Raises:
        ValueError: if the sampler has no bridge, or the network does not take x_t; see also `RestorerModule`.
    """

    def __init__(self, restorer: Restorer, **kwargs: Any):
        super().__init__(restorer, **kwargs)
        denoiser = restorer.denoiser
        takes_x_t = not denoiser.incremental and not isinstance(denoiser.preconditioning, OperatorPreconditioning)
        if not isinstance(restorer.sampler, BridgeSampler) or not takes_x_t:
            raise ValueError("sampler: a bridge needs a network that takes x_t. Use experiment=i2sb, indi or palette.")
        self.bridge = restorer.sampler.bridge

    def settings(self, trainer: pl.Trainer, data: pl.LightningDataModule | None) -> dict[str, Any]:
        """Return the settings of `RestorerModule.settings` and the recipe of the bridge."""
        return super().settings(trainer, data) | {"bridge": to_recipe(self.bridge)}

    def degrade(self, x: Tensor, batch_idx: int) -> TrainingBatch:
        """Sample bridge states x_t at random times, with measurements if the network is conditioned on them.

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            batch_idx: index of the batch in the epoch.
        """
        generator = torch.Generator(x.device).manual_seed(self.seed_for(MEASUREMENT, batch_idx))
        z, z_1 = torch.randn(2, *x.shape, generator=generator, device=x.device, dtype=x.dtype)
        y = self.bind_batch(self.restorer.process, x, batch_idx).measure(x, z_1)
        seed, fraction = self.seed_for(DEGRADATION, batch_idx), self.terminal_probability()
        batch = training_batch(self.bridge.process, x, seed, self.t_range, prob_terminal=fraction)
        measurement = y if self.denoiser.condition_on_measurement else None
        return replace(batch, y=self.bridge.sample(x, y, batch.t, z), measurement=measurement)
