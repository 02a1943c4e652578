"""Records of single images, and features of sets of images, over all processes of a run."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor

from diracdiff.evaluation.results import Result
from diracdiff.evaluation.statistics import mean
from diracdiff.metrics.metric import FeatureNetwork, Row, SetMetric

KEYS = ("t", "nfe", "output")
Key = tuple[float, str] | str
"""A set of images: (t, output), or "clean"."""


def rows_of(names: Sequence[str], values: dict[str, Tensor], **same: Any) -> list[Row]:
    """Return a row per image: its name, the columns common to the batch, and its values of {metric: (B,)}."""
    columns = {metric: value.tolist() for metric, value in values.items()}
    return [{"name": name} | same | {m: column[i] for m, column in columns.items()} for i, name in enumerate(names)]


def means(rows: Sequence[Row], leave_out: Sequence[str]) -> Row:
    """Return the mean of every column over rows of the same columns, except those left out."""
    return {key: mean([row[key] for row in rows]) for key in rows[0] if key not in leave_out}


class Records:
    """Metrics of single images: one row per image, time and output, held as columns, 8 bytes a value."""

    def __init__(self) -> None:
        self._columns: dict[tuple[float, int, str], _Columns] = {}

    def __len__(self) -> int:
        return sum(len(columns.names) for columns in self._columns.values())

    def add(self, names: Sequence[str], seeds: Sequence[int], result: Result, values: dict[str, Tensor]) -> None:
        """Append the metrics {metric: (B,)} of a batch."""
        columns = self._columns.setdefault((result.t, result.nfe, result.output), _Columns())
        seconds = [result.seconds] * len(names)
        columns.extend(names, seeds, {name: value.tolist() for name, value in values.items()} | {"seconds": seconds})

    def gathered(self) -> Records:
        """Return the rows of all processes, each image once, sorted: the same for any number of processes."""
        parts, whole = gather_from_all(self._columns), Records()
        for key in {key: None for part in parts for key in part}:
            joined = _Columns()
            for part in parts:
                if key in part:
                    joined.extend(part[key].names, part[key].seeds, part[key].values)
            whole._columns[key] = joined.sorted()
        return whole

    @property
    def rows(self) -> Iterator[Row]:
        """The rows by image, t falling: name, seed, t, nfe, output, the metrics, and seconds."""
        keys = [key for key, _ in self._by_time()]
        places = [{name: i for i, name in enumerate(self._columns[key].names)} for key in keys]
        for name in sorted(set().union(*places)):
            for key, place in zip(keys, places, strict=True):
                if name in place:
                    yield self._columns[key].row(place[name], key)

    def at(self, t: float, output: str) -> list[Row]:
        """Return the rows of one time and output."""
        found = [(key, columns) for key, columns in self._columns.items() if key[0] == t and key[2] == output]
        return [columns.row(i, key) for key, columns in found for i in range(len(columns.names))]

    def of(self, names: Sequence[str]) -> dict[Key, list[Row]]:
        """Return the rows of a few images, {(t, output): rows}, t falling."""
        return {
            (key[0], key[2]): [columns.row(i, key) for i, name in enumerate(columns.names) if name in names]
            for key, columns in self._by_time()
        }

    def curve(self, sets: dict[Key, dict[str, float]] | None = None) -> list[Row]:
        """Return means over the images: a row per time and output with t, nfe, output, n and the metrics, t falling.

        Args:
            sets: metrics of whole sets of images to add, {(t, output): {metric: value}}.
        """
        return [
            dict(zip(KEYS, key, strict=True))
            | {"n": len(columns.names)}
            | {name: mean(values) for name, values in columns.values.items()}
            | (sets or {}).get((key[0], key[2]), {})
            for key, columns in self._by_time()
        ]

    def _by_time(self) -> list[tuple[tuple[float, int, str], _Columns]]:
        return sorted(self._columns.items(), key=lambda item: (-item[0][0], item[0][2]))


class _Columns:
    """The rows of one time and output."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.seeds: array[int] = array("q")
        self.values: dict[str, array[float]] = {}

    def extend(self, names: Sequence[str], seeds: Iterable[int], values: Mapping[str, Iterable[float]]) -> None:
        self.names.extend(names)
        self.seeds.extend(seeds)
        for name, column in values.items():
            self.values.setdefault(name, array("d")).extend(column)

    def sorted(self) -> _Columns:
        """Return the rows by the names of the images, each once: the last one counts."""
        places = {name: i for i, name in enumerate(self.names)}
        order = [places[name] for name in sorted(places)]
        whole = _Columns()
        values = {name: [column[i] for i in order] for name, column in self.values.items()}
        whole.extend([self.names[i] for i in order], [self.seeds[i] for i in order], values)
        return whole

    def row(self, i: int, key: tuple[float, int, str]) -> Row:
        values = {name: column[i] for name, column in self.values.items()}
        return {"name": self.names[i], "seed": self.seeds[i]} | dict(zip(KEYS, key, strict=True)) | values


class FeatureSets:
    """Features of the images at every time and output, and of the clean ones, for metrics of sets.

    Args:
        metrics: metrics of sets of images; those with equal extractors share the features of a batch.
    """

    def __init__(self, metrics: Sequence[SetMetric] = ()):
        self.metrics = list(metrics)
        self._sets: list[dict[Key, Any]] = [{} for _ in self.metrics]

    def add(self, key: Key, names: Sequence[str], images: Tensor) -> None:
        """Add images, (B, C, H, W), to the set `key`."""
        features: dict[FeatureNetwork, Tensor] = {}
        for metric, sets in zip(self.metrics, self._sets, strict=True):
            if metric.extractor not in features:
                features[metric.extractor] = metric.extractor.features(images)
            if key not in sets:
                sets[key] = metric.empty_set()
            sets[key].add(names, features[metric.extractor])

    def scores(self, seed: int = 0) -> dict[Key, dict[str, float]]:
        """Return {(t, output): {metric: value}} over the images of all processes.

        Raises:
            ValueError: if there are fewer than two images.
        """
        found: dict[Key, dict[str, float]] = defaultdict(dict)
        for metric, sets in zip(self.metrics, self._sets, strict=True):
            parts = gather_from_all(sets)
            keys = {key: None for part in parts for key in part}
            merge = type(metric.empty_set()).merged
            clean = merge([part["clean"] for part in parts if "clean" in part]) if keys else None
            for key in keys:
                if key != "clean":
                    restored = merge([part[key] for part in parts if key in part])
                    found[key][metric.name] = metric.score_sets(clean, restored, seed)
        return found


def gather_from_all(part: Any) -> list[Any]:
    """Return the objects of all processes, in their order."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts
