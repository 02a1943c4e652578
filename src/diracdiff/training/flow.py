"""The LightningModule of PMRF: a rectified flow from a regression network's estimate to the images."""

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
    """Train the denoiser of a flow on Z_t, see `PosteriorMeanFlow`, instead of y_t.

    Args:
        restorer: restorer of the flow; its process is the identity with noise s t.
        regression: trained regression network of the measurements; it is not changed.
        arguments: see `RestorerModule`; the loss with weight 1 / sigma_t^2 is ||v - (x - Z_1)||^2 for the velocity v.

    Raises:
        ValueError: see `RestorerModule`; or if the regression network is for images of another size.
    """

    def __init__(self, restorer: Restorer, regression: Restorer, **arguments: Any):
        super().__init__(restorer, **arguments)
        if (size := regression.image_size) != restorer.image_size:
            raise ValueError(f"regression: it was trained on images of {size} px. Set data.image_size={size}.")
        self.flow = PosteriorMeanFlow(regression)

    def settings(self, trainer: pl.Trainer, data: pl.LightningDataModule | None) -> dict[str, Any]:
        """Return the settings of `RestorerModule` and the fingerprint of the regression network."""
        return super().settings(trainer, data) | {REGRESSION: self.flow.fingerprint}

    def degrade(self, x: Tensor, batch_idx: int) -> TrainingBatch:
        """Return Z_t at random times for images, (B, C, H, W), and separate measurements of them."""
        given, seed = super().degrade(x, batch_idx), self.seed_of(MEASUREMENT, batch_idx)
        process = self.bound(self.flow.regression.process, x, batch_idx)
        measured = training_batch(process, x, seed, (1.0, 1.0))
        return replace(given, y=self.flow.moved(given.y, x, self.flow.mean(process, measured.y), given.t))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Degrade the images of a batch, restore them by regression, follow the flow, and evaluate its states.

        The iterate at t = 1 is the measurement, as for a restorer. NFE are those of the flow.
        """
        restorer, regression, x = self.restorer, self.flow.regression, batch["x"]
        names = [str(name) for name in batch["name"]]
        measured = regression.measure(x, names)
        mean = self.flow.mean(measured.process, measured.y)
        begin = restorer.process.measure(mean, measured.noise.normal(x.shape[1:], x.dtype))
        states = restorer.sampler.states(restorer.process, self.denoiser, begin, measured.noise)
        first = replace(next(states), y=measured.y)
        reference = regression.replace(process=measured.process).reference(x, measured.y)
        self.evaluation.add(names, measured.seeds, chain([first], states), reference)

    test_step = validation_step

    def to_test(self, restorer: Restorer) -> "FlowModule":
        """Return a module that tests another flow from the same regression network."""
        return FlowModule(restorer, self.flow.regression, metrics=self.metrics)
