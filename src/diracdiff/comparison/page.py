"""The report of a comparison: its tables, the plane of two metrics, and what every method makes of the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from diracdiff.comparison.runs import Run
from diracdiff.comparison.table import Table, settings_text
from diracdiff.metrics import Row
from diracdiff.report import Origin, page
from diracdiff.report.pictures import encode_pictures, values_of
from diracdiff.report.trajectory import SMALL

COLUMNS = (("n", "images", 0), ("calls", "NFE", 0), ("seconds", "s / image", 3), ("memory", "MiB", 0))
NOTE = f"{page.TABLE_NOTE} MiB: peak memory of the GPU. A heading sorts the rows."
PAIRED_NOTE = "Mean of the differences image by image and its 95 % bootstrap confidence interval (BCa)."


def comparison_page(
    table: Table,
    title: str,
    curves: Mapping[str, Run],
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
        curves: {name: run of Dirac}, shown over the stopping time.
        pictures: {"clean", "measurement" or a row's method: uint8 images (N, C, H, W)}; rows may lack them.
        names: of all images, those of the pictures first.
        seed: of the comparison.
        machine: where seconds were measured.
        origin: of the results, where a command made them.
    """
    points = {name: curve_points(run) for name, run in curves.items()}
    sets: dict[Any, Tensor] = dict(pictures)
    sets |= {(name, point["stop"]): run.images[point["stop"]] for name, run in curves.items() for point in points[name]}
    stops = dict.fromkeys(point["stop"] for rows in points.values() for point in rows)
    encoded, note = encode_pictures(sets, [[(name, stop) for name in curves] for stop in stops])
    shown = list(names[: len(pictures["clean"])])
    rows = {row["method"]: {"row": row} for row in table.rows if row["method"] != "measurement"}
    entries = [
        {"name": name, "pictures": encoded.get(name), "values": values_of(table.images.get(name, []), shown)}
        | rows.get(name, {})
        for name in dict.fromkeys(["clean", "measurement", *pictures, *rows])
    ]
    trajectories = [
        {
            "name": name,
            "points": [
                {
                    "row": point,
                    "pictures": encoded.get((name, point["stop"])),
                    "values": values_of(run.of(point["stop"]), shown),
                }
                for point in points[name]
            ],
        }
        for name, run in curves.items()
    ]
    known = [metric for metric in table.metrics if any(row.get(metric.name) is not None for row in table.rows)]
    columns = [page.metric_column(metric) for metric in known]
    with_pictures = [(i, entry["name"]) for i, entry in enumerate(entries) if entry["pictures"]]
    data = {
        "images": shown,
        "metrics": columns,
        "entries": entries,
        "trajectories": trajectories,
        "stops": [{"name": name, "title": "", "show": f"e{i}"} for i, name in with_pictures[1:]],
        "pixelated": pictures["clean"].shape[-1] <= SMALL,
    }
    lines = [{"title": row["method"], "detail": settings_text(row)} | row for row in table.rows]
    tables = [page.table("Methods", [*columns, *(page.column(*each) for each in COLUMNS)], lines, NOTE)]
    if paired := table.paired(seed):
        judged = [each | {"higher": None} for each in columns if each["name"] in paired[0]]
        tables.append(page.table("Paired differences", judged, [_difference(row) for row in paired], PAIRED_NOTE))
    summary = f"Every method restores the same measurements: {title}, seed {seed}. Seconds and memory: {machine}."
    return page.render("comparison", title.partition(",")[0], summary, tables, data, [note], origin, table.conditions)


def curve_points(run: Run) -> list[Row]:
    """Return the means of x_hat by falling t, with "stop" and "t"."""
    means = [(stop, row) for stop, row in run.means().items() if stop.startswith("mean ")]
    return [{"stop": stop, "t": float(stop.partition(" t=")[2]), "nfe": row["calls"]} | row for stop, row in means]


def _difference(row: Row) -> Row:
    """Convert a row of `Table.paired` to a row of a page."""
    metrics = [name.removesuffix("_low") for name in row if name.endswith("_low")]
    ends = {name: None if row[f"{name}_low"] is None else (row[f"{name}_low"], row[f"{name}_high"]) for name in metrics}
    return row | {"title": f"{row['method']} − {row['minus']}", "detail": "", "interval": ends}
