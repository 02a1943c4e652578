"""Rendering of a report as one HTML file with pictures, charts, style and script.

A content security policy forbids network access. Untrusted text, such as file names, is escaped by Jinja or is JSON.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from diracdiff.metrics import Consistency, Metric, Row
from diracdiff.report.origin import Origin

MAX_BYTES = 10_000_000
"""Maximum size of a report in bytes."""

REPORT_NAME = "report.html"

TABLE_NOTE = (
    "Means over the images and 95 % bootstrap confidence intervals (BCa), – for too few images. "
    "NFE: number of function evaluations, that is, network evaluations, per image."
)


def column(name: str, title: str, digits: int = 0) -> dict[str, Any]:
    """Describe a column of numbers without a preferred direction."""
    return {"name": name, "title": title, "unit": "", "digits": digits, "higher": None, "note": ""}


def metric_column(metric: Metric) -> dict[str, Any]:
    """Describe the column and the axis of a metric."""
    note = {True: "↑ higher is better", False: "↓ lower is better", None: ""}[metric.higher_is_better]
    note = "1 is perfect" if isinstance(metric, Consistency) else note
    description = column(metric.name, metric.title, metric.digits)
    return description | {"unit": metric.unit, "higher": metric.higher_is_better, "note": note}


def table(title: str, columns: Sequence[Row], rows: Sequence[Row], note: str = TABLE_NOTE) -> dict[str, Any]:
    """Describe a table.

    Args:
        title: heading.
        columns: columns, see `column` and `metric_column`.
        rows: rows with "title", "detail", {column: number}, and "interval" with {column: ends}.
        note: text below the table.
    """
    best = {}
    for name, higher in ((each["name"], each["higher"]) for each in columns if each["higher"] is not None):
        values = [row[name] for row in rows if row.get(name) is not None and math.isfinite(row[name])]
        best[name] = (max if higher else min)(values, default=None)
    return {"title": title, "columns": columns, "rows": rows, "note": note, "best": best}


def render(
    kind: str,
    title: str,
    summary: str,
    tables: Sequence[Row],
    data: Mapping[str, Any],
    notes: Sequence[str],
    origin: Origin | None,
    recipe: Any,
) -> bytes:
    """Render a report.

    Args:
        kind: "training", "evaluation" or "comparison".
        title: heading.
        summary: text below the heading.
        tables: tables, see `table`.
        data: pictures and curves in plain containers, for the script. NaN and infinity become null.
        notes: list of notes.
        origin: command, settings and versions; None: not shown.
        recipe: recipe of the evaluated object, shown as JSON.

    Raises:
        ValueError: if the report exceeds `MAX_BYTES`.
    """
    from plotly.offline import get_plotlyjs

    assets = files("diracdiff.report") / "assets"
    style, script = (Markup((assets / f"report.{kind}").read_text("utf-8")) for kind in ("css", "js"))
    scripts = [Markup(get_plotlyjs()), script]
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
    content = {"kind": kind, "title": title, "summary": summary, "notes": notes, "origin": origin, "recipe": recipe}
    content |= {"tables": _finite(tables), "data": _finite(data), "style": style, "scripts": scripts, "hashes": hashes}
    loader = jinja2.PackageLoader("diracdiff.report", "assets")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("report.html").render(content).encode()
    if len(page) > MAX_BYTES:
        raise ValueError(f"report: must have at most {MAX_BYTES} bytes, got {len(page)}. Show fewer images.")
    return page


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by None, because JSON does not support them."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
