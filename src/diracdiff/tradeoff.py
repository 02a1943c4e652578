"""The trade-off between distortion and perception along the reverse process, and where to stop on it.

PSNR of x_hat peaks early in the reverse process while LPIPS goes on improving (paper, Fig. 3). The
distortion-optimised time t_DO is where mean PSNR is highest, the perception-optimised time t_PO where mean
LPIPS is lowest, of x_hat or of the iterate, both on validation images.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist
from torch import Tensor

from diracdiff.metrics import ImageMetrics, mean
from diracdiff.samplers import State

KEYS = ("t", "nfe", "output")

Stop = dict[str, Any]
"""A stopping time and what to take there: {"t": float, "output": "mean" or "iterate"}."""


def scored(states: Iterable[State], clean: Tensor, metrics: ImageMetrics) -> Iterator[tuple[State, str, dict]]:
    """Compare every result that the walk could stop with.

    Args:
        states: the reverse process of a batch.
        clean: the clean images, (B, C, H, W).
        metrics: what to compute.

    Yields:
        The state, the output ("mean" where x_hat is fresh, and "iterate"), and {metric: (B,)}.
    """
    for state in states:
        for output in ("mean", "iterate") if state.fresh else ("iterate",):
            yield state, output, metrics(state.image(output), clean)


@dataclass
class ImageRows:
    """Metrics of single images: one row per image, time and output."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, names: list[str], seeds: list[int], state: State, output: str, values: dict[str, Tensor]) -> None:
        """Append the metrics {metric: (B,)} of a batch."""
        columns = {metric: value.tolist() for metric, value in values.items()}
        for i, (name, seed) in enumerate(zip(names, seeds, strict=True)):
            row = {"name": name, "seed": seed, "t": round(state.t, 9), "nfe": state.calls(output), "output": output}
            self.rows.append(row | {metric: column[i] for metric, column in columns.items()})

    def gathered(self) -> "ImageRows":
        """The rows of all processes, each image once, sorted: the same on every process and for any number of them."""
        rows = self.rows
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            parts: list = [None] * dist.get_world_size()
            dist.all_gather_object(parts, rows)
            rows = [row for part in parts for row in part]
        unique = {(row["name"], -row["t"], row["output"]): row for row in rows}
        return ImageRows([unique[key] for key in sorted(unique)])

    def curve(self) -> list[dict[str, Any]]:
        """Means over the images: a row per time and output with t, nfe, output, n and the metrics, t falling."""
        groups = defaultdict(list)
        for row in self.rows:
            groups[tuple(row[key] for key in KEYS)].append(row)
        metrics = [key for key in (self.rows[0] if self.rows else {}) if key not in ("name", "seed", *KEYS)]
        return [
            dict(zip(KEYS, key, strict=True)) | {"n": len(rows)} | {m: mean([r[m] for r in rows]) for m in metrics}
            for key, rows in sorted(groups.items(), key=lambda item: (-item[0][0], item[0][2]))
        ]


def stopped(curve: list[dict[str, Any]], stop: float, output: str) -> dict[str, Any]:
    """The row of a curve where a walk with this stopping time ends: the last time that is at least `stop`."""
    return min((r for r in curve if r["output"] == output and r["t"] >= stop - 1e-9), key=lambda r: r["t"])


def stopping_points(curve: list[dict[str, Any]]) -> dict[str, Stop | None]:
    """Where to stop, and with which output: {"psnr": DO, "lpips": PO}; PO is None where LPIPS was not measured.

    Of equal values the earlier stop, which needs fewer network calls, counts.

    Args:
        curve: rows as `ImageRows.curve` makes them.
    """
    rows = sorted(curve, key=lambda row: row["nfe"])
    lpips = next((key for key in rows[0] if key.startswith("lpips_")), None)
    best = {"psnr": max(rows, key=lambda row: row["psnr"])}
    best["lpips"] = min(rows, key=lambda row: row[lpips]) if lpips else None
    return {target: row and {"t": row["t"], "output": row["output"]} for target, row in best.items()}


def summarise(curve: list[dict[str, Any]], stopping: dict[str, Stop | None]) -> dict[str, dict | None]:
    """The rows of a curve that matter: measurement, one_shot, do and po (None where there is no such stop)."""
    rows = {"measurement": stopped(curve, 1.0, "iterate"), "one_shot": stopped(curve, 1.0, "mean")}
    for name, target in (("do", "psnr"), ("po", "lpips")):
        stop = stopping[target]
        rows[name] = stopped(curve, stop["t"], stop["output"]) if stop is not None else None
    return rows
