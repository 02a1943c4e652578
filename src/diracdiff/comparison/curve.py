"""Dirac over its stopping time with one setting: a curve of means, and a few images at every stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diracdiff.comparison.contenders import Setting
from diracdiff.comparison.runs import Run
from diracdiff.metrics import Row
from diracdiff.report.pictures import values_of


@dataclass(frozen=True)
class Curve:
    """x_hat by falling t.

    Attributes:
        setting: of Dirac.
        points: means over the images, with "stop".
        images: {stop: uint8 (N, C, H, W)} of the first few images.
        rows: {stop: rows, one per image}, in the order of the points.
    """

    setting: Setting
    points: list[Row]
    images: dict[str, Tensor]
    rows: dict[str, list[Row]]

    @classmethod
    def of(cls, run: Run, setting: Setting) -> Curve:
        """The curve of a run of Dirac."""
        points = [{"stop": stop} | row for stop, row in run.means().items() if stop.startswith("mean ")]
        return cls(setting, points, run.gallery, {point["stop"]: run.of(point["stop"]) for point in points})

    @property
    def name(self) -> str:
        """What it is called in pictures and pages."""
        label = ", ".join(f"{key} {value}" for key, value in self.setting.items())
        return f"Dirac over t{f' ({label})' if label else ''}"

    @property
    def pictures(self) -> dict[tuple[str, str], Tensor]:
        """The images of its points, by its name and the stop."""
        stops = [point["stop"] for point in self.points]
        return {(self.name, stop): self.images[stop] for stop in stops if stop in self.images}

    def plain(self) -> dict[str, Any]:
        """What a page shows of its means."""
        return {"name": self.name, "setting": self.setting, "points": self.points}

    def shown(self, pictures: dict[Any, list[str]], names: Sequence[str]) -> list[list[dict[str, Any]]]:
        """What a page shows of images: of each, its picture and its figures at every point.

        Args:
            pictures: {(name, stop): data URIs}; stops may be without.
            names: of the images.
        """
        at = [(pictures.get((self.name, stop)), values_of(rows, names)) for stop, rows in self.rows.items()]
        return [[{"picture": uris and uris[i], "values": values[i]} for uris, values in at] for i in range(len(names))]
