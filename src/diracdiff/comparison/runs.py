"""Runs of contenders over measurements, kept batch by batch so that an interrupted comparison goes on."""

import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diracdiff import __version__
from diracdiff.checkpoint import read_weights
from diracdiff.comparison.contenders import Contender, Setting
from diracdiff.comparison.measurements import Batch, Measurements
from diracdiff.fidelity import Extractor, fid
from diracdiff.files import replacing
from diracdiff.metrics import ImageMetrics, mean
from diracdiff.process import StochasticDegradation

MIB = 2**20


@dataclass
class Run:
    """What a contender made of the measurements with one setting.

    Attributes:
        rows: one per image and stop: name, stop, calls, seconds and the metrics.
        images: {stop: uint8 (N, C, H, W)} of the stops that were kept.
        features: likewise, with those of the clean images under "clean"; for FID.
        memory: peak in MiB: of what is allocated on a GPU, or of the whole process on a CPU; None where unknown.
    """

    rows: list[dict[str, Any]]
    images: dict[str, Tensor]
    features: dict[str, Tensor]
    memory: float | None

    def of(self, stop: str) -> list[dict[str, Any]]:
        """The rows of one stop, in the order of the images."""
        return [row for row in self.rows if row["stop"] == stop]

    def means(self) -> dict[str, dict[str, float]]:
        """{stop: {column: mean over the images}}, in the order of the walk."""
        stops = dict.fromkeys(row["stop"] for row in self.rows)
        columns = [key for key in self.rows[0] if key not in ("name", "stop")]
        return {stop: {column: mean([row[column] for row in self.of(stop)]) for column in columns} for stop in stops}

    def fid(self, stop: str) -> float:
        """FID of a stop's images."""
        return fid(self.features["clean"], self.features[stop])


class Runner:
    """Runs contenders.

    Args:
        folder: for what is kept.
        process: the degradation process of the measurements.
        metrics: of single images.
        extractor: of features for FID, or None.
        batch_size: measurements at a time.
        device: where.
        progress: called with a description after every batch, with the number done and the number of all.
    """

    def __init__(
        self,
        folder: Path,
        process: StochasticDegradation,
        metrics: ImageMetrics,
        extractor: Extractor | None,
        batch_size: int,
        device: str = "cpu",
        progress: Callable[[str, int, int], None] | None = None,
    ):
        self.folder, self.process, self.metrics, self.extractor = folder, process, metrics, extractor
        self.batch_size, self.device, self.progress = batch_size, device, progress

    def run(
        self,
        contender: Contender,
        setting: Setting,
        measurements: Measurements,
        keep: Callable[[str], bool],
        description: str,
    ) -> Run:
        """Restore all measurements, but for batches that were done before with the same everything.

        Args:
            keep: whether the images of a stop are to be kept.
        """
        batches = list(measurements.batches(self.batch_size, self.device))
        folder = self.folder / contender.name / self._key(contender, setting, measurements)
        parts = []
        for i, batch in enumerate(batches):
            if self.progress is not None:
                self.progress(description, i, len(batches))
            path = folder / f"{i:05d}.pt"
            part = read_weights(path, "a part that diracdiff.compare wrote") if path.exists() else None
            if part is None or not all(row["stop"] in part["images"] for row in part["rows"] if keep(row["stop"])):
                part = self._part(contender, setting, batch, keep)
                with replacing(path) as file:
                    torch.save(part, file)
            parts.append(part)
        if self.progress is not None:
            self.progress(description, len(batches), len(batches))
        return _joined(parts)

    def _key(self, contender: Contender, setting: Setting, measurements: Measurements) -> str:
        """A name for all that a run's results follow from."""
        fid_name = self.extractor.fid_name if self.extractor is not None else None
        identity = (contender.identity, setting, measurements.digest, self.metrics.names, fid_name, self.batch_size)
        return hashlib.sha256(json.dumps([__version__, *identity], sort_keys=True).encode()).hexdigest()[:16]

    def _part(self, contender: Contender, setting: Setting, batch: Batch, keep: Callable[[str], bool]) -> dict:
        given = batch.y.clone()
        rows, images, features = [], {}, {}
        _forget_peak_memory(self.device)
        for stop, restored, calls, seconds in contender.results(batch, setting):
            values = self.metrics(restored, batch.x)
            level = self.process.sigma(1.0, batch.y).flatten()
            consistency = self.process.residual(batch.y, restored.to(batch.y.dtype)).sqrt() / level
            columns = {key: value.tolist() for key, value in (values | {"consistency": consistency}).items()}
            for j, name in enumerate(batch.names):
                row = {"name": name, "stop": stop, "calls": calls, "seconds": seconds}
                rows.append(row | {key: column[j] for key, column in columns.items()})
            if keep(stop):
                images[stop] = restored.float().clamp(0, 1).mul(255).round().byte().cpu()
                if self.extractor is not None:
                    features[stop] = self.extractor.features(restored)
        memory = _peak_memory(self.device)
        if not torch.equal(given, batch.y):
            raise RuntimeError(f"{contender.name} changed the measurements that it was given")
        if self.extractor is not None and images:
            features["clean"] = self.extractor.features(batch.x)
        return {"rows": rows, "images": images, "features": features, "memory": memory}


def _joined(parts: list[dict[str, Any]]) -> Run:
    images, features = defaultdict(list), defaultdict(list)
    for part in parts:
        for target, source in ((images, part["images"]), (features, part["features"])):
            for key, tensor in source.items():
                target[key].append(tensor)
    memories = [part["memory"] for part in parts if part["memory"] is not None]
    return Run(
        [row for part in parts for row in part["rows"]],
        {key: torch.cat(tensors) for key, tensors in images.items()},
        {key: torch.cat(tensors) for key, tensors in features.items()},
        max(memories, default=None),
    )


def _forget_peak_memory(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # not Linux, or a kernel that does not let us
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory(device: str) -> float | None:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / MIB
    try:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) / 1024
    except (OSError, KeyError):
        return None
