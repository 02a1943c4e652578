"""A summary as a table: on the console, in Markdown and in LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diracdiff.evaluation.statistics import FEWEST, Interval
from diracdiff.evaluation.stopping import BLEND, TARGETS
from diracdiff.evaluation.summary import Summary
from diracdiff.metrics.metric import Metric, set_metrics
from diracdiff.utils.escaping import for_latex, for_markdown, for_terminal
from diracdiff.utils.files import write_atomically

OUTPUTS = {"mean": "x_hat", "iterate": "iterate"}
INTERVALS = f"In brackets: 95 % bootstrap confidence intervals (BCa) over the images, none of fewer than {FEWEST}."
NAMES = {
    "measurement": "measurement",
    "one_shot": "one-shot",
    **{metric.stop_key(): metric.stop_title() for metric in TARGETS.values()},
}
"""The rows of a table, by the keys of a summary; blends and the user's target follow."""


def table_rows(summary: Summary, metrics: Sequence[Metric]) -> list[list[str]]:
    """A summary as text: the stop, t, output, calls, seconds and the metrics, a row per stop."""
    rows = []
    for key in stop_keys(summary):
        row = summary[key] or {}
        cells = [cell(row.get("t"), 2), OUTPUTS.get(row.get("output", ""), "–"), cell(row.get("nfe"), 0)]
        values = [cell(row.get(metric.name), metric.digits) for metric in metrics]
        rows.append([NAMES.get(key, key.replace("=", " ")), *cells, cell(row.get("seconds"), 3), *values])
    return rows


def stop_keys(summary: Summary) -> list[str]:
    """Those of a summary's entries that are stops, in the order of a table."""
    blends = [key for key in summary if key.startswith(BLEND)]
    return [key for key in (*NAMES, *blends, "target") if key in summary]


def write_tables(folder: Path, summary: Summary, metrics: Sequence[Metric], title: str) -> None:
    """Write a summary as `table.md` and `table.tex`, with confidence intervals."""
    header = ["stop at", "t", "output", "calls", "s/image", *(metric.name for metric in metrics)]
    rows = table_rows(summary, metrics)
    for row, key in zip(rows, stop_keys(summary), strict=True):
        for i, metric in enumerate(metrics, start=len(header) - len(metrics)):
            row[i] += brackets((summary[key] or {}).get("interval", {}), metric.name, metric.digits)
    settings = f"n = {summary['n']}, seed {summary['seed']}, {summary['steps']} steps"
    distance = "consistency: distance from the measurement, in its noise level."
    note = " ".join([f"{title}; {settings}. {INTERVALS} {distance}", *cautions(metrics, summary["n"])])
    write_markdown_and_latex(folder / "table", header, rows, note)


def write_markdown_and_latex(path: Path, header: list[str], rows: list[list[str]], note: str) -> None:
    """Write a table of text, with a note, as `path`.md and `path`.tex; the first column is flush left."""
    first, *rest = [f"| {' | '.join(map(for_markdown, cells))} |" for cells in (header, *rows)]
    rule = f"| {' | '.join(['---'] + ['---:'] * (len(header) - 1))} |"
    write_atomically(path.with_suffix(".md"), "\n".join([first, rule, *rest, "", for_markdown(note), ""]).encode())
    body = [" & ".join(map(for_latex, cells)) + r" \\" for cells in (header, *rows)]
    columns = "l" + "r" * (len(header) - 1)
    lines = [
        f"% {for_latex(note)}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\hline",
        body[0],
        r"\hline",
        *body[1:],
        r"\hline",
        r"\end{tabular}",
    ]
    write_atomically(path.with_suffix(".tex"), "\n".join([*lines, ""]).encode())


def print_summary(summary: Summary, metrics: Sequence[Metric], title: str) -> None:
    """Print the rows of a summary as a table; "calls" are those of the network, per image."""
    header = ["stop at", "t", "output", "calls", "s/image", *(metric.name for metric in metrics)]
    higher, lower = (
        ", ".join(metric.title for metric in metrics if metric.higher_is_better is better) for better in (True, False)
    )
    directions = [f"{names} {text} is better" for names, text in ((higher, "higher"), (lower, "lower")) if names]
    caption = "; ".join(["calls: network calls per image", *directions, *cautions(metrics, summary["n"])])
    print_table(header, table_rows(summary, metrics), title, caption)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str, caption: str) -> None:
    """Print a table of text; the first column is flush left."""
    from rich.console import Console
    from rich.table import Table

    title, caption = for_terminal(title), for_terminal(caption)
    table = Table(title=title, title_justify="left", title_style="bold", caption=caption, caption_justify="left")
    table.add_column(header[0])
    for column in header[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*map(for_terminal, row))
    console = Console(markup=False, emoji=False)
    console.width = max(console.width, 14 * len(table.columns))
    console.print(table)


def cautions(metrics: Sequence[Metric], n: int) -> list[str]:
    """A sentence for each metric of sets whose value for n images does not compare with values of other sets."""
    few = [metric for metric in set_metrics(metrics) if n < metric.fewest]
    return [
        f"{m.name} of {n} images compares only with values of the same images: use {m.fewest} or more." for m in few
    ]


def cell(value: float | None, places: int, sign: str = "") -> str:
    """A number in a table, with `sign` "+" in front of positive ones."""
    return "–" if value is None else f"{value:{sign}.{places}f}"


def brackets(intervals: Mapping[str, Interval | None], name: str, places: int, sign: str = "") -> str:
    """The interval of a metric behind its mean: a dash for too few images, nothing for a metric of sets of images."""
    if name not in intervals:
        return ""
    ends = intervals[name]
    return " [–]" if ends is None else f" [{', '.join(cell(end, places, sign) for end in ends)}]"
