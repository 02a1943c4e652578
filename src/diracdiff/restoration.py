"""Files that are restored: past those that cannot be, shared by processes, and on where an earlier command stopped."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diracdiff.console import track
from diracdiff.data.images import load_image
from diracdiff.data.inputs import Input
from diracdiff.errors import UserError
from diracdiff.evaluation.calibration import Interval, Tally
from diracdiff.evaluation.pictures import heat_map
from diracdiff.evaluation.uncertainty import Spread
from diracdiff.pixels import from_pixels
from diracdiff.ranks import Ranks
from diracdiff.restorer import Restorer
from diracdiff.storage.files import read_rows, save_image, save_pixels, write_rows


@dataclass
class Restoration:
    """Restores files with one setting.

    Args:
        restorer: that restores.
        target: where it stops, see `Restorer.stop_for`.
        samples: of each image.
        interval: of every pixel, or None; then there is no table either.
        degrade: whether images are clean and are measured first.
        table: CSV file of intervals.

    Attributes:
        restored: number of images whose results are written.
        failed: {file: why it was not restored}.
    """

    restorer: Restorer
    target: str
    samples: int
    interval: Interval | None
    degrade: bool
    table: Path
    restored: int = 0
    failed: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        if self.interval and self.table.is_file():
            self._rows = {row["image"]: row for row in read_rows(self.table)}

    def done(self, path: Path) -> bool:
        """Whether the table has the row of an image, where there is to be one."""
        return self.interval is None or str(path) in self._rows

    def run(self, batches: Sequence[Sequence[Input]], ranks: Ranks) -> None:
        """Restore this process's share of the batches; the table holds what is done even if it is broken off."""
        try:
            for batch in track(ranks.share(batches), description="restoring"):
                self.restore(batch)
        except BaseException:
            if ranks.world == 1:
                self._write_table([self._rows])
            raise
        counts = ranks.gathered((self.restored, self.failed, self._rows))
        self.restored, self.failed = sum(c[0] for c in counts), {p: why for c in counts for p, why in c[1].items()}
        if ranks.rank == 0:
            self._write_table([c[2] for c in counts])

    def restore(self, batch: Sequence[Input]) -> None:
        """Restore images of one size and write the results; those that cannot be restored are named and left out."""
        loaded: list[tuple[Input, Tensor]] = []
        for image in batch:
            try:
                loaded.append((image, load_image(image.path)))
            except UserError as error:
                self.leave_out(image.path, str(error))
        if not loaded:
            return
        names = [image.path.name for image, _ in loaded]
        y = from_pixels(torch.stack([pixels for _, pixels in loaded]).to(self.restorer.device))
        if self.degrade:
            y = self.restorer.measure(y, [f"measurement/{name}" for name in names]).y
        samples = self.restorer.samples(y, self.samples, self.target, names=names)
        spread = Spread(samples) if self.interval else None
        for i, (image, _) in enumerate(loaded):
            if not samples[:, i].isfinite().all():
                self.leave_out(image.path, f"{image.path}: its result is not a number at every pixel, and not written")
                continue
            pictures = {"restored": samples[0, i]} | ({"measurement": y[i]} if self.degrade else {})
            if self.interval and spread:
                pictures |= self.interval.pictures(spread, i)
                save_pixels(image.targets["uncertainty"], heat_map(spread.std[i].mean(0).cpu()))
                self._rows[str(image.path)] = {"image": str(image.path), **self.interval.row(spread, i)}
            for name, picture in pictures.items():
                save_image(image.targets[name], picture, image.grey)
            self.restored += 1

    def leave_out(self, path: Path, reason: str) -> None:
        """Name an image that is not restored."""
        self.failed[path] = reason
        print(f"warning: {reason}", file=sys.stderr, flush=True)

    def check(self) -> None:
        """Raise UserError if images were left out."""
        if count := len(self.failed):
            of = count + self.restored
            raise UserError(
                f"{count} of {of} image{'s' * (of > 1)} not restored, see the warning{'s' * (count > 1)} above; after "
                "mending them the same command with existing=skip restores what is missing"
            )

    def _write_table(self, parts: Sequence[dict[str, dict[str, Any]]]) -> None:
        rows = {path: row for part in parts for path, row in part.items()}
        if self.interval and rows:
            write_rows(self.table, [rows[path] for path in sorted(rows)])


def tallied(
    restorer: Restorer, batches: Iterable[dict[str, Any]], samples: int, target: str, description: str
) -> Tally:
    """What the spreads of several samples hold of clean images, which are measured first.

    Args:
        restorer: that restores.
        batches: {"x", "name"} of clean images.
        samples: of each image.
        target: where walks stop.
        description: for progress.
    """
    tally = Tally()
    for batch in track(batches, description=description):
        x, names = batch["x"].to(restorer.device), [str(name) for name in batch["name"]]
        y = restorer.measure(x, [f"measurement/{name}" for name in names]).y
        tally.add(Spread(restorer.samples(y, samples, target, names=names)), x)
    return tally
