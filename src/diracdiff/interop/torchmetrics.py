"""Metrics of this package as metrics of torchmetrics."""

import re
from typing import Any

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from diracdiff.evaluation.statistics import mean_ignoring_none
from diracdiff.metrics.metric import ImageMetric, Metric, Reference, SetMetric


class MetricAdapter(torchmetrics.Metric):
    """Metric of this package as `torchmetrics.Metric`, for `self.log` of Lightning and for `MetricCollection`.

    Values equal those of `diracdiff evaluate` for the same images. A distributed sampler that repeats images counts
    them repeatedly. Metrics of sets compare all images, while `diracdiff evaluate` compares at most `SetMetric.limit`.
    The features of all images stay in memory.

    Args:
        metric: metric, such as `PSNR()`, `LPIPS("squeeze")` or `SWD()`.
        seed: seed of metrics that sample subsets (KID of more than 1000 images).
        kwargs: arguments of `torchmetrics.Metric`.

    Raises:
        ValueError: if the metric is neither of single images nor of sets.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, metric: Metric, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(metric, ImageMetric | SetMetric):
            raise ValueError(f"metric: must be an ImageMetric or a SetMetric, got {type(metric).__name__}.")
        self.metric, self.seed = metric, seed
        # A `MetricCollection` merges metrics whose states have equal names and values.
        name = re.sub(r"\W", "_", metric.name)
        self._states = [f"{name}_{kind}" for kind in (("clean", "restored") if self._of_sets else ("values",))]
        for state in self._states:
            self.add_state(state, [], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """Direction of the metric, or None."""
        return self.metric.higher_is_better

    @property
    def _of_sets(self) -> bool:
        return isinstance(self.metric, SetMetric)

    def update(self, preds: Tensor, target: Tensor | Reference) -> None:
        """Add restored images.

        Args:
            preds: restored images in [0, 1], (B, C, H, W).
            target: clean images, like `preds`, or `Restorer.reference(clean, measurement)` for metrics that need the
                measurement, such as `ResidualNoise` and `Consistency`.
        """
        reference = target if isinstance(target, Reference) else Reference(target)
        if isinstance(self.metric, SetMetric):
            added = [self.metric.extractor.features(images) for images in (reference.clean, preds)]
        else:
            assert isinstance(self.metric, ImageMetric)
            added = [self.metric(preds, reference)]
        for state, values in zip(self._states, added, strict=True):
            getattr(self, state).append(values.to(self.device))

    def compute(self) -> Tensor:
        """Return the metric of all images. NaN if no image has a value."""
        states = [dim_zero_cat(getattr(self, state)).cpu() for state in self._states]
        if isinstance(self.metric, SetMetric):
            return torch.tensor(self.metric.score(states[0], states[1], self.seed), dtype=torch.float64)
        assert isinstance(self.metric, ImageMetric)
        values = [None if self.metric.may_be_nan and value != value else value for value in states[0].tolist()]
        value = mean_ignoring_none(values)
        return torch.tensor(torch.nan if value is None else value, dtype=torch.float64)
