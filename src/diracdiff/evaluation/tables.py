"""Summaries of an evaluation at its stopping points, in JSON, text, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diracdiff.evaluation.evaluation import Evaluation
from diracdiff.evaluation.statistics import MIN_IMAGES, Interval, interval
from diracdiff.evaluation.stopping import TARGETS, StoppingPoint, summary_rows
from diracdiff.metrics.metric import Metric, Row, image_metrics, set_metrics
from diracdiff.utils.escaping import for_latex, for_markdown, for_terminal
from diracdiff.utils.files import write_atomically

Summary = dict[str, Any]
"""Entry of each stopping point, and the common values n, seed, steps and task."""

OUTPUTS = {"x_hat": "x_hat", "iterate": "iterate"}
INTERVALS = f"In brackets: 95 % bootstrap confidence intervals (BCa) over the images, none of fewer than {MIN_IMAGES}."
NAMES = {
    "measurement": "measurement",
    "one_shot": "one-shot",
    **{m.stopping_point_name().lower(): f"{m.stopping_point_name()} (best {m.title})" for m in TARGETS.values()},
    "target": "target",
}
"""Titles of table rows by the keys of a summary."""

TARGET_KEYS = [metric.stopping_point_name().lower() for metric in TARGETS.values()]
"""Keys of the stopping points that are selected by a metric."""

MAX_NOISE_RATIO = 1.2
"""Maximum residual noise of a stopping point relative to DO without a warning."""


def summarise(
    evaluation: Evaluation,
    stopping_points: Mapping[str, StoppingPoint | None],
    extra: StoppingPoint | None = None,
    **common: Any,
) -> Summary:
    """Summarise a finished evaluation at the measurement, one-shot, DO, PO and other stopping points.

    An entry contains t, output, nfe, seconds per image and the means of the metrics. Its key "interval" contains 95 %
    bootstrap confidence intervals of the metrics of single images, each None for too few images. The entry of an
    unknown point is None.

    Args:
        evaluation: finished evaluation.
        stopping_points: stopping point of each target.
        extra: additional stopping point with the key "target".
        **common: values for all entries: seed, steps, task.
    """
    seed = int(common.get("seed", 0))
    columns = ["t", "output", "nfe", "seconds", *(metric.name for metric in evaluation.metrics)]

    def entry(row: Row) -> Row:
        images = evaluation.records.at(row["t"], row["output"])
        names = [metric.name for metric in image_metrics(evaluation.metrics)]
        intervals = {name: interval([image[name] for image in images], seed) for name in names}
        return {column: row[column] for column in columns} | {"interval": intervals}

    rows = summary_rows(evaluation.curve, stopping_points, extra)
    return {key: row and entry(row) for key, row in rows.items()} | {"n": evaluation.curve[0]["n"]} | common


def summary_table(summary: Summary, metrics: Sequence[Metric], intervals: bool = False) -> list[list[str]]:
    """Format a summary as a table: a header, and one row per stopping point.

    Args:
        summary: summary of `summarise`.
        metrics: metrics for the columns.
        intervals: add confidence intervals.
    """
    table = [["stopping point", "t", "output", "NFE", "s/image", *(metric.name for metric in metrics)]]
    for key in [key for key in NAMES if key in summary]:
        row = summary[key] or {}
        bounds = row.get("interval", {}) if intervals else {}
        cells = [
            format_number(row.get("t"), 2),
            OUTPUTS.get(row.get("output", ""), "–"),
            format_number(row.get("nfe"), 0),
        ]
        values = [format_number(row.get(m.name), m.digits) + format_interval(bounds, m.name, m.digits) for m in metrics]
        table.append([NAMES[key], *cells, format_number(row.get("seconds"), 3), *values])
    return table


def write_tables(folder: Path, summary: Summary, metrics: Sequence[Metric], title: str) -> None:
    """Write a summary with confidence intervals to `table.md` and `table.tex`.

    Args:
        folder: output folder.
        summary: summary of `summarise`.
        metrics: metrics for the columns.
        title: title of the table.
    """
    settings = f"n = {summary['n']}, seed {summary['seed']}, {summary['steps']} steps"
    distance = "consistency: distance from the measurement, in its noise level."
    note = " ".join([f"{title}; {settings}. {INTERVALS} {distance}", *summary_warnings(summary, metrics)])
    header, *rows = summary_table(summary, metrics, intervals=True)
    write_markdown_and_latex(folder / "table", header, rows, note)


def write_markdown_and_latex(path: Path, header: list[str], rows: list[list[str]], note: str) -> None:
    """Write a table to `path`.md and `path`.tex. The first column is left-aligned, the others are right-aligned.

    Args:
        path: path without suffix.
        header: titles of the columns.
        rows: cells of each row.
        note: note below the table.
    """
    first, *rest = [f"| {' | '.join(map(for_markdown, cells))} |" for cells in (header, *rows)]
    rule = f"| {' | '.join(['---'] + ['---:'] * (len(header) - 1))} |"
    write_atomically(path.with_suffix(".md"), "\n".join([first, rule, *rest, "", for_markdown(note), ""]).encode())
    top, *body = [" & ".join(map(for_latex, cells)) + r" \\" for cells in (header, *rows)]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    lines = [f"% {for_latex(note)}", begin, r"\hline", top, r"\hline", *body, r"\hline", r"\end{tabular}", ""]
    write_atomically(path.with_suffix(".tex"), "\n".join(lines).encode())


def print_summary(summary: Summary, metrics: Sequence[Metric], title: str) -> None:
    """Print a summary as a table.

    Args:
        summary: summary of `summarise`.
        metrics: metrics for the columns.
        title: title of the table.
    """
    caption = ["NFE: network evaluations per image."]
    for text, better in (("higher", True), ("lower", False)):
        if names := ", ".join(metric.title for metric in metrics if metric.higher_is_better is better):
            caption.append(f"{names}: {text} is better.")
    header, *rows = summary_table(summary, metrics)
    print_table(header, rows, title, " ".join([*caption, *summary_warnings(summary, metrics)]))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str, caption: str) -> None:
    """Print a table. The first column is left-aligned, the others are right-aligned.

    Args:
        header: titles of the columns.
        rows: cells of each row.
        title: title above the table.
        caption: text below the table.
    """
    from rich.console import Console
    from rich.table import Table

    title, caption = for_terminal(title), for_terminal(caption)
    table = Table(title=title, title_justify="left", title_style="bold", caption=caption, caption_justify="left")
    for i, column in enumerate(header):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(for_terminal, row))
    console = Console(markup=False, emoji=False)
    console.width = max(console.width, 14 * len(table.columns))
    console.print(table)


def summary_warnings(summary: Summary, metrics: Sequence[Metric]) -> list[str]:
    """Return warnings about sets of few images, and about stopping points with more residual noise than DO.

    Args:
        summary: summary of `summarise`.
        metrics: metrics of the evaluation.

    Returns:
        List of sentences.
    """
    n, warnings = summary["n"], []
    reference = (summary.get("do") or {}).get("residual_noise")
    for key, name in NAMES.items():
        noise = (summary.get(key) or {}).get("residual_noise")
        if key in TARGET_KEYS and reference and noise and noise > MAX_NOISE_RATIO * reference:
            ratio = f"{noise / reference:.1f} times the residual noise of DO"
            warnings.append(f"{name} has {ratio}: part of its detail is noise.")
    return warnings + [
        f"{metric.name} of {n} images is comparable only for the same images. Use {metric.min_images} or more."
        for metric in set_metrics(metrics)
        if n < metric.min_images
    ]


def format_number(value: float | None, places: int, sign: str = "") -> str:
    """Format a number for a table, and None as a dash.

    Args:
        value: number or None.
        places: number of decimal places.
        sign: "+" to show the sign of positive numbers.
    """
    return "–" if value is None else f"{value:{sign}.{places}f}"


def format_interval(intervals: Mapping[str, Interval | None], name: str, places: int, sign: str = "") -> str:
    """Format the confidence interval of a metric for a table.

    Args:
        intervals: intervals by metric.
        name: name of the metric.
        places: number of decimal places.
        sign: "+" to show the sign of positive numbers.

    Returns:
        Text in brackets; a dash for too few images; empty for a metric without intervals.
    """
    if name not in intervals:
        return ""
    bounds = intervals[name]
    return " [–]" if bounds is None else f" [{', '.join(format_number(bound, places, sign) for bound in bounds)}]"
