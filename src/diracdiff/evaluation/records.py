"""Metrics of single images and features of sets of images, gathered over all processes."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.evaluation.results import Result
from diracdiff.evaluation.statistics import mean_ignoring_none
from diracdiff.metrics.metric import FeatureNetwork, Row, SetMetric
from diracdiff.utils.ranks import all_gather_objects

Key = tuple[float, str] | str
"""Key of a set of images: (t, output) or "clean"."""


class Records:
    """Metrics of single images, with one row per image, time and output."""

    def __init__(self) -> None:
        self._points: dict[tuple[float, str], dict[str, Row]] = {}  # by (-t, output) and name

    def add(
        self, names: Sequence[str], seeds: Sequence[int], result: Result, values: dict[str, list[float | None]]
    ) -> None:
        """Add the metrics of a batch. A row with an existing name replaces the earlier row.

        Args:
            names: name of each image.
            seeds: noise seed of each image.
            result: restored images with their time, output, NFE and seconds.
            values: {metric: value of each image}.
        """
        rows = self._points.setdefault((-result.t, result.output), {})
        point = {"t": result.t, "nfe": result.nfe, "output": result.output}
        for i, (name, seed) in enumerate(zip(names, seeds, strict=True)):
            metrics = {metric: column[i] for metric, column in values.items()}
            rows[name] = {"name": name, "seed": seed} | point | metrics | {"seconds": result.seconds}

    def gather(self) -> Records:
        """Return the sorted rows of all processes, each image once, independent of the number of processes."""
        merged, points = Records(), defaultdict[tuple[float, str], dict[str, Row]](dict)
        for part in all_gather_objects(self._points):
            for point, rows in part.items():
                points[point] |= rows
        merged._points = {point: dict(sorted(rows.items())) for point, rows in sorted(points.items())}
        return merged

    @property
    def rows(self) -> Iterator[Row]:
        """Rows by image and decreasing t: name, seed, t, nfe, output, metrics, seconds."""
        for name in sorted(set().union(*self._points.values())):
            yield from (rows[name] for rows in self._points.values() if name in rows)

    def at(self, t: float, output: str) -> list[Row]:
        """Return the rows of one time and output ("x_hat" or "iterate")."""
        return list(self._points.get((-t, output), {}).values())

    def curve(self, sets: Mapping[Key, dict[str, float]]) -> list[Row]:
        """Compute the trade-off curve: means over the images for each time and output, in decreasing order of t.

        Args:
            sets: metrics of sets of images to add, {(t, output): {metric: value}}.

        Returns:
            Rows with t, nfe, output, the number n of images, the metrics and seconds.
        """
        curve = []
        for rows in self._points.values():
            first = next(iter(rows.values()))
            row = {key: first[key] for key in ("t", "nfe", "output")} | {"n": len(rows)}
            columns = [column for column in first if column not in ("name", "seed", *row)]
            row |= {column: mean_ignoring_none([image[column] for image in rows.values()]) for column in columns}
            curve.append(row | sets.get((row["t"], row["output"]), {}))
        return curve


class FeatureSample:
    """Features of a bounded sample of images. The sample is determined by the names of the images.

    Args:
        limit: maximum number of images.

    Attributes:
        features: features of the sampled images by name.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.features: dict[str, NDArray[Any]] = {}
        self._ranks: list[tuple[int, str]] = []  # heap; the first image is the next to be removed

    def add(self, features: Mapping[str, NDArray[Any]]) -> None:
        """Add the features of images by name. An existing name is replaced."""
        for name, values in features.items():
            if name not in self.features:
                heapq.heappush(
                    self._ranks,
                    (-int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()), name),
                )
            self.features[name] = values
            if len(self.features) > self.limit:
                del self.features[heapq.heappop(self._ranks)[1]]

    def stack(self) -> Tensor:
        """Return the features in the order of the names, (N, ...)."""
        return torch.from_numpy(np.stack([self.features[name] for name in sorted(self.features)]))


class FeatureSets:
    """Features of the clean images and of the images at each time and output, for metrics of sets of images.

    Args:
        metrics: metrics of sets of images. Metrics with the same extractor compute the features of a batch once.
    """

    def __init__(self, metrics: Sequence[SetMetric] = ()):
        self.metrics = list(metrics)
        self._sets: list[dict[Key, FeatureSample]] = [{} for _ in self.metrics]

    def add(self, key: Key, names: Sequence[str], images: Tensor) -> None:
        """Add images to a set.

        Args:
            key: key of the set.
            names: name of each image.
            images: images, (B, C, H, W).
        """
        by_extractor: dict[FeatureNetwork, dict[str, NDArray[Any]]] = {}
        for metric, sets in zip(self.metrics, self._sets, strict=True):
            if metric.extractor not in by_extractor:
                features = metric.extractor.features(images).numpy()
                by_extractor[metric.extractor] = {name: features[i].copy() for i, name in enumerate(names)}
            sets.setdefault(key, FeatureSample(metric.limit)).add(by_extractor[metric.extractor])

    def scores(self, seed: int = 0) -> dict[Key, dict[str, float]]:
        """Compute the metrics of the sets over the images of all processes.

        Args:
            seed: seed of metrics that sample subsets.

        Returns:
            {(t, output): {metric: value}}.

        Raises:
            ValueError: if there are fewer than two images.
        """
        scores: dict[Key, dict[str, float]] = defaultdict(dict)
        for metric, sets in zip(self.metrics, self._sets, strict=True):
            keys = dict.fromkeys(key for part in all_gather_objects(list(sets)) for key in part)
            clean = None
            for key in keys:  # one set at a time, because all sets of all processes are large; "clean" is the first
                sample = FeatureSample(metric.limit)
                for part in all_gather_objects(sets[key].features if key in sets else {}):
                    sample.add(part)
                if clean is None:
                    clean = sample.stack()
                else:
                    scores[key][metric.name] = metric.score(clean, sample.stack(), seed)
        return scores
