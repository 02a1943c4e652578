"""A summary as a table: on the console, in Markdown and in LaTeX."""

import re
from pathlib import Path
from typing import Any

from diracdiff.files import write_atomically

OUTPUTS = {"mean": "x_hat", "iterate": "iterate"}
NAMES = {
    "measurement": "measurement",
    "one_shot": "one-shot",
    "do": "DO (best PSNR)",
    "po": "PO (best LPIPS)",
    "fid": "best FID",
    "target": "target",
}


def metric_columns(summary: dict[str, Any]) -> list[str]:
    """The metrics of a summary, in the order of every table."""
    return [key for key in summary["measurement"] if key not in ("t", "output", "nfe", "seconds", "interval")]


def table_rows(summary: dict[str, Any]) -> list[list[str]]:
    """A summary as text: the stop, t, output, calls, seconds and the metrics, a row per stop."""
    rows = []
    for key, name in NAMES.items():
        if key in summary:
            row = summary[key] or {}
            cells = [cell(row.get("t"), 2), OUTPUTS.get(row.get("output"), "–"), cell(row.get("nfe"), 0)]
            metrics = [cell(row.get(metric), digits(metric)) for metric in metric_columns(summary)]
            rows.append([name, *cells, cell(row.get("seconds"), 3), *metrics])
    return rows


def write_tables(folder: Path, summary: dict[str, Any], title: str) -> None:
    """Write a summary as `table.md` and `table.tex`, with confidence intervals."""
    metrics = metric_columns(summary)
    header = ["stop at", "t", "output", "calls", "s/image", *metrics]
    rows = table_rows(summary)
    for row, key in zip(rows, [key for key in NAMES if key in summary], strict=True):
        for i, metric in enumerate(metrics, start=len(header) - len(metrics)):
            ends = (summary[key] or {}).get("interval", {}).get(metric)
            row[i] += f" [{', '.join(cell(end, digits(metric)) for end in ends)}]" if ends else ""
    note = (
        f"{title}; n = {summary['n']}, seed {summary['seed']}, {summary['steps']} steps. In brackets: 95 % bootstrap "
        "confidence intervals over the images. consistency: distance from the measurement, in its noise level."
    )
    write_markdown_and_latex(folder / "table", header, rows, note)


def write_markdown_and_latex(path: Path, header: list[str], rows: list[list[str]], note: str) -> None:
    """Write a table of text, with a note, as `path`.md and `path`.tex; the first column is flush left."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] + ["---:"] * (len(header) - 1), *rows)]
    write_atomically(path.with_suffix(".md"), "\n".join([*lines, "", note, ""]).encode())
    body = [" & ".join(_latex(cell) for cell in cells) + r" \\" for cells in (header, *rows)]
    columns = "l" + "r" * (len(header) - 1)
    lines = [
        f"% {note}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\hline",
        body[0],
        r"\hline",
        *body[1:],
        r"\hline",
        r"\end{tabular}",
    ]
    write_atomically(path.with_suffix(".tex"), "\n".join([*lines, ""]).encode())


def _latex(text: str) -> str:
    return re.sub(r"([_%&#])", r"\\\1", text).replace("–", "--")


def print_summary(summary: dict[str, Any], title: str) -> None:
    """Print the rows of a summary as a table; "calls" are those of the network, per image."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("stop at")
    for column in ("t", "output", "calls", "s/image", *metric_columns(summary)):
        table.add_column(column, justify="right")
    for row in table_rows(summary):
        table.add_row(*row)
    table.caption, table.caption_justify = "calls: network calls per image", "left"
    console = Console()
    console.width = max(console.width, 14 * len(table.columns))
    console.print(table)


def digits(metric: str) -> int:
    """Decimal places of a metric in tables."""
    return 2 if metric in ("psnr", "consistency") or metric.startswith(("fid_", "kid_")) else 4


def cell(value: float | None, places: int) -> str:
    """A number in a table."""
    return "–" if value is None else f"{value:.{places}f}"
