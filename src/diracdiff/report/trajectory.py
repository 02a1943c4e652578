"""Report of a training run or an evaluation, with the results at all stopping times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diracdiff.checkpoints import to_recipe
from diracdiff.evaluation import Evaluation, StoppingPoint
from diracdiff.evaluation.stopping import TARGETS, row_at
from diracdiff.evaluation.tables import NAMES, Summary, summary_warnings
from diracdiff.metrics import Row
from diracdiff.report.origin import Origin
from diracdiff.report.page import column, metric_column, render, table
from diracdiff.report.pictures import encode_pictures, image_values
from diracdiff.restorer import Restorer

MAX_PIXELATED_SIDE = 256
"""Maximum side in pixels of images that are enlarged without interpolation."""

TRAJECTORIES = {"x_hat": "x̂", "iterate": "iterate"}
"""{output at each time: name in the report}."""

LABELS = {"DO": "accurate (DO)", "PO": "sharp (PO)"}
"""{stopping time: name in the report}."""


def evaluation_page(
    kind: str,
    evaluation: Evaluation,
    stopping_points: Mapping[str, StoppingPoint | None],
    summary: Summary,
    restorer: Restorer,
    images: str,
    stops_from: str,
    origin: Origin,
) -> bytes:
    """Render the report of a finished evaluation.

    Args:
        kind: "training" or "evaluation".
        evaluation: finished evaluation.
        stopping_points: {target: stopping point or None}.
        summary: summary of the same evaluation and stopping points.
        restorer: the evaluated restorer.
        images: description of the images, such as "16 test images".
        stops_from: sentence about the source of the stopping points.
        origin: command, settings and versions.
    """
    curve, metrics = evaluation.curve, evaluation.metrics
    buttons = _buttons(curve, stopping_points, summary)
    times = sorted({row["t"] for row in curve}, reverse=True)
    kept = {times[0], times[-1], *(button["t"] for button in buttons)}
    pictures, note = encode_pictures(
        evaluation.gallery, [[(t, output) for output in TRAJECTORIES] for t in times if t not in kept]
    )
    names = evaluation.gallery_names
    keys = [(row["t"], row["output"]) for row in curve]
    figures = {key: image_values(evaluation.records.at(*key), names) for key in keys}

    def entry(row: Row) -> Row:
        key = row["t"], row["output"]
        short = {name: float(f"{value:.7g}") if isinstance(value, float) else value for name, value in row.items()}
        return {"row": short, "pictures": pictures.get(key), "values": figures.get(key)}

    columns = [metric_column(metric) for metric in metrics if metric.name in curve[0]]
    data = {
        "images": names,
        "metrics": columns,
        "entries": [
            {"name": "clean", "pictures": pictures["clean"]},
            {"name": "measurement", "pictures": pictures["measurement"], "values": figures.get((1.0, "iterate"))},
        ],
        "trajectories": [
            {"name": name, "points": [entry(row) for row in curve if row["output"] == output]}
            for output, name in TRAJECTORIES.items()
        ],
        "stops": buttons,
        "pixelated": evaluation.gallery["clean"].shape[-1] <= MAX_PIXELATED_SIDE,
    }
    known = [(name, summary[key] or {}) for key, name in NAMES.items() if key in summary]
    rows = [{"title": name, "detail": TRAJECTORIES.get(row.get("output", ""), "")} | row for name, row in known]
    shown = [column("t", "t", 2), column("nfe", "NFE"), column("seconds", "s / image", 3), *columns]
    text = f"{images}, {summary['steps']} steps, seed {summary['seed']}. {stops_from}"
    text = " ".join([text, *summary_warnings(summary, metrics)])
    tables = [table("Stopping times", shown, rows)]
    return render(kind, restorer.name, text, tables, data, [note], origin, to_recipe(restorer))


def _buttons(curve: Sequence[Row], stopping_points: Mapping[str, StoppingPoint | None], summary: Summary) -> list[Row]:
    """Return one button per known stopping time: name, title, time and trajectory."""
    buttons = [(name.replace("_", "-"), "", summary[name]) for name in ("measurement", "one_shot") if summary.get(name)]
    for target, metric in TARGETS.items():
        if stop := stopping_points.get(target):
            name = LABELS.get(metric.stopping_point_name(), f"best {metric.title}")
            buttons.append((name, f"best {metric.title}", row_at(curve, stop)))
    if summary.get("target"):
        buttons.append(("target", "requested stopping time", summary["target"]))
    shown_as = {"x_hat": "t0", "iterate": "t1"}
    return [
        {"name": name, "title": title, "t": row["t"], "show": shown_as[row["output"]]} for name, title, row in buttons
    ]
