"""Files that are restored: read, walked from, tested against their measurement, written."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diracdiff.console import track, track_images
from diracdiff.data.inputs import Input
from diracdiff.data.originals import Original, load_original
from diracdiff.errors import UserError, warn
from diracdiff.evaluation.calibration import Tally
from diracdiff.evaluation.pictures import heat_map, residual_map
from diracdiff.evaluation.uncertainty import Spread
from diracdiff.ranks import Ranks
from diracdiff.restoration.asked import Asked
from diracdiff.restoration.ledger import Ledger
from diracdiff.restoration.own import Told, inner
from diracdiff.restoration.testing import Tester
from diracdiff.restorer import Restorer
from diracdiff.seeds import image_seed
from diracdiff.storage.files import read_rows, write_rows
from diracdiff.storage.image_files import write_image
from diracdiff.storage.pictures import NOTHING, Belongings, save_picture


@dataclass
class Restoration:
    """Restores files with one setting.

    Args:
        restorer: that restores.
        asked: how, and what is written.
        output: the folder of the results.

    Attributes:
        restored: number of images whose results are written.
        failed: {file: why it was not restored}.
        rows: what is said of every restored image.
    """

    restorer: Restorer
    asked: Asked
    output: Path
    restored: int = 0
    failed: dict[Path, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = self.output / "uncertainty.csv"
        self._rows: dict[str, dict[str, Any]] = {}
        if self.asked.interval and self.table.is_file():
            self._rows = {row["image"]: row for row in read_rows(self.table)}
        self._ledger, self._tester = Ledger(self.output), Tester(self.restorer, self.asked, self.output)

    def done(self, path: Path) -> bool:
        """Whether the table has the row of an image, where there is to be one."""
        return self.asked.interval is None or str(path) in self._rows

    def run(self, batches: Sequence[Sequence[Input]], ranks: Ranks) -> None:
        """Restore this process's share of the batches; the tables hold what is done even if it is broken off."""
        mine = ranks.share(batches)
        try:
            with track_images(sum(len(batch) for batch in mine), "restoring") as advance:
                for batch in mine:
                    self.restore(batch)
                    advance(len(batch))
        except BaseException:
            if ranks.world == 1:
                self._write_table([self._rows])
                self._ledger.close([])
            raise
        counts = ranks.gathered((self.restored, self.failed, self._rows, self._ledger.rows))
        self.restored, self.failed = sum(c[0] for c in counts), {p: why for c in counts for p, why in c[1].items()}
        self.rows = [row for c in counts for row in c[3]]
        if ranks.rank == 0:
            self._write_table([c[2] for c in counts])
            self._ledger.close(self.rows)

    def restore(self, batch: Sequence[Input]) -> None:
        """Restore images of one size and write the results; those that cannot be restored are named and left out."""
        loaded: dict[Any, list[tuple[Input, Original, Tensor | None]]] = {}
        for image in batch:
            try:
                own = self.asked.told.of(image.path, image.size) if self.asked.told else None
                one = image, load_original(image.path, image.bits), own
            except UserError as error:
                self.leave_out(image.path, str(error))
            else:
                loaded.setdefault(None if own is None else own.shape, []).append(one)
        for group in loaded.values():
            y = torch.stack([original.image for _, original, _ in group]).to(self.restorer.device)
            files = [own for _, _, own in group if own is not None]
            told = Told.of(self.restorer, [image.path.name for image, _, _ in group], y, files)
            with self.restorer.process.degradation.of(told.own):
                self._restore([(image, original) for image, original, _ in group], y, told)

    def _restore(self, loaded: Sequence[tuple[Input, Original]], files: Tensor, told: Told) -> None:
        began, restorer, degradation = time.perf_counter(), self.restorer, self.restorer.process.degradation
        names = [image.path.name for image, _ in loaded]
        measured = [f"measurement/{name}" for name in names]
        if self.asked.degrade:
            y, margin = restorer.measure(files, measured).y, 0
        else:
            y, margin = told.prepared(restorer, files, measured)
        samples = restorer.samples(y, self.asked.samples, self.asked.target, names=names)
        whole, x_hat = inner(samples, margin), samples[0]
        if told.holes is not None and not self.asked.degrade:
            whole = torch.where(told.holes.unsqueeze(1), samples, files)
        seconds = (time.perf_counter() - began) / len(loaded)
        spread = Spread(whole) if self.asked.interval else None
        for i, (image, original) in enumerate(loaded):
            if not samples[:, i].isfinite().all():
                self.leave_out(image.path, f"{image.path}: its result is not a number at every pixel, and not written")
                continue
            step = 0.0 if self.asked.degrade else original.step
            with degradation.of(told.one(i)):
                row, z = self._tester.row(image, y[i], x_hat[i], step, seconds, margin)
            pictures = {"restored": whole[0, i], "measurement": inner(y[i], margin)}
            self._write(image, original, pictures, spread, i, z)
            self._ledger.add(row)
            self.restored += 1

    def _write(
        self,
        image: Input,
        original: Original,
        pictures: dict[str, Tensor],
        spread: Spread | None,
        i: int,
        z: Tensor,
    ) -> None:
        if self.asked.interval and spread:
            pictures |= self.asked.interval.pictures(spread, i)
            write_image(image.targets["uncertainty"], heat_map(spread.std[i].mean(0).cpu()))
            self._rows[str(image.path)] = {"image": str(image.path), **self.asked.interval.row(spread, i)}
        if self.asked.residual_map:
            write_image(image.targets["residual"], residual_map((z.sum(0) / len(z) ** 0.5).cpu()))
        whole = Belongings(original.alpha, original.icc, original.exif)
        for name, picture in pictures.items():
            if name in image.targets:
                with_it = whole if name in ("restored", "mean") else NOTHING
                save_picture(image.targets[name], picture, image.grey, image.bits, with_it)

    def leave_out(self, path: Path, reason: str) -> None:
        """Name an image that is not restored."""
        self.failed[path] = reason
        warn(reason, from_every_process=True)

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
        if self.asked.interval and rows:
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
        with restorer.process.of_images([image_seed(restorer.seed, name) for name in names], x):
            y = restorer.measure(x, [f"measurement/{name}" for name in names]).y
            tally.add(Spread(restorer.samples(y, samples, target, names=names)), x)
    return tally
