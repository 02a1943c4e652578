"""The interface of metrics: a name, a direction, a unit, and a way to measure single images or sets of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.utils.validate import check_images

Row = dict[str, Any]
"""Values by column."""


@dataclass(frozen=True)
class Reference:
    """Images and measurements that restored images are compared with.

    Attributes:
        clean: clean images in [0, 1], (B, C, H, W).
        measurement: measurements of the clean images, (B, C, H, W), or None.
        process: process that made the measurements, or None.
        t: time of the measurements.
        sigma: standard deviation of their noise in units of the [0, 1] range; None: that of the process at t.
        cache: features of the clean images by the names of the metrics that computed them.
    """

    clean: Tensor
    measurement: Tensor | None = None
    process: StochasticDegradation | None = None
    t: float = 1.0
    sigma: float | None = None
    cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_images(self.clean, "clean")

    def noise_level(self, metric: str) -> float:
        """Return the standard deviation of the measurement's noise, for a metric.

        Raises:
            ValueError: if there is no measurement or no process.
        """
        if self.measurement is None or self.process is None:
            raise ValueError(f"{metric} needs the measurement and its process")
        if self.sigma:
            return self.sigma
        return self.process.sigma_of_measurement(self.measurement, self.t).max().item()


class Metric(ABC):
    """A quality of restored images.

    Attributes:
        name: column in every table, with the backbone or network that the values depend on.
        title: name in tables and on axes.
        higher_is_better: direction; None where neither end is best, and nothing can be chosen by the metric.
        unit: unit on axes; empty if there is none.
        digits: decimal places in tables.
        target: name of the target that stops where this metric is best, or None.
        abbreviation: the paper's abbreviation of that stopping point, "DO" or "PO"; it has a row in every table.
    """

    name: str
    title: str
    higher_is_better: bool | None = None
    unit: str = ""
    digits: int = 4
    target: str | None = None
    abbreviation: str = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Metric:
        return self  # keeps its network out of checkpoints and averaged copies of a module

    @classmethod
    def stopping_point_name(cls) -> str:
        """Name of its stopping point: "DO", "PO", "SWD"; in lower case its key in summaries."""
        return cls.abbreviation or cls.title

    @property
    def label(self) -> str:
        """Axis label: title, unit and direction."""
        direction = {True: ", higher is better", False: ", lower is better", None: ""}[self.higher_is_better]
        return f"{self.title}{f' [{self.unit}]' if self.unit else ''}{direction}"

    def best(self, rows: Sequence[Row]) -> Row:
        """Return the row with the best value, the first of equals; NaN and None are the worst.

        Raises:
            ValueError: if the metric has no direction.
        """
        if self.higher_is_better is None:
            raise ValueError(f"{self.name} has no direction: there is no best value")
        return min(rows, key=lambda row: self.cost(row[self.name]))

    def cost(self, value: float | None) -> float:
        """Return a number that is lower where the value is better; infinite for NaN and None."""
        if value is None or value != value:
            return float("inf")
        return -value if self.higher_is_better else value


class ImageMetric(Metric):
    """A metric of single images.

    Attributes:
        min_side: smallest side of images that can be compared, in pixels.
        may_be_nan: some images have no value, which is NaN; means leave them out.
    """

    min_side: int = 1
    may_be_nan: bool = False

    def check_size(self, side: int) -> None:
        """Refuse images of fewer pixels a side than `min_side`.

        Raises:
            ValueError: if they are too small.
        """
        if side < self.min_side:
            least = f"images of at least {self.min_side} pixels a side, got {side}"
            raise ValueError(f"{self.title} needs {least}: use larger images or leave the metric out")

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Reference) -> Tensor:
        """Compare restored images, (B, C, H, W), with their reference: (B,), on the CPU, in full precision.

        Raises:
            ValueError: if the images do not have the shape and device of the clean ones, or are too small.
        """
        check_images(images, "images", device=reference.clean.device)
        if images.shape != reference.clean.shape:
            shapes = f"{tuple(images.shape)} and {tuple(reference.clean.shape)}"
            raise ValueError(f"images: must have the shape of the clean images, got {shapes}. Compare equal batches.")
        self.check_size(min(images.shape[-2:]))
        with torch.autocast(images.device.type, enabled=False):
            return self.measure(images.float(), reference).cpu()

    def values(self, images: Tensor, reference: Reference) -> list[float | None]:
        """Return the values of a batch as numbers; None for images without one."""
        found = self(images, reference).tolist()
        return [None if self.may_be_nan and value != value else value for value in found]

    @abstractmethod
    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        """See `__call__`; images are float32 and not clipped."""


class FeatureNetwork(Protocol):
    """Features of images, compared by metrics of sets. Equal ones compute the same features."""

    def __hash__(self) -> int: ...

    def features(self, images: Tensor) -> Tensor:
        """Features of images in [0, 1], (B, C, H, W): (B, D), or patches of them, (B, L, P, D), on the CPU."""
        ...


class SetMetric(Metric):
    """A metric of a set of images against the set of clean ones.

    Attributes:
        extractor: computes the features that are compared; metrics with equal extractors share their features.
        min_images: number of images below which tables warn of the value.
        limit: number of images whose features are kept; of a larger set a sample of this size is compared.
    """

    extractor: FeatureNetwork
    min_images: int = 1
    limit: int = 1000

    @abstractmethod
    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        """Compare the features of two sets of images, (N, …) and (M, …); `seed` is for random subsets."""


def image_metrics(metrics: Sequence[Metric]) -> list[ImageMetric]:
    """Return the metrics of single images, in order."""
    return [metric for metric in metrics if isinstance(metric, ImageMetric)]


def set_metrics(metrics: Sequence[Metric]) -> list[SetMetric]:
    """Return the metrics of sets of images, in order."""
    return [metric for metric in metrics if isinstance(metric, SetMetric)]
