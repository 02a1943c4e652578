"""Lightning module for training PMRF: a rectified flow from the posterior mean to the images."""

from dataclasses import replace
from itertools import chain
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from diracdiff.baselines.pmrf import REGRESSION, PosteriorMeanFlow
from diracdiff.evaluation.measurement import TrainingBatch, training_batch
from diracdiff.restorer import Restorer
from diracdiff.training.module import RestorerModule
from diracdiff.utils.seeds import MEASUREMENT


class FlowModule(RestorerModule):
    """Lightning module that trains the denoiser of a flow on Z_t instead of y_t, see `PosteriorMeanFlow`.

    The loss with weight 1 / sigma_t^2 equals ||v - (x - Z_1)||^2 for the velocity v.

    Args:
        restorer: restorer of the flow, with the identity process and noise of standard deviation s t.
        regression: restorer with the trained regression network, which is not changed.
        **kwargs: further arguments of `RestorerModule`.

    Raises:
        ValueError: if the regression network was trained at another image size; see also `RestorerModule`.
    """

    def __init__(self, restorer: Restorer, regression: Restorer, **kwargs: Any):
        super().__init__(restorer, **kwargs)
        if (size := regression.image_size) != restorer.image_size:
            raise ValueError(f"regression: was trained on images of {size} px. Set data.image_size={size}.")
        self.flow = PosteriorMeanFlow(regression)

    def settings(self, trainer: pl.Trainer, data: pl.LightningDataModule | None) -> dict[str, Any]:
        """Return the settings of `RestorerModule.settings` and the fingerprint of the regression network."""
        return super().settings(trainer, data) | {REGRESSION: self.flow.fingerprint}

    def degrade(self, x: Tensor, batch_idx: int) -> TrainingBatch:
        """Sample Z_t at random times, with independent measurements as input of the regression network.

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            batch_idx: index of the batch in the epoch.
        """
        batch, seed = super().degrade(x, batch_idx), self.seed_for(MEASUREMENT, batch_idx)
        process = self.bind_batch(self.flow.regression.process, x, batch_idx)
        measured = training_batch(process, x, seed, (1.0, 1.0))
        return replace(batch, y=self.flow.shift(batch.y, x, self.flow.mean(process, measured.y), batch.t))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Degrade the images of a batch, restore them by regression, sample the flow, and evaluate its states.

        The iterate at t = 1 is the measurement, as for a restorer. The NFE count is that of the flow.
        """
        restorer, regression, x = self.restorer, self.flow.regression, batch["x"]
        names = [str(name) for name in batch["name"]]
        measured = regression.measure(x, names)
        mean = self.flow.mean(measured.process, measured.y)
        start = restorer.process.measure(mean, measured.noise.normal(x.shape[1:], x.dtype))
        states = restorer.sampler.states(restorer.process, self.denoiser, start, measured.noise)
        first = replace(next(states), y=measured.y)
        reference = regression.replace(process=measured.process).reference(x, measured.y)
        self.evaluation.add(names, measured.seeds, chain([first], states), reference)

    test_step = validation_step

    def for_testing(self, restorer: Restorer) -> "FlowModule":
        """Return a module for testing another flow with the same regression network.

        Args:
            restorer: restorer of the flow to test.
        """
        return FlowModule(restorer, self.flow.regression, metrics=self.metrics)
