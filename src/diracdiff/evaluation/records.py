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
from diracdiff.evaluation.statistics import mean
from diracdiff.metrics.metric import FeatureNetwork, Row, SetMetric

Key = tuple[float, str] | str
"""A set of images: (t, output), or "clean"."""

Point = tuple[float, int, str]
"""Stopping time, NFE and output."""


class Records:
    """Metrics of single images: a row per image, time and output.

    Args:
        metrics: names of the metrics.
    """

    def __init__(self, metrics: Sequence[str]):
        self.metrics = list(metrics)
        self._points: dict[Point, dict[str, tuple[float, ...]]] = {}

    def add(self, names: Sequence[str], seeds: Sequence[int], result: Result, values: dict[str, Tensor]) -> None:
        """Append the metrics {metric: (B,)} of a batch; of equal names the last one counts."""
        columns = [seeds, *(values[metric].tolist() for metric in self.metrics), [result.seconds] * len(names)]
        rows = self._points.setdefault((result.t, result.nfe, result.output), {})
        rows |= zip(names, zip(*columns, strict=True), strict=True)

    def gathered(self) -> Records:
        """Return the rows of all processes, each image once, sorted: the same for any number of processes."""
        whole, found = Records(self.metrics), defaultdict[Point, dict[str, tuple[float, ...]]](dict)
        for part in gather_from_all(self._points):
            for point, rows in part.items():
                found[point] |= rows
        whole._points = {point: dict(sorted(rows.items())) for point, rows in sorted(found.items(), key=_place)}
        return whole

    @property
    def rows(self) -> Iterator[Row]:
        """The rows by image, t falling: name, seed, t, nfe, output, the metrics, and seconds."""
        for name in sorted(set().union(*self._points.values())):
            yield from (self._row(point, name) for point, rows in self._points.items() if name in rows)

    def at(self, t: float, output: str) -> list[Row]:
        """Return the rows of one time and output."""
        points = [point for point in self._points if (point[0], point[2]) == (t, output)]
        return [self._row(point, name) for point in points for name in self._points[point]]

    def of(self, names: Sequence[str]) -> dict[Key, list[Row]]:
        """Return the rows of a few images, {(t, output): rows}, t falling."""
        return {
            (point[0], point[2]): [self._row(point, name) for name in rows if name in names]
            for point, rows in self._points.items()
        }

    def curve(self, sets: Mapping[Key, dict[str, float]]) -> list[Row]:
        """Return means over the images: a row per time and output with t, nfe, output, n and the metrics, t falling.

        Args:
            sets: metrics of whole sets of images to add, {(t, output): {metric: value}}.
        """
        curve = []
        for (t, nfe, output), rows in self._points.items():
            _, *columns = zip(*rows.values(), strict=True)
            means = {name: mean(column) for name, column in zip([*self.metrics, "seconds"], columns, strict=True)}
            curve.append({"t": t, "nfe": nfe, "output": output, "n": len(rows)} | means | sets.get((t, output), {}))
        return curve

    def _row(self, point: Point, name: str) -> Row:
        seed, *values = self._points[point][name]
        where = dict(zip(("name", "seed", "t", "nfe", "output"), (name, seed, *point), strict=True))
        return where | dict(zip([*self.metrics, "seconds"], values, strict=True))


def _place(item: tuple[Point, Any]) -> tuple[float, str]:
    """Return the place of a point in tables: t falling, outputs in the order of their names."""
    return -item[0][0], item[0][2]


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
