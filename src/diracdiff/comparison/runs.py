"""Runs of contenders over measurements, kept batch by batch so that an interrupted comparison goes on."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diracdiff import __version__
from diracdiff.checkpoints.weights import read_weights, write_weights
from diracdiff.comparison.contenders import Contender, Setting
from diracdiff.comparison.measurements import Batch, Measurements
from diracdiff.evaluation import measured
from diracdiff.evaluation.records import means, rows_of
from diracdiff.evaluation.results import Result
from diracdiff.metrics import Metric, Reference, Row
from diracdiff.metrics.metric import SetMetric, image_metrics, set_metrics
from diracdiff.process import StochasticDegradation
from diracdiff.utils.pixels import to_pixels
from diracdiff.utils.ranks import Ranks

MIB = 2**20
PART = "a part that diracdiff compare wrote"


@dataclass
class Run:
    """What a contender made of the measurements with one setting.

    Attributes:
        rows: one per image and stop: name, stop, calls, seconds and the metrics.
        images: {stop: uint8 (N, C, H, W)} of the stops that were kept.
        gallery: {stop: uint8 (N, C, H, W)} of the first few images, of every stop that was measured.
        features: {metric of sets: {stop: features}} likewise, with those of the clean images under "clean".
        memory: peak in MiB: of what is allocated on a GPU, or of the whole process on a CPU; None where unknown.
    """

    rows: list[Row]
    images: dict[str, Tensor]
    features: dict[str, dict[str, Tensor]]
    memory: float | None
    gallery: dict[str, Tensor] = field(default_factory=dict)

    def of(self, stop: str) -> list[Row]:
        """The rows of one stop, in the order of the images."""
        return [row for row in self.rows if row["stop"] == stop]

    def means(self) -> dict[str, Row]:
        """{stop: {column: mean over the images}}, in the order of the walk."""
        stops = dict.fromkeys(row["stop"] for row in self.rows)
        return {stop: means(self.of(stop), ("name", "stop")) for stop in stops}

    def score(self, metric: SetMetric, stop: str, seed: int) -> float:
        """A metric of the set of a stop's images."""
        features = self.features[metric.name]
        return metric.score(features["clean"], features[stop], seed)


