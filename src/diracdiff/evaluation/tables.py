"""Summaries of an evaluation at its stopping points, as JSON, text, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diracdiff.evaluation.evaluation import Evaluation
from diracdiff.evaluation.statistics import FEWEST, Interval, interval
from diracdiff.evaluation.stopping import TARGETS, StoppingPoint, key_rows
from diracdiff.metrics.metric import Metric, Row, image_metrics, set_metrics
from diracdiff.utils.escaping import for_latex, for_markdown, for_terminal
from diracdiff.utils.files import write_atomically

Summary = dict[str, Any]
"""An entry for each stopping point, and values common to all: n, seed, steps, task."""

OUTPUTS = {"x_hat": "x_hat", "iterate": "iterate"}
INTERVALS = f"In brackets: 95 % bootstrap confidence intervals (BCa) over the images, none of fewer than {FEWEST}."
NAMES = {
    "measurement": "measurement",
    "one_shot": "one-shot",
    **{m.stopping_point_name().lower(): f"{m.stopping_point_name()} (best {m.title})" for m in TARGETS.values()},
    "target": "target",
}
"""The rows of a table by the keys of a summary."""

STOPPED = [metric.stopping_point_name().lower() for metric in TARGETS.values()]
"""Keys of stopping points that a metric chooses."""

MOST_NOISE = 1.2
"""Residual noise in units of that at DO, above which tables and reports warn of a stopping point."""


def summary_of(
    evaluation: Evaluation,
    stopping_points: Mapping[str, StoppingPoint | None],
    extra: StoppingPoint | None = None,
    **same: Any,
) -> Summary:
    """Summarise a finished evaluation at the measurement, one-shot, DO, PO and other stopping points.

    Every entry has t, output, nfe, seconds per image, the means of the metrics and, as "interval", the 95 % bootstrap
    confidence intervals of metrics of single images, each None for too few images. An unknown point has the entry None.

    Args:
        evaluation: finished evaluation.
        stopping_points: stopping points of the targets.
        extra: a further point, the entry "target".
        same: seed, steps, task: values common to all entries.
    """
    seed = int(same.get("seed", 0))
    columns = ["t", "output", "nfe", "seconds", *(metric.name for metric in evaluation.metrics)]

    def entry(row: Row) -> Row:
        images = evaluation.records.at(row["t"], row["output"])
        names = [metric.name for metric in image_metrics(evaluation.metrics)]
        intervals = {name: interval([image[name] for image in images], seed) for name in names}
        return {column: row[column] for column in columns} | {"interval": intervals}

    rows = key_rows(evaluation.curve, stopping_points, extra)
    return {key: row and entry(row) for key, row in rows.items()} | {"n": evaluation.curve[0]["n"]} | same


def summary_table(summary: Summary, metrics: Sequence[Metric], intervals: bool = False) -> list[list[str]]:
    """Return a summary as text: a header, and a row per stopping point."""
    table = [["stop at", "t", "output", "NFE", "s/image", *(metric.name for metric in metrics)]]
    for key in [key for key in NAMES if key in summary]:
        row = summary[key] or {}
        ends = row.get("interval", {}) if intervals else {}
        cells = [cell(row.get("t"), 2), OUTPUTS.get(row.get("output", ""), "–"), cell(row.get("nfe"), 0)]
        values = [cell(row.get(m.name), m.digits) + brackets(ends, m.name, m.digits) for m in metrics]
        table.append([NAMES[key], *cells, cell(row.get("seconds"), 3), *values])
    return table


def write_tables(folder: Path, summary: Summary, metrics: Sequence[Metric], title: str) -> None:
    """Write a summary as `table.md` and `table.tex`, with confidence intervals."""
    settings = f"n = {summary['n']}, seed {summary['seed']}, {summary['steps']} steps"
    distance = "consistency: distance from the measurement, in its noise level."
    note = " ".join([f"{title}; {settings}. {INTERVALS} {distance}", *cautions(summary, metrics)])
    header, *rows = summary_table(summary, metrics, intervals=True)
    write_markdown_and_latex(folder / "table", header, rows, note)


def write_markdown_and_latex(path: Path, header: list[str], rows: list[list[str]], note: str) -> None:
    """Write a table of text, with a note, as `path`.md and `path`.tex; the first column is flush left."""
    first, *rest = [f"| {' | '.join(map(for_markdown, cells))} |" for cells in (header, *rows)]
    rule = f"| {' | '.join(['---'] + ['---:'] * (len(header) - 1))} |"
    write_atomically(path.with_suffix(".md"), "\n".join([first, rule, *rest, "", for_markdown(note), ""]).encode())
    top, *body = [" & ".join(map(for_latex, cells)) + r" \\" for cells in (header, *rows)]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    lines = [f"% {for_latex(note)}", begin, r"\hline", top, r"\hline", *body, r"\hline", r"\end{tabular}", ""]
    write_atomically(path.with_suffix(".tex"), "\n".join(lines).encode())


def print_summary(summary: Summary, metrics: Sequence[Metric], title: str) -> None:
    """Print a summary as a table."""
    caption = ["NFE: network evaluations per image."]
    for text, better in (("higher", True), ("lower", False)):
        if names := ", ".join(metric.title for metric in metrics if metric.higher_is_better is better):
            caption.append(f"{names}: {text} is better.")
    header, *rows = summary_table(summary, metrics)
    print_table(header, rows, title, " ".join([*caption, *cautions(summary, metrics)]))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str, caption: str) -> None:
    """Print a table of text; the first column is flush left."""
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


def cautions(summary: Summary, metrics: Sequence[Metric]) -> list[str]:
    """Return sentences about metrics of sets of few images, and about stopping points with more noise than DO."""
    n, found = summary["n"], []
    least = (summary.get("do") or {}).get("residual_noise")
    for key, name in NAMES.items():
        noise = (summary.get(key) or {}).get("residual_noise")
        if key in STOPPED and least and noise and noise > MOST_NOISE * least:
            found.append(f"{name} has {noise / least:.1f} times the residual noise of DO: part of its detail is noise.")
    return found + [
        f"{metric.name} of {n} images compares only with values of the same images: use {metric.min_images} or more."
        for metric in set_metrics(metrics)
        if n < metric.min_images
    ]


def cell(value: float | None, places: int, sign: str = "") -> str:
    """Return a number for a table, with `sign` "+" in front of positive ones."""
    return "–" if value is None else f"{value:{sign}.{places}f}"


def brackets(intervals: Mapping[str, Interval | None], name: str, places: int, sign: str = "") -> str:
    """Return the interval of a metric as text: a dash for too few images, nothing for a metric of sets of images."""
    if name not in intervals:
        return ""
    ends = intervals[name]
    return " [–]" if ends is None else f" [{', '.join(cell(end, places, sign) for end in ends)}]"
