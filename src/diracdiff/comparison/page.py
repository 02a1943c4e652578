"""The report of a comparison: its tables, the plane of two metrics, and what every method makes of the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from diracdiff.comparison.curve import Curve
from diracdiff.comparison.table import Table, settings_text
from diracdiff.metrics import Row
from diracdiff.report import Origin, page
from diracdiff.report.page import column, metric_column, missing_notes, render
from diracdiff.report.pictures import encode_pictures, values_of
from diracdiff.report.trajectory import SMALL

COLUMNS = (column("n", "images"), column("calls", "NFE"), column("seconds", "s / image", 3), column("memory", "MiB"))
NOTE = f"{page.TABLE_NOTE} MiB: peak memory. A heading sorts the rows."
PAIRED_NOTE = "Mean of the differences image by image and its 95 % bootstrap confidence interval (BCa)."


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
    """Render the report of a comparison.

    Args:
        table: with all rows.
        title: of the table.
        curves: Dirac's, over the stopping time.
        dials: rows of trade-off parameters, with "dial" and "value".
        pictures: {"clean", "measurement" or a row's method: uint8 images (N, C, H, W)}; rows may lack them.
        names: of all images, those of the pictures first.
        seed: of the comparison.
        machine: where seconds were measured.
        origin: of the results, where a command made them.
    """
    sets: dict[Any, Tensor] = {
        **pictures,
        **{key: images for curve in curves for key, images in curve.pictures.items()},
    }
    times = dict.fromkeys(key[1] for key in sets if isinstance(key, tuple))
    encoded, note = encode_pictures(sets, [[key for key in sets if key[1:] == (stop,)] for stop in times])
    shown = list(names[: len(encoded["clean"])])
    rows = {row["method"]: {"row": row} for row in table.rows if row["method"] != "measurement"}
    rows |= {row["method"]: {"row": row, "group": row["dial"], "value": row["value"]} for row in dials}
    entries = [
        {"name": name, "pictures": encoded.get(name), "values": values_of(table.images.get(name, []), shown)}
        | rows.get(name, {})
        for name in dict.fromkeys(["clean", "measurement", *pictures, *rows])
    ]
    trajectories = [
        {
            "name": curve.name,
            "points": [
                {
                    "row": point | {"t": float(point["stop"].partition(" t=")[2])},
                    "pictures": encoded.get((curve.name, point["stop"])),
                    "values": values_of(curve.rows[point["stop"]], shown),
                }
                for point in curve.points
            ],
        }
        for curve in curves
    ]
    known = [metric for metric in table.metrics if any(row.get(metric.name) is not None for row in table.rows)]
    columns = [metric_column(metric) for metric in known]
    buttons = [
        {"name": entry["name"], "title": "", "show": f"e{i}"} for i, entry in enumerate(entries) if entry["pictures"]
    ]
    data = {
        "images": shown,
        "metrics": columns,
        "entries": entries,
        "trajectories": trajectories,
        "stops": buttons[1:],
        "pixelated": pictures["clean"].shape[-1] <= SMALL,
    }
    lines = [{"title": row["method"], "detail": settings_text(row)} | row for row in table.rows]
    tables = [page.table("Methods", [*columns, *COLUMNS], lines, NOTE)]
    if paired := table.paired(seed):
        judged = [each | {"higher": None} for each in columns if each["name"] in paired[0]]
        tables.append(page.table("Paired differences", judged, [_difference(row) for row in paired], PAIRED_NOTE))
    summary = f"Every method restores the same measurements: {title}, seed {seed}. Seconds and memory: {machine}."
    notes = [*missing_notes(table.metrics), note]
    return render("comparison", title.partition(",")[0], summary, tables, data, notes, origin, table.conditions)


def _difference(row: Row) -> Row:
    """Describe a row of `Table.paired` as a row of a page."""
    metrics = [name.removesuffix("_low") for name in row if name.endswith("_low")]
    ends = {name: None if row[f"{name}_low"] is None else (row[f"{name}_low"], row[f"{name}_high"]) for name in metrics}
    return row | {"title": f"{row['method']} − {row['minus']}", "detail": "", "interval": ends}
