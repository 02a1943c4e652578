"""Records of single images, and features of sets of images, over all processes of a run."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.evaluation.results import Result
from diracdiff.evaluation.statistics import mean_of_known
from diracdiff.metrics.metric import FeatureNetwork, Row, SetMetric

Key = tuple[float, str] | str
"""A set of images: (t, output), or "clean"."""


class Records:
    """Metrics of single images: a row per image, time and output."""

    def __init__(self) -> None:
        self._points: dict[tuple[float, str], dict[str, Row]] = {}  # by (-t, output) and name

    def add(
        self, names: Sequence[str], seeds: Sequence[int], result: Result, values: dict[str, list[float | None]]
    ) -> None:
        """Append the metrics {metric: values} of a batch; of equal names the last one counts."""
        rows = self._points.setdefault((-result.t, result.output), {})
        where = {"t": result.t, "nfe": result.nfe, "output": result.output}
        for i, (name, seed) in enumerate(zip(names, seeds, strict=True)):
            figures = {metric: column[i] for metric, column in values.items()}
            rows[name] = {"name": name, "seed": seed} | where | figures | {"seconds": result.seconds}

    def gathered(self) -> Records:
        """Return the rows of all processes, each image once, sorted: the same for any number of processes."""
        whole, points = Records(), defaultdict[tuple[float, str], dict[str, Row]](dict)
        for part in gather_from_all(self._points):
            for point, rows in part.items():
                points[point] |= rows
        whole._points = {point: dict(sorted(rows.items())) for point, rows in sorted(points.items())}
        return whole

    @property
    def rows(self) -> Iterator[Row]:
        """The rows by image, t falling: name, seed, t, nfe, output, the metrics, and seconds."""
        for name in sorted(set().union(*self._points.values())):
            yield from (rows[name] for rows in self._points.values() if name in rows)

    def at(self, t: float, output: str) -> list[Row]:
        """Return the rows of one time and output."""
        return list(self._points.get((-t, output), {}).values())

    def curve(self, sets: Mapping[Key, dict[str, float]]) -> list[Row]:
        """Return means over the images: a row per time and output with t, nfe, output, n and the metrics, t falling.

        Args:
            sets: metrics of whole sets of images to add, {(t, output): {metric: value}}.
        """
        curve = []
        for rows in self._points.values():
            first = next(iter(rows.values()))
            row = {key: first[key] for key in ("t", "nfe", "output")} | {"n": len(rows)}
            columns = [column for column in first if column not in ("name", "seed", *row)]
            row |= {column: mean_of_known([each[column] for each in rows.values()]) for column in columns}
            curve.append(row | sets.get((row["t"], row["output"]), {}))
        return curve


class Sample:
    """Features of at most a number of images; which images follows from their names alone.

    Args:
        limit: largest number of images.

    Attributes:
        features: those of the images by their names.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.features: dict[str, NDArray[Any]] = {}
        self._ranks: list[tuple[int, str]] = []  # a heap: first the image that is left out next

    def add(self, features: Mapping[str, NDArray[Any]]) -> None:
        """Add the features of images by their names; of equal names the last one counts."""
        for name, values in features.items():
            if name not in self.features:
                heapq.heappush(
                    self._ranks,
                    (-int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()), name),
                )
            self.features[name] = values
            if len(self.features) > self.limit:
                del self.features[heapq.heappop(self._ranks)[1]]

    def stacked(self) -> Tensor:
        """Return the features, (N, …), in the order of the names."""
        return torch.from_numpy(np.stack([self.features[name] for name in sorted(self.features)]))


class FeatureSets:
    """Features of the images at every time and output, and of the clean ones, for metrics of sets.

    Args:
        metrics: metrics of sets of images; those with equal extractors share the features of a batch.
    """

    def __init__(self, metrics: Sequence[SetMetric] = ()):
        self.metrics = list(metrics)
        self._sets: list[dict[Key, Sample]] = [{} for _ in self.metrics]

    def add(self, key: Key, names: Sequence[str], images: Tensor) -> None:
        """Add images, (B, C, H, W), to the set `key`."""
        found: dict[FeatureNetwork, dict[str, NDArray[Any]]] = {}
        for metric, sets in zip(self.metrics, self._sets, strict=True):
            if metric.extractor not in found:
                features = metric.extractor.features(images).numpy()
                found[metric.extractor] = {name: features[i].copy() for i, name in enumerate(names)}
            sets.setdefault(key, Sample(metric.limit)).add(found[metric.extractor])

    def scores(self, seed: int = 0) -> dict[Key, dict[str, float]]:
        """Return {(t, output): {metric: value}} over the images of all processes.

        Raises:
            ValueError: if there are fewer than two images.
        """
        scores: dict[Key, dict[str, float]] = defaultdict(dict)
        for metric, sets in zip(self.metrics, self._sets, strict=True):
            whole: dict[Key, Sample] = {}
            for part in gather_from_all(sets):
                for key, sample in part.items():
                    whole.setdefault(key, Sample(metric.limit)).add(sample.features)
            for key, sample in whole.items():
                if key != "clean":
                    scores[key][metric.name] = metric.score(whole["clean"].stacked(), sample.stacked(), seed)
        return scores


def gather_from_all(part: Any) -> list[Any]:
    """Return the objects of all processes, in their order."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts
