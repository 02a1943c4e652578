"""Runs of methods on measurements. Each batch is saved, so that an interrupted comparison resumes."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diracdiff import __version__
from diracdiff.checkpoints.weights import read_weights, write_weights
from diracdiff.comparison.measurements import Batch, Measurements
from diracdiff.comparison.methods import ComparedMethod, Setting
from diracdiff.evaluation.posterior import SAMPLE_METRICS
from diracdiff.evaluation.results import Result
from diracdiff.evaluation.statistics import mean_ignoring_none
from diracdiff.metrics import Metric, Reference, Row
from diracdiff.metrics.metric import SetMetric, image_metrics, set_metrics
from diracdiff.process import StochasticDegradation
from diracdiff.utils.console import track
from diracdiff.utils.pixels import to_pixels
from diracdiff.utils.ranks import Processes


@dataclass
class Run:
    """Restorations of measurements by a method with one setting.

    Attributes:
        rows: one row per image and stopping time: name, stop, calls (NFE), seconds and metrics. Metrics of samples
            are None at stopping times that are not in the table.
        images: {stopping time: uint8 (N, C, H, W)} of the first images.
        features: {metric of sets: {stopping time of the table, or "clean": features}}.
    """

    rows: list[Row]
    images: dict[str, Tensor] = field(default_factory=dict)
    features: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def rows_at(self, stop: str) -> list[Row]:
        """Return the rows of one stopping time, in the order of the images."""
        return [row for row in self.rows if row["stop"] == stop]

    def means(self) -> dict[str, Row]:
        """Return {stopping time: {column: mean over the images}}, in the order of the trajectory."""
        stopping_points = dict.fromkeys(row["stop"] for row in self.rows)
        columns = [column for column in self.rows[0] if column not in ("name", "stop")]
        rows = {stop: self.rows_at(stop) for stop in stopping_points}
        return {
            stop: {c: mean_ignoring_none([row[c] for row in rows[stop]]) for c in columns} for stop in stopping_points
        }

    def score(self, metric: SetMetric, stop: str, seed: int) -> float:
        """Compute a metric of the set of all images at a stopping time."""
        features = self.features[metric.name]
        return metric.score(features["clean"], features[stop], seed)


@dataclass
class Runner:
    """Runner of methods.

    Attributes:
        folder: folder of finished batches.
        process: degradation process of the measurements.
        metrics: metrics of single images and of sets.
        batch_size: number of measurements per batch.
        device: device of the methods.
        pictures: number of restored images to keep, beginning with the first.
        ranks: processes that divide the batches among them.
        samples: number of samples per measurement for SAMPLE_METRICS, at the stopping times of the table; 0: none.
    """

    folder: Path
    process: StochasticDegradation
    metrics: Sequence[Metric]
    batch_size: int
    device: str = "cpu"
    pictures: int = 4
    ranks: Processes = field(default_factory=Processes)
    samples: int = 0

    def run(
        self,
        method: ComparedMethod,
        setting: Setting,
        measurements: Measurements,
        description: str,
        stopping_points: Collection[str] = (),
    ) -> Run:
        """Restore measurements and compute the metrics. Saved batches of an equal run are loaded.

        Args:
            method: the method.
            setting: setting of the method.
            measurements: measurements of a split.
            description: text next to the progress bar.
            stopping_points: stopping times of the table, for pictures and metrics of sets; empty: neither.
        """
        batches = list(measurements.batches(self.batch_size, self.device))
        names = [metric.name for metric in self.metrics]
        identity = [__version__, method.identity, setting, measurements.digest, names, self.batch_size]
        identity += [sorted(stopping_points), self.pictures if stopping_points else 0]
        identity += [self.samples] if stopping_points and self.samples else []
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        paths = [self.folder / method.name / key / f"{i:05d}.pt" for i in range(len(batches))]
        restore = None
        for i in track([i for i in self.ranks.shard(range(len(batches))) if not paths[i].exists()], description):
            restore = restore or method.prepare(setting)
            num_pictures = max(self.pictures - i * self.batch_size, 0) if stopping_points else 0
            write_weights(paths[i], self._evaluate_batch(restore, batches[i], stopping_points, num_pictures))
        self.ranks.wait()
        return load_run(paths)

    def _evaluate_batch(
        self,
        restore: Callable[[Batch], Iterator[Result]],
        batch: Batch,
        stopping_points: Collection[str],
        num_pictures: int,
    ) -> dict[str, Any]:
        """Restore a batch, compute its metrics, and keep pictures of its first images."""
        rows: list[Row] = []
        images: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {"clean": batch.x} if stopping_points else {}
        reference = Reference(batch.x, batch.y, self.process.bind_images(batch.seeds, batch.x))
        for result in restore(batch._replace(y=batch.y.clone())):
            same = {"stop": result.stop, "calls": result.nfe, "seconds": result.seconds}
            values = {metric.name: metric.values(result.images, reference) for metric in image_metrics(self.metrics)}
            for i, name in enumerate(batch.names):
                rows.append({"name": name} | same | {metric: column[i] for metric, column in values.items()})
            if num_pictures:
                images[result.stop] = to_pixels(result.images[:num_pictures]).cpu()
            if result.stop in stopping_points:
                outputs[result.stop] = result.images
        features = {
            metric.name: {stop: metric.extractor.features(images) for stop, images in outputs.items()}
            for metric in set_metrics(self.metrics)
        }
        if stopping_points and self.samples:
            first = {stop: images for stop, images in outputs.items() if stop in stopping_points}
            samples = {"clean": batch.x[None]} | self._draw_samples(restore, batch, first)
            for metric in SAMPLE_METRICS:
                if isinstance(metric, SetMetric):
                    features[metric.name] = {stop: metric.extractor.features(drawn) for stop, drawn in samples.items()}
                    continue
                found = {
                    stop: metric.values(drawn, batch.x) for stop, drawn in samples.items() if stop in stopping_points
                }
                for i, row in enumerate(rows):
                    row[metric.name] = found[row["stop"]][i % len(batch.names)] if row["stop"] in found else None
        return {"rows": rows, "features": features, "images": images}

    def _draw_samples(
        self, restore: Callable[[Batch], Iterator[Result]], batch: Batch, first: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return {stopping time: samples (K, B, C, H, W)}. `first` holds the first sample at each stopping time."""
        samples = {stop: [images] for stop, images in first.items()}
        for k in range(1, self.samples):
            for result in restore(batch._replace(y=batch.y.clone(), sample=k)):
                if result.stop in samples:
                    samples[result.stop].append(result.images)
                if all(len(images) > k for images in samples.values()):
                    break
        return {stop: torch.stack(images) for stop, images in samples.items()}


def load_run(paths: Sequence[Path]) -> Run:
    """Load a run from the files of its batches."""
    parts = [read_weights(path, "a part that diracdiff compare wrote") for path in paths]
    return Run(
        [row for part in parts for row in part["rows"]],
        _concatenate([part["images"] for part in parts]),
        {name: _concatenate([part["features"][name] for part in parts]) for name in parts[0]["features"]},
    )


def _concatenate(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([part[key] for part in parts if key in part]) for key in {k: None for p in parts for k in p}}
