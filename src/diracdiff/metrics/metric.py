"""Interface of metrics of single images and of sets of images."""

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
"""Values of a table row by column name."""


@dataclass(frozen=True)
class Reference:
    """Clean images and measurements with which restored images are compared.

    Attributes:
        clean: clean images in [0, 1], (B, C, H, W).
        measurement: measurements of the clean images, (B, C, H, W), or None.
        process: degradation process of the measurements, or None.
        t: time of the measurements in [0, 1].
        sigma: standard deviation of the measurement noise in units of the [0, 1] range. None or 0: that of the process.
        cache: features of the clean images by name of the metric.

    Raises:
        ValueError: if `clean` is not a batch of images.
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
        """Return the standard deviation of the measurement noise.

        Args:
            metric: name of the metric, for the message.

        Raises:
            ValueError: if there is no measurement or no process.
        """
        if self.measurement is None or self.process is None:
            raise ValueError(f"{metric}: needs the measurement and its process. Use Restorer.reference.")
        if self.sigma:
            return self.sigma
        return self.process.sigma_of_measurement(self.measurement, self.t).max().item()


class Metric(ABC):
    """Base class of metrics of restored images.

    Attributes:
        name: column name, including the network on which the values depend.
        title: name in tables and on axes.
        higher_is_better: direction. None: no value is best, and the metric selects no stopping time.
        unit: unit on axes, or an empty string.
        digits: number of decimal places in tables.
        target: name of the target whose stopping time is selected by this metric, or None.
        abbreviation: the paper's abbreviation of this stopping time, "DO" or "PO", or an empty string.
    """

    name: str
    title: str
    higher_is_better: bool | None = None
    unit: str = ""
    digits: int = 4
    target: str | None = None
    abbreviation: str = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Metric:
        return self  # Checkpoints and averaged copies of a module must not contain the network.

    @classmethod
    def stopping_point_name(cls) -> str:
        """Return the name of the stopping point, such as "DO", "PO" or "SWD". Summaries use it in lower case."""
        return cls.abbreviation or cls.title

    @property
    def label(self) -> str:
        """Axis label with title, unit and direction."""
        direction = {True: ", higher is better", False: ", lower is better", None: ""}[self.higher_is_better]
        return f"{self.title}{f' [{self.unit}]' if self.unit else ''}{direction}"

    def best(self, rows: Sequence[Row]) -> Row:
        """Return the row with the best value, or the first of equal rows. NaN and None are the worst values.

        Args:
            rows: rows with a column of this metric.

        Raises:
            ValueError: if the metric has no direction.
        """
        if self.higher_is_better is None:
            raise ValueError(f"{self.name}: has no direction and therefore no best value. Use another metric.")
        return min(rows, key=lambda row: self.cost(row[self.name]))

    def cost(self, value: float | None) -> float:
        """Return a cost that is lower for better values, and infinite for NaN and None."""
        if value is None or value != value:
            return float("inf")
        return -value if self.higher_is_better else value


class ImageMetric(Metric):
    """Base class of metrics of single images.

    Attributes:
        min_side: smallest side of images in pixels.
        may_be_nan: NaN means that an image has no value. Means ignore these images.
    """

    min_side: int = 1
    may_be_nan: bool = False

    def check_size(self, side: int) -> None:
        """Check the shorter side of images.

        Args:
            side: shorter side in pixels.

        Raises:
            ValueError: if it is below `min_side`.
        """
        if side < self.min_side:
            rule = f"{self.title} needs at least {self.min_side} pixels a side, got {side}"
            raise ValueError(f"images: {rule}. Use larger images or omit the metric.")

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Reference) -> Tensor:
        """Compute the values of restored images, (B,), on the CPU, without autocast.

        Args:
            images: restored images, (B, C, H, W).
            reference: clean images and measurements.

        Raises:
            ValueError: if shape or device differ from those of the clean images, or the images are too small.
        """
        check_images(images, "images", device=reference.clean.device)
        if images.shape != reference.clean.shape:
            shapes = f"{tuple(images.shape)} and {tuple(reference.clean.shape)}"
            raise ValueError(f"images: must have the shape of the clean images, got {shapes}. Compare equal batches.")
        self.check_size(min(images.shape[-2:]))
        with torch.autocast(images.device.type, enabled=False):
            return self.measure(images.float(), reference).cpu()

    def values(self, images: Tensor, reference: Reference) -> list[float | None]:
        """Compute the values of restored images as numbers. Images without a value have None.

        Args:
            images: restored images, (B, C, H, W).
            reference: clean images and measurements.
        """
        values = self(images, reference).tolist()
        return [None if self.may_be_nan and value != value else value for value in values]

    @abstractmethod
    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        """Compute the values, (B,), of images, (B, C, H, W), float32 and not clipped, see `__call__`."""


class FeatureNetwork(Protocol):
    """Interface of feature networks of set metrics. Equal networks compute the same features."""

    def __hash__(self) -> int: ...

    def features(self, images: Tensor) -> Tensor:
        """Compute features, (B, D), or features of patches, (B, L, P, D), of images in [0, 1], (B, C, H, W).

        The features are on the CPU.
        """
        ...


class SetMetric(Metric):
    """Base class of metrics between a set of restored images and a set of clean images.

    Attributes:
        extractor: feature network. Metrics with equal networks share the features.
        min_images: number of images below which tables contain a warning.
        limit: largest number of images that are compared. Of a larger set, a random sample is used.
    """

    extractor: FeatureNetwork
    min_images: int = 1
    limit: int = 1000

    @abstractmethod
    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        """Compute the metric from the features of two sets of images.

        Args:
            clean: features of the clean images, (N, …).
            restored: features of the restored images, (M, …).
            seed: seed of random subsets.
        """


def image_metrics(metrics: Sequence[Metric]) -> list[ImageMetric]:
    """Return the metrics of single images in the given order."""
    return [metric for metric in metrics if isinstance(metric, ImageMetric)]


def set_metrics(metrics: Sequence[Metric]) -> list[SetMetric]:
    """Return the metrics of sets of images in the given order."""
    return [metric for metric in metrics if isinstance(metric, SetMetric)]
