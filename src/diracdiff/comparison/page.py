"""Report of a comparison, and plot of the perception-distortion plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from diracdiff.comparison.runs import Run
from diracdiff.comparison.table import Table, settings_text
from diracdiff.evaluation.plots import DISTORTION, MUTED, save_figure
from diracdiff.metrics import Metric, Row
from diracdiff.report import Origin, page
from diracdiff.report.pictures import encode_pictures, image_values
from diracdiff.report.trajectory import MAX_PIXELATED_SIDE

COLUMNS = (("n", "images", 0), ("calls", "NFE", 0), ("seconds", "s / image", 3))
NOTE = f"{page.TABLE_NOTE} A heading sorts the rows."
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
        table: table with all rows.
        title: title of the table.
        curves: {name: run of Dirac}, plotted over the stopping time.
        pictures: {"clean", "measurement" or a method: uint8 images (N, C, H, W)}.
        names: names of all images, beginning with those of the pictures.
        seed: seed of the comparison.
        machine: name of the machine that measured the seconds.
        origin: command, settings and versions; None: not shown.
    """
    points = {name: curve_points(run) for name, run in curves.items()}
    sets: dict[Any, Tensor] = dict(pictures)
    sets |= {(name, point["stop"]): run.images[point["stop"]] for name, run in curves.items() for point in points[name]}
    stopping_points = dict.fromkeys(point["stop"] for rows in points.values() for point in rows)
    encoded, note = encode_pictures(sets, [[(name, stop) for name in curves] for stop in stopping_points])
    shown = list(names[: len(pictures["clean"])])
    rows = {row["method"]: {"row": row} for row in table.rows if row["method"] != "measurement"}
    columns = [page.metric_column(metric) for metric in table.metrics]

    def entry(key: Any, row: Row, images: Sequence[Row]) -> Row:
        return row | {"pictures": encoded.get(key), "values": image_values(images, shown)}

    data = {
        "images": shown,
        "metrics": columns,
        "entries": [entry(name, {"name": name} | rows.get(name, {}), table.images.get(name, [])) for name in pictures],
        "trajectories": [
            {
                "name": name,
                "points": [entry((name, p["stop"]), {"row": p}, run.rows_at(p["stop"])) for p in points[name]],
            }
            for name, run in curves.items()
        ],
        "stops": [{"name": name, "title": "", "show": f"e{i}"} for i, name in enumerate(pictures) if i],
        "pixelated": pictures["clean"].shape[-1] <= MAX_PIXELATED_SIDE,
    }
    lines = [{"title": row["method"], "detail": settings_text(row)} | row for row in table.rows]
    tables = [page.table("Methods", [*columns, *(page.column(*each) for each in COLUMNS)], lines, NOTE)]
    if paired := table.paired(seed):
        judged = [page.metric_column(metric) | {"higher": None} for metric in table.judged()]
        lines = [row | {"title": f"{row['method']} − {row['minus']}", "detail": ""} for row in paired]
        tables.append(page.table("Paired differences", judged, lines, PAIRED_NOTE))
    summary = f"Every method restores the same measurements: {title}, seed {seed}. Seconds: {machine}."
    return page.render("comparison", title.partition(",")[0], summary, tables, data, [note], origin, table.conditions)


def draw_plane(
    path: Path,
    points: Mapping[str, Row],
    curves: Mapping[str, Sequence[Row]],
    distortion: Metric,
    perception: Metric,
) -> None:
    """Plot a distortion metric against a perception metric.

    Args:
        path: output file.
        points: {method: means of the metrics}.
        curves: {name: means of x_hat by decreasing t}.
        distortion: metric of the horizontal axis.
        perception: metric of the vertical axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    axis = figure.subplots()
    for (name, rows), style in zip(curves.items(), ("-", "--"), strict=False):
        across, up = ([row[metric.name] for row in rows] for metric in (distortion, perception))
        axis.plot(across, up, style, color=DISTORTION, label=name, marker=".")
    for i, (name, row) in enumerate(points.items()):
        ours = name.startswith("dirac")
        marker, colour = ("D", DISTORTION) if ours else ("oXphd"[i // 10 % 5], f"C{i}")
        axis.plot(row[distortion.name], row[perception.name], marker, color=colour, label=name)
    axis.set_xlabel(distortion.label)
    axis.set_ylabel(perception.label)
    axis.grid(color=MUTED, alpha=0.2)
    legend = figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    save_figure(figure, path)


def curve_points(run: Run) -> list[Row]:
    """Return the means of x_hat by decreasing t, with the keys "stop", "t" and "nfe"."""
    means = [(stop, row) for stop, row in run.means().items() if stop.startswith("x_hat ")]
    return [{"stop": stop, "t": float(stop.partition(" t=")[2]), "nfe": row["calls"]} | row for stop, row in means]
