"""The Lightning shell of a rectified flow that goes on from a regression network: training and validation of PMRF."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from diracdiff.baselines.pmrf import REGRESSION, PosteriorMeanFlow
from diracdiff.evaluation.measurement import TrainingBatch, training_batch
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.metrics import Metric
from diracdiff.restorer import Restorer
from diracdiff.training.module import RestorerModule
from diracdiff.training.optimization import Optimization
from diracdiff.utils.seeds import MEASUREMENT


class FlowModule(RestorerModule):
    """Trains the denoiser of a flow on Z_t, see `PosteriorMeanFlow`, where a restorer's is trained on y_t.

    Args:
        restorer: of the flow; its process is the identity with noise s t.
        regression: of measurements, trained already; it is not trained further.
        loss: see `RestorerModule`; with the weight 1 / sigma_t^2 it is ||v - (x - Z_1)||^2 for the velocity v.
        optimization: see `RestorerModule`.
        metrics: see `RestorerModule`.
        times: see `RestorerModule`.
        share_at_end: see `RestorerModule`.

    Raises:
        ValueError: see `RestorerModule`; or if images of other sizes were used for the regression network.
    """

    def __init__(
        self,
        restorer: Restorer,
        regression: Restorer,
        loss: IncrementalReconstructionLoss | None = None,
        optimization: Optimization | None = None,
        metrics: Sequence[Metric] | None = None,
        times: Sequence[float] = (0.0, 1.0),
        share_at_end: float = 0.0,
    ):
        super().__init__(restorer, loss, optimization, metrics, times, share_at_end=share_at_end)
        sizes = regression.image_size, restorer.image_size
        if sizes[0] != sizes[1]:
            raise ValueError(f"it was trained on images of {sizes[0]} px: train with dataset.image_size={sizes[0]}")
        self.flow = PosteriorMeanFlow(regression)

    def settings(self, trainer: pl.Trainer, data: pl.LightningDataModule | None) -> dict[str, Any]:
        """See `RestorerModule.settings`; with the regression network that the flow goes on from."""
        return super().settings(trainer, data) | {REGRESSION: self.flow.fingerprint}

    def degrade(self, x: Tensor, batch_idx: int) -> TrainingBatch:
        """Return Z_t at random times for images, (B, C, H, W), and separate measurements of them."""
        given, seed = super().degrade(x, batch_idx), self.seed_of(MEASUREMENT, batch_idx)
        process = self.bound(self.flow.regression.process, x, batch_idx)
        measured = training_batch(process, x, seed, (1.0, 1.0))
        return replace(given, y=self.flow.moved(given.y, x, self.flow.mean(process, measured.y), given.t))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure the images of a batch, restore them by regression, go along the flow, and keep what is found.

        The iterate at t = 1 is the measurement, as for a restorer; calls are those of the flow.
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
        """See `RestorerModule.to_test`."""
        return FlowModule(restorer, self.flow.regression, metrics=self.metrics)
