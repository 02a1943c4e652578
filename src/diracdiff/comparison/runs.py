"""Runs of contenders over measurements, saved batch by batch so that an interrupted comparison resumes."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diracdiff import __version__
from diracdiff.checkpoints.weights import read_weights, write_weights
from diracdiff.comparison.contenders import Contender, Setting
from diracdiff.comparison.measurements import Batch, Measurements
from diracdiff.evaluation import mean
from diracdiff.evaluation.results import Result
from diracdiff.metrics import Metric, Reference, Row
from diracdiff.metrics.metric import SetMetric, image_metrics, set_metrics
from diracdiff.process import StochasticDegradation
from diracdiff.utils.pixels import to_pixels
from diracdiff.utils.ranks import Ranks

PART = "a part that diracdiff compare wrote"


@dataclass
class Run:
    """Restorations of measurements by a contender with one setting.

    Attributes:
        rows: one per image and stopping time: name, stop, calls, seconds and the metrics.
        images: {stop: uint8 (N, C, H, W)} of the first images.
        features: {metric of sets: {stop: features}} of the stopping times of the table, and of the clean images under
            "clean".
        memory: peak of a GPU's memory in MiB, or None.
    """

    rows: list[Row]
    images: dict[str, Tensor] = field(default_factory=dict)
    features: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    memory: float | None = None

    def of(self, stop: str) -> list[Row]:
        """Return the rows of one stopping time, in the order of the images."""
        return [row for row in self.rows if row["stop"] == stop]

    def means(self) -> dict[str, Row]:
        """Return {stop: {column: mean over the images}}, in the order of the trajectory."""
        stops = dict.fromkeys(row["stop"] for row in self.rows)
        columns = [column for column in self.rows[0] if column not in ("name", "stop")]
        return {stop: {column: mean([row[column] for row in self.of(stop)]) for column in columns} for stop in stops}

    def score(self, metric: SetMetric, stop: str, seed: int) -> float:
        """Compute a metric of the set of images of a stopping time."""
        features = self.features[metric.name]
        return metric.score(features["clean"], features[stop], seed)


@dataclass
class Runner:
    """Runs contenders.

    Attributes:
        folder: where finished batches are saved.
        process: degradation process of the measurements.
        metrics: of single images and of sets.
        batch_size: measurements at a time.
        device: that runs them.
        pictures: number of images, the first ones, whose restorations are kept.
        progress: called before a batch with a description, the number of finished batches and of all.
        ranks: processes that share the batches and the folder.
    """

    folder: Path
    process: StochasticDegradation
    metrics: Sequence[Metric]
    batch_size: int
    device: str = "cpu"
    pictures: int = 4
    progress: Callable[[str, int, int], None] | None = None
    ranks: Ranks = field(default_factory=Ranks)

    def run(
        self,
        contender: Contender,
        setting: Setting,
        measurements: Measurements,
        description: str,
        stops: Collection[str] = (),
    ) -> Run:
        """Restore and measure all measurements; batches that were saved by an equal run are read.

        Args:
            contender: that restores them.
            setting: of the contender.
            measurements: of a split.
            description: of the run, for progress.
            stops: stopping times of the table, for metrics of sets; without any no pictures are kept.
        """
        batches = list(measurements.batches(self.batch_size, self.device))
        names = [metric.name for metric in self.metrics]
        identity = [__version__, contender.identity, setting, measurements.digest, names, self.batch_size]
        identity += [sorted(stops), self.pictures if stops else 0]
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        paths = [self.folder / contender.name / key / f"{i:05d}.pt" for i in range(len(batches))]
        restore = None
        for i in self.ranks.share(range(len(batches))):
            if self.progress is not None:
                self.progress(description, i, len(batches))
            if paths[i].exists():
                continue
            restore = contender.prepare(setting) if restore is None else restore
            few = max(self.pictures - i * self.batch_size, 0) if stops else 0
            given = batches[i].y.clone()
            part = self._part(restore, batches[i], stops, few)
            if not torch.equal(given, batches[i].y):
                raise RuntimeError(f"{contender.name} changed the measurements that it was given")
            write_weights(paths[i], part)
        self.ranks.wait()
        parts = [read_weights(path, PART) for path in paths]
        return Run(
            [row for part in parts for row in part["rows"]],
            _concatenate([part["images"] for part in parts]),
            {name: _concatenate([part["features"][name] for part in parts]) for name in parts[0]["features"]},
            max((part["memory"] for part in parts if part["memory"] is not None), default=None),
        )

    def _part(self, restore: Callable[[Batch], Any], batch: Batch, stops: Collection[str], few: int) -> dict[str, Any]:
        """Restore and measure a batch, and keep pictures of its first few images."""
        rows: list[Row] = []
        images: dict[str, Tensor] = {}
        kept: dict[str, Tensor] = {"clean": batch.x} if stops else {}
        reference = Reference(batch.x, batch.y, self.process.bind_images(batch.seeds, batch.x))
        gpu = self.device.startswith("cuda")
        if gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        result: Result
        for result in restore(batch):
            same = {"stop": result.stop, "calls": result.nfe, "seconds": result.seconds}
            values = {metric.name: metric(result.images, reference).tolist() for metric in image_metrics(self.metrics)}
            rows += [
                {"name": name} | same | {metric: column[i] for metric, column in values.items()}
                for i, name in enumerate(batch.names)
            ]
            if few:
                images[result.stop] = to_pixels(result.images[:few]).cpu()
            if result.stop in stops:
                kept[result.stop] = result.images
        memory = torch.cuda.max_memory_allocated(self.device) / 2**20 if gpu else None
        features = {
            metric.name: {stop: metric.extractor.features(images) for stop, images in kept.items()}
            for metric in set_metrics(self.metrics)
        }
        return {"rows": rows, "features": features, "memory": memory, "images": images}


def _concatenate(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([part[key] for part in parts if key in part]) for key in {k: None for p in parts for k in p}}
