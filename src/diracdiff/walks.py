"""What is found along the reverse process: metrics of single images, FID of sets of images, and a few pictures."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from diracdiff.fidelity import Extractor, fid, kid
from diracdiff.metrics import ImageMetrics, mean
from diracdiff.samplers import State

KEYS = ("t", "nfe", "output")


def timed(states: Iterable[State], images: Tensor) -> Iterator[tuple[State, str, float]]:
    """Every result that the walk could stop with: the state, the output ("mean" where x_hat is fresh, and "iterate")
    and the seconds per image that the walk took up to there, for a batch like `images`."""
    elapsed, began = 0.0, clock(images)
    for state in states:
        before, elapsed = elapsed, elapsed + clock(images) - began
        for output in ("mean", "iterate") if state.fresh else ("iterate",):
            seconds = before if output == "iterate" and state.fresh else elapsed  # y is there before x_hat
            yield state, output, seconds / len(images)
        began = clock(images)


def scored(
    states: Iterable[State],
    clean: Tensor,
    metrics: ImageMetrics,
    consistency: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[tuple[State, str, dict[str, Tensor]]]:
    """Compare every result that the walk could stop with.

    Args:
        states: the reverse process of a batch.
        clean: the clean images, (B, C, H, W).
        metrics: what to compute.
        consistency: maps images to their distance from the measurement, (B,), or None.

    Yields:
        The state, the output ("mean" where x_hat is fresh, and "iterate"), and {metric: (B,)}, with `seconds`, the
        time that the walk took up to there per image.
    """
    for state, output, seconds in timed(states, clean):
        values = metrics(state.image(output), clean)
        if consistency is not None:
            values["consistency"] = consistency(state.image(output)).cpu()
        values["seconds"] = torch.full((len(clean),), seconds, dtype=torch.float64)
        yield state, output, values


def clock(images: Tensor) -> float:
    """Seconds on a clock that only moves on when the device of `images` has done its work."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter()


def _gathered(part: Any) -> list:
    """The part of every process."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return [part]
    parts: list = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


@dataclass
class ImageRows:
    """Metrics of single images: one row per image, time and output."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, names: list[str], seeds: list[int], state: State, output: str, values: dict[str, Tensor]) -> None:
        """Append the metrics {metric: (B,)} of a batch."""
        columns = {metric: value.tolist() for metric, value in values.items()}
        for i, (name, seed) in enumerate(zip(names, seeds, strict=True)):
            row = {"name": name, "seed": seed, "t": _key(state.t), "nfe": state.calls(output), "output": output}
            self.rows.append(row | {metric: column[i] for metric, column in columns.items()})

    def gathered(self) -> "ImageRows":
        """The rows of all processes, each image once, sorted: the same on every process and for any number of them."""
        rows = [row for part in _gathered(self.rows) for row in part]
        unique = {(row["name"], -row["t"], row["output"]): row for row in rows}
        return ImageRows([unique[key] for key in sorted(unique)])

    def at(self, t: float, output: str) -> list[dict[str, Any]]:
        """The rows of one time and output."""
        return [row for row in self.rows if row["t"] == t and row["output"] == output]

    def curve(self, sets: "dict[tuple, dict[str, float]] | None" = None) -> list[dict[str, Any]]:
        """Means over the images: a row per time and output with t, nfe, output, n and the metrics, t falling.

        Args:
            sets: metrics of whole sets of images, {(t, output): {metric: value}}, which are added.
        """
        groups = defaultdict(list)
        for row in self.rows:
            groups[tuple(row[key] for key in KEYS)].append(row)
        metrics = [key for key in (self.rows[0] if self.rows else {}) if key not in ("name", "seed", *KEYS)]
        return [
            dict(zip(KEYS, key, strict=True))
            | {"n": len(rows)}
            | {m: mean([r[m] for r in rows]) for m in metrics}
            | (sets or {}).get((key[0], key[2]), {})
            for key, rows in sorted(groups.items(), key=lambda item: (-item[0][0], item[0][2]))
        ]


@dataclass
class FeatureSets:
    """Features of the images at every time and output, and of the clean ones, for FID and KID.

    All of them are kept: 4 bytes times images, times and features.
    """

    features: dict[Any, dict[str, Tensor]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, key: Any, names: list[str], features: Tensor) -> None:
        """Add features (B, D) of images to the set `key`: (t, output), or "clean"."""
        self.features[key].update(zip(names, features, strict=True))

    def scores(self, extractor: Extractor, seed: int = 0) -> dict[tuple, dict[str, float]]:
        """FID and KID of every set from the clean one, over the images of all processes: {(t, output): {name: value}}.

        Raises:
            UserError: if there are fewer than two images.
        """
        merged: dict[Any, dict[str, Tensor]] = defaultdict(dict)
        for part in _gathered(dict(self.features)):
            for key, features in part.items():
                merged[key].update(features)
        sets = {key: torch.stack([of[name] for name in sorted(of)]) for key, of in merged.items()}
        clean = sets.pop("clean")
        return {
            key: {extractor.fid_name: fid(clean, of), extractor.kid_name: kid(clean, of, seed)}
            for key, of in sets.items()
        }


def _key(t: float) -> float:
    return round(t, 9)


class Walks:
    """What the walks of a validation or a test find: rows of single images, sets of features, and a few pictures.

    Args:
        metrics: of single images.
        extractor: of features for FID and KID, or None.
        gallery_size: number of images whose pictures are kept.

    Attributes:
        rows: metrics of single images.
        gallery: uint8 pictures on the CPU: "clean", and "mean"/"iterate" by time.
    """

    def __init__(self, metrics: ImageMetrics, extractor: Extractor | None = None, gallery_size: int = 6):
        self.metrics, self.extractor, self.gallery_size = metrics, extractor, gallery_size
        self.rows, self.gallery = ImageRows(), {}
        self._sets = FeatureSets()

    def add(
        self, batch: dict[str, Any], states: Iterable[State], consistency: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Walk, and keep what is found.

        Args:
            batch: clean images "x", their "name" and "seed".
            states: their reverse process.
            consistency: see `scored`.
        """
        names = [str(name) for name in batch["name"]]
        collect = not self.gallery
        if collect:
            self.gallery = {"clean": self._picture(batch["x"]), "mean": {}, "iterate": {}}
        if self.extractor is not None:
            self._sets.add("clean", names, self.extractor.features(batch["x"]))
        for state, output, values in scored(states, batch["x"], self.metrics, consistency):
            self.rows.add(names, batch["seed"], state, output, values)
            if self.extractor is not None:
                self._sets.add((_key(state.t), output), names, self.extractor.features(state.image(output)))
            if collect:
                self.gallery[output][_key(state.t)] = self._picture(state.image(output))

    def finish(self, seed: int = 0) -> list[dict[str, Any]]:
        """Gather the rows of all processes and return the trade-off curve over all images."""
        self.rows = self.rows.gathered()
        if not self.rows.rows:
            return []
        return self.rows.curve(self._sets.scores(self.extractor, seed) if self.extractor is not None else None)

    def _picture(self, images: Tensor) -> Tensor:
        return images[: self.gallery_size].detach().float().clamp(0, 1).mul(255).round().byte().cpu()