class Runner:
    """Runs contenders.

    Args:
        folder: for what is kept.
        process: the degradation process of the measurements.
        metrics: of single images and of sets.
        batch_size: measurements at a time.
        device: where.
        progress: called with a description after every batch, with the number done and the number of all.
        ranks: processes that share the batches, and the folder.
    """

    def __init__(
        self,
        folder: Path,
        process: StochasticDegradation,
        metrics: Sequence[Metric],
        batch_size: int,
        device: str = "cpu",
        progress: Callable[[str, int, int], None] | None = None,
        ranks: Ranks | None = None,
    ):
        self.folder, self.process, self.metrics = folder, process, list(metrics)
        self.ranks = Ranks() if ranks is None else ranks
        self.batch_size, self.device, self.progress = batch_size, device, progress

    def run(
        self,
        contender: Contender,
        setting: Setting,
        measurements: Measurements,
        keep: Callable[[str], bool],
        description: str,
        only: Collection[str] | None = None,
        gallery: int = 0,
    ) -> Run:
        """Restore all measurements, but for batches that were done before with the same everything.

        Args:
            contender: what restores them.
            setting: of the contender.
            measurements: of a split.
            keep: whether the images of a stop are to be kept.
            description: of the run, for progress.
            only: measure these stops alone, and walk no further than the last of them; None: every one.
            gallery: number of images, the first ones, that are kept of every stop.
        """
        batches = list(measurements.batches(self.batch_size, self.device))
        folder = self.folder / contender.name / self._key(contender, setting, measurements)
        paths = [folder / f"{i:05d}.pt" for i in range(len(batches))]
        parts: dict[int, dict[str, Any]] = {}
        for i in self.ranks.share(range(len(batches))):
            if self.progress is not None:
                self.progress(description, i, len(batches))
            part = read_weights(paths[i], PART) if paths[i].exists() else None
            few = min(max(gallery - i * self.batch_size, 0), len(batches[i].names))
            if part is None or not _holds(part, keep, only, few):
                part = self._part(contender, setting, batches[i], keep, only, few)
                write_weights(paths[i], part)
            parts[i] = part
        if self.progress is not None:
            self.progress(description, len(batches), len(batches))
        self.ranks.wait()
        return _joined([parts[i] if i in parts else read_weights(path, PART) for i, path in enumerate(paths)])

    def _key(self, contender: Contender, setting: Setting, measurements: Measurements) -> str:
        """A name for all that a run's results follow from."""
        names = [metric.name for metric in self.metrics]
        identity = (contender.identity, setting, measurements.digest, names, self.batch_size)
        return hashlib.sha256(json.dumps([__version__, *identity], sort_keys=True).encode()).hexdigest()[:16]

    def _part(
        self,
        contender: Contender,
        setting: Setting,
        batch: Batch,
        keep: Callable[[str], bool],
        only: Collection[str] | None,
        few: int,
    ) -> dict[str, Any]:
        given = batch.y.clone()
        rows: list[Row] = []
        images: dict[str, Tensor] = {}
        kept: dict[str, Tensor] = {}
        gallery: dict[str, Tensor] = {}
        reference = Reference(batch.x, batch.y, self.process.bind_images(batch.seeds, batch.x))
        _forget_peak_memory(self.device)
        found = contender.results(batch, setting) if only is None else _until(contender.results(batch, setting), only)
        for result, values in measured(found, reference, image_metrics(self.metrics)):
            rows += rows_of(batch.names, values, stop=result.stop, calls=result.nfe, seconds=result.seconds)
            if keep(result.stop):
                images[result.stop], kept[result.stop] = to_pixels(result.images).cpu(), result.images
            if few:
                gallery[result.stop] = to_pixels(result.images[:few]).cpu()
        memory = _peak_memory(self.device)
        if not torch.equal(given, batch.y):
            raise RuntimeError(f"{contender.name} changed the measurements that it was given")
        compared = {"clean": batch.x, **kept} if kept else {}
        features = {
            metric.name: {stop: metric.extractor.features(of) for stop, of in compared.items()}
            for metric in set_metrics(self.metrics)
        }
        asked = None if only is None else sorted(only)
        pictures = {"images": images, "gallery": gallery, "few": few}
        return {"rows": rows, "features": features, "memory": memory, "only": asked, **pictures}


def _holds(part: dict[str, Any], keep: Callable[[str], bool], only: Collection[str] | None, few: int) -> bool:
    """Whether what was kept of a batch holds the stops that are asked for, with the images of those to be kept."""
    asked = part.get("only")
    if part.get("few", 0) < few or (asked is not None and (only is None or not set(only) <= set(asked))):
        return False
    return all(row["stop"] in part["images"] for row in part["rows"] if keep(row["stop"]))


def _until(results: Iterable[Result], stops: Collection[str]) -> Iterator[Result]:
    """The results at these stops, as far as the last of them."""
    left = set(stops)
    for result in results:
        if result.stop in left:
            yield result
            left.remove(result.stop)
        if not left:
            return


def _joined(parts: list[dict[str, Any]]) -> Run:
    memories = [part["memory"] for part in parts if part["memory"] is not None]
    return Run(
        [row for part in parts for row in part["rows"]],
        _concatenated([part["images"] for part in parts]),
        {name: _concatenated([part["features"][name] for part in parts]) for name in parts[0]["features"]},
        max(memories, default=None),
        _concatenated([part["gallery"] for part in parts if "gallery" in part]),
    )


def _concatenated(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([part[key] for part in parts if key in part]) for key in {k: None for p in parts for k in p}}


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
