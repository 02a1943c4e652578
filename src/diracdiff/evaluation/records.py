"""Records of single images, and features of sets of images, over all processes of a run."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from diracdiff.evaluation.metric import Row, SetMetric
from diracdiff.evaluation.results import Result
from diracdiff.evaluation.statistics import mean

KEYS = ("t", "nfe", "output")
Key = tuple[float, str] | str
"""A set of images: (t, output), or "clean"."""


def rows_of(names: Sequence[str], values: dict[str, Tensor], **same: Any) -> list[Row]:
    """A row per image: its name, what is the same for all of a batch, and its values of {metric: (B,)}."""
    columns = {metric: value.tolist() for metric, value in values.items()}
    return [{"name": name} | same | {m: column[i] for m, column in columns.items()} for i, name in enumerate(names)]


def means(rows: Sequence[Row], leave_out: Sequence[str]) -> Row:
    """The mean of every column over rows of the same columns, but for those left out."""
    return {key: mean([row[key] for row in rows]) for key in rows[0] if key not in leave_out}


@dataclass
class Records:
    """Metrics of single images: one row per image, time and output."""

    rows: list[Row] = field(default_factory=list)

    def add(self, names: Sequence[str], seeds: Sequence[int], result: Result, values: dict[str, Tensor]) -> None:
        """Append the metrics {metric: (B,)} of a batch."""
        seconds = torch.full((len(names),), result.seconds, dtype=torch.float64)
        stop = {"t": result.t, "nfe": result.nfe, "output": result.output}
        new = rows_of(names, values | {"seconds": seconds}, **stop)
        self.rows += [{"name": row["name"], "seed": seed} | row for row, seed in zip(new, seeds, strict=True)]

    def gathered(self) -> "Records":
        """The rows of all processes, each image once, sorted: the same on every process and for any number of them."""
        rows = [row for part in of_all_processes(self.rows) for row in part]
        unique = {(row["name"], -row["t"], row["output"]): row for row in rows}
        return Records([unique[key] for key in sorted(unique)])

    def at(self, t: float, output: str) -> list[Row]:
        """The rows of one time and output."""
        return [row for row in self.rows if row["t"] == t and row["output"] == output]

    def curve(self, sets: dict[Key, dict[str, float]] | None = None) -> list[Row]:
        """Means over the images: a row per time and output with t, nfe, output, n and the metrics, t falling.

        Args:
            sets: metrics of whole sets of images, {(t, output): {metric: value}}, which are added.
        """
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[tuple(row[key] for key in KEYS)].append(row)
        return [
            dict(zip(KEYS, key, strict=True))
            | {"n": len(rows)}
            | means(rows, ("name", "seed", *KEYS))
            | (sets or {}).get((key[0], key[2]), {})
            for key, rows in sorted(groups.items(), key=lambda item: (-item[0][0], item[0][2]))
        ]


@dataclass
class FeatureSets:
    """Features of the images at every time and output, and of the clean ones, for metrics of sets.

    All of them are kept: 4 bytes times images, times and features.

    Args:
        metrics: of sets of images; those that share an extractor share its features.
    """

    metrics: Sequence[SetMetric] = ()

    def __post_init__(self) -> None:
        self.extractors = list({id(metric.extractor): metric.extractor for metric in self.metrics}.values())
        self._features: list[dict[Key, dict[str, Tensor]]] = [defaultdict(dict) for _ in self.extractors]

    def add(self, key: Key, names: Sequence[str], images: Tensor) -> None:
        """Add images, (B, C, H, W), to the set `key`."""
        for extractor, sets in zip(self.extractors, self._features, strict=True):
            sets[key].update(zip(names, extractor.features(images), strict=True))

    def scores(self, seed: int = 0) -> dict[Key, dict[str, float]]:
        """Every metric of every set from the clean one, over the images of all processes: {(t, output): {name: value}}.

        Raises:
            UserError: if there are fewer than two images.
        """
        found: dict[Key, dict[str, float]] = defaultdict(dict)
        joined = [self._joined(sets) for sets in self._features]
        for metric in self.metrics:
            sets = joined[self.extractors.index(metric.extractor)]
            for key in sets:
                if key != "clean":
                    found[key][metric.name] = metric.score(sets["clean"], sets[key], seed)
        return found

    @staticmethod
    def _joined(sets: dict[Key, dict[str, Tensor]]) -> dict[Key, Tensor]:
        merged: dict[Key, dict[str, Tensor]] = defaultdict(dict)
        for part in of_all_processes(dict(sets)):
            for key, features in part.items():
                merged[key].update(features)
        return {key: torch.stack([of[name] for name in sorted(of)]) for key, of in merged.items()}


def of_all_processes(part: Any) -> list[Any]:
    """The part of every process."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts
