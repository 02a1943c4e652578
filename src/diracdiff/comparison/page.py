"""The page of a comparison: its table, the plane of two metrics, and what every method made of the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from diracdiff.comparison.curve import Curve
from diracdiff.comparison.table import Table
from diracdiff.evaluation.stops import TARGETS
from diracdiff.metrics import Row
from diracdiff.report import Origin
from diracdiff.report.page import page
from diracdiff.report.pictures import Album, values_of
from diracdiff.report.walk import SMALL, described, missing

COLUMNS = (("n", "images", "", 0), ("calls", "calls", "", 0), ("seconds", "s / image", "", 3), ("memory", "MiB", "", 0))
"""Of the table besides the metrics: name, title, unit and digits."""


def comparison_page(
    table: Table,
    title: str,
    curves: Sequence[Curve],
    dials: Sequence[Row],
    pictures: Mapping[str, Tensor],
    names: Sequence[str],
    seed: int,
    machine: str,
    origin: Origin | None,
) -> bytes:
    """The page of a comparison.

    Args:
        table: with all rows.
        title: of the table.
        curves: Dirac's, over the stopping time.
        dials: rows with "dial" and "value".
        pictures: {"clean", "measurement" or a row's method: uint8 images (N, C, H, W)}; rows may be without.
        names: of all images, those of the pictures first.
        seed: of the comparison.
        machine: where seconds were taken.
        origin: of the results, where a command made them.
    """
    count = len(pictures["clean"])
    walked = {key: images for curve in curves for key, images in curve.pictures.items()}
    stops = dict.fromkeys(stop for _, stop in walked)
    steps = [[key for key in walked if key[1] == stop] for stop in stops]
    album: Album[Any] = Album.of({**pictures, **walked}, steps)
    walks = {curve.name: curve.shown(album.pictures, names[: album.form.images]) for curve in curves}
    values = {method: values_of(table.images.get(method, []), names[:count]) for method in pictures}
    shown = [
        {
            "name": name,
            "pictures": {method: album.pictures[method][i] for method in pictures},
            "values": {method: values[method][i] for method in pictures},
            "walks": {name: of_images[i] for name, of_images in walks.items()},
        }
        for i, name in enumerate(names[: album.form.images])
    ]
    known = [metric for metric in table.metrics if any(row.get(metric.name) is not None for row in table.rows)]
    lede = f"Every method restores the same measurements: {title}, seed {seed}. Seconds and memory: {machine}."
    content = {
        "words": {"kicker": "diracdiff comparison", "title": title.partition(",")[0], "lede": lede},
        "metrics": [described(metric) for metric in known],
        "columns": [dict(zip(("name", "title", "unit", "digits"), column, strict=True)) for column in COLUMNS],
        "rows": table.rows,
        "paired": table.paired(seed),
        "curves": [curve.plain() for curve in curves],
        "dials": list(dials),
        "images": shown,
        "pixelated": pictures["clean"].shape[-1] <= SMALL,
        "notes": [*missing(table.metrics, TARGETS), album.told(count, len(steps))],
        "origin": origin.plain() | {"recipe": table.conditions} if origin else None,
    }
    return page("comparison", f"{title}: diracdiff comparison", content)
