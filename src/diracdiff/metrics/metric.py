"""What a metric is: a name, a direction, a unit, and a way to measure, of single images or of sets of images.

Whoever lists, sorts, prints, plots or picks stopping times asks the metric. A new one is a class in a file of its own,
a line in `diracdiff.metrics.METRICS`, and a YAML file in conf/metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from diracdiff.metrics.gathering import Sample
from diracdiff.process import StochasticDegradation
from diracdiff.utils.errors import UserError
from diracdiff.utils.validate import check_images

Row = dict[str, Any]
"""Values by column."""


@dataclass(frozen=True)
class Reference:
    """What restored images are compared with.

    Attributes:
        clean: clean images in [0, 1], (B, C, H, W).
        measurement: what was measured of them, (B, C, H, W), or None.
        process: that made the measurement, or None.
        t: time of the measurement.
        sigma: standard deviation of its noise in units of the [0, 1] range; None: the process's at t.
        kept: what metrics have found of the clean images, by their names, for the next result.
    """

    clean: Tensor
    measurement: Tensor | None = None
    process: StochasticDegradation | None = None
    t: float = 1.0
    sigma: float | None = None
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_images(self.clean, "clean")


class Metric(ABC):
    """A quality of restored images.

    Attributes:
        name: of the column in every table, with the backbone or network that its values depend on.
    """

    title: str
    """In words, for tables and axes."""

    higher_is_better: bool | None = None
    """The direction; None where neither end is best, and nothing can be picked by it."""

    unit: str = ""
    """For axes; empty where there is none."""

    digits: int = 4
    """Decimal places in tables."""

    target: str | None = None
    """What a user types to stop where this metric is best, or None."""

    abbreviation: str = ""
    """Of the stop in the paper's words; such stops have a row in every table, measured or not."""

    depends_on: str = ""
    """What its values depend on besides the images, in words: rows with another one do not compare."""

    how_to_measure: str = ""
    """What to add to diracdiff evaluate to measure it."""

    name: str

    def __deepcopy__(self, memo: dict[int, Any]) -> Metric:
        return self  # its network is nobody's submodule and in no checkpoint

    @classmethod
    def meaning(cls) -> str:
        """What its stop is, in words: "DO, the best PSNR"."""
        return f"{cls.abbreviation}, the best {cls.title}" if cls.abbreviation else f"the best {cls.title}"

    @classmethod
    def stop_title(cls) -> str:
        """Of its stop in tables: "DO (best PSNR)"."""
        return f"{cls.abbreviation} (best {cls.title})" if cls.abbreviation else f"best {cls.title}"

    @classmethod
    def stop_name(cls) -> str:
        """Of its stop in pictures: "DO", "PO", "SWD"."""
        return cls.abbreviation or cls.title

    @classmethod
    def stop_key(cls) -> str:
        """Of its stop in summaries: "do", "po", "fid"."""
        return cls.abbreviation.lower() or str(cls.target)

    @property
    def label(self) -> str:
        """For axes: title, unit and direction."""
        direction = {True: ", higher is better", False: ", lower is better", None: ""}[self.higher_is_better]
        return f"{self.title}{f' [{self.unit}]' if self.unit else ''}{direction}"

    def best(self, rows: Sequence[Row]) -> Row:
        """The row with the best value, the first of equals; NaN is the worst.

        Raises:
            ValueError: if the metric has no direction.
        """
        if self.higher_is_better is None:
            raise ValueError(f"{self.name} has no direction: there is no best value")
        return min(rows, key=lambda row: self.cost(row[self.name]))

    def cost(self, value: float) -> float:
        """A number that is lower where the value is better; infinite for NaN."""
        if value != value:
            return float("inf")
        return -value if self.higher_is_better else value


class ImageMetric(Metric):
    """A metric of single images."""

    def check_size(self, side: int) -> None:
        """Find out before any work whether images of so many pixels a side can be compared.

        Raises:
            UserError: if they are too small.
        """

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Reference) -> Tensor:
        """Compare restored images, (B, C, H, W), with their reference: (B,), on the CPU, in full precision.

        Raises:
            UserError: if the images are no batch like the clean ones, or too small, see `check_size`.
        """
        check_images(images, "images", device=reference.clean.device)
        if images.shape != reference.clean.shape:
            shapes = f"{tuple(images.shape)} and {tuple(reference.clean.shape)}"
            raise UserError(f"images: must have the shape of the clean images, got {shapes}. Compare equal batches.")
        self.check_size(min(images.shape[-2:]))
        with torch.autocast(images.device.type, enabled=False):
            return self.measure(images.float(), reference).cpu()

    @abstractmethod
    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        """See `__call__`; images are float32 and not clipped."""


class FeatureNetwork(Protocol):
    """Features of images, which set metrics compare."""

    def features(self, images: Tensor) -> Tensor:
        """Features of images in [0, 1], (B, C, H, W): (B, D), or patches of them, (B, L, P, D), on the CPU."""
        ...


class SetMetric(Metric):
    """A metric of a set of images against the set of clean ones.

    Attributes:
        extractor: of the features it compares; metrics that share one share its work.
    """

    extractor: FeatureNetwork

    fewest: int = 1
    """Number of images below which tables warn of the value."""

    limit: int = 1000
    """Of images whose features are kept in an evaluation: a larger set is judged by so many, see `Sample`."""

    @abstractmethod
    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        """Compare the features of two sets of images, (N, …) and (M, …); `seed` is for those that draw at random."""

    def gathering(self) -> Any:
        """What keeps the features of a set in an evaluation: a `Gathering`, empty."""
        return Sample(self.limit)

    def score_gathered(self, clean: Any, restored: Any, seed: int) -> float:
        """Compare what was kept of two sets, see `gathering` and `score`."""
        return self.score(clean.features(), restored.features(), seed)


def image_metrics(metrics: Sequence[Metric]) -> list[ImageMetric]:
    """Those of single images, in order."""
    return [metric for metric in metrics if isinstance(metric, ImageMetric)]


def set_metrics(metrics: Sequence[Metric]) -> list[SetMetric]:
    """Those of sets of images, in order."""
    return [metric for metric in metrics if isinstance(metric, SetMetric)]


class Missing(Metric):
    """A metric that was asked for and cannot be measured: its column stays empty, and nothing is picked by it.

    Args:
        metric: the class of the metric.
        name: of the column.
    """

    def __init__(self, metric: type[Metric], name: str):
        self.metric, self.name = metric, name
        self.title, self.digits = metric.title, metric.digits
