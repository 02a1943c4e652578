"""Table of methods on the same measurements, with confidence intervals and paired differences from Dirac."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diracdiff.comparison.runs import Run
from diracdiff.evaluation import interval, mean
from diracdiff.evaluation.statistics import mean_ignoring_none
from diracdiff.evaluation.tables import INTERVALS, format_interval, format_number, print_table, write_markdown_and_latex
from diracdiff.metrics import Metric, Row, SetMetric
from diracdiff.metrics.metric import set_metrics
from diracdiff.utils.files import write_json, write_rows

REFERENCES = ("dirac_do", "dirac_po")


class Table:
    """Table with one row per method.

    Args:
        metrics: metrics of single images, of sets and of samples, in the order of the columns.
        conditions: plain containers that describe the measurements of all rows.

    Attributes:
        rows: method, for, setting, stop, n, calls (NFE), seconds and the means of the metrics, with "interval".
        images: {method: rows per image}.
    """

    def __init__(self, metrics: Sequence[Metric] = (), conditions: dict[str, Any] | None = None):
        self.metrics, self.conditions = list(metrics), conditions or {}
        self.rows: list[Row] = []
        self.images: dict[str, list[Row]] = {}

    def add(self, method: str, target: str | None, setting: dict[str, Any], stop: str, run: Run, seed: int) -> Row:
        """Append the row of a run and return it.

        Args:
            method: name of the row.
            target: metric of the tuning, or None.
            setting: setting of the run.
            stop: stopping time; "" for methods without one.
            run: results of the method.
            seed: seed of the bootstrap.
        """
        images = self.images[method] = run.rows_at(stop)
        columns = [metric.name for metric in self.metrics if not isinstance(metric, SetMetric)]
        row: Row = {"method": method, "for": target, "setting": setting, "stop": stop, "n": len(images)}
        row |= {column: mean_ignoring_none([image[column] for image in images]) for column in columns}
        row |= {metric.name: run.score(metric, stop, seed) for metric in set_metrics(self.metrics)}
        row |= {column: mean([image[column] for image in images]) for column in ("calls", "seconds")}
        intervals = {column: interval([image[column] for image in images], seed) for column in columns}
        self.rows.append(row | {"interval": intervals})
        return self.rows[-1]

    def paired(self, seed: int) -> list[Row]:
        """Return the mean paired differences of all rows from the rows of Dirac, with "interval"."""
        differences = []
        for reference in (name for name in REFERENCES if name in self.images):
            of_reference = {image["name"]: image for image in self.images[reference]}
            for row in (row for row in self.rows if row["method"] != reference):
                difference: Row = {"method": row["method"], "minus": reference, "n": row["n"], "interval": {}}
                for name in (metric.name for metric in self.judged()):
                    pairs = [(image[name], of_reference[image["name"]][name]) for image in self.images[row["method"]]]
                    values = [a - b for a, b in pairs if a is not None and b is not None]
                    difference[name], difference["interval"][name] = mean_ignoring_none(values), interval(values, seed)
                differences.append(difference)
        return differences

    def write(self, folder: Path, title: str, seed: int, machine: str) -> None:
        """Write comparison.json, images.csv, table.md and .tex and, with Dirac, paired.md and .tex.

        Args:
            folder: output folder.
            title: title of the tables.
            seed: seed of the bootstrap.
            machine: name of the machine that measured the seconds.
        """
        paired, judged = self.paired(seed), self.judged()
        content = {"conditions": self.conditions, "machine": machine, "seed": seed, "rows": self.rows, "paired": paired}
        write_json(folder / "comparison.json", content)
        images = [{"method": row["method"]} | image for row in self.rows for image in self.images[row["method"]]]
        write_rows(folder / "images.csv", images)
        note = (
            f"{title}; seed {seed}; {machine}. {INTERVALS} consistency: distance from the measurement, in its noise "
            "level. calls: NFE per image. seconds: per image."
        )
        if count := self.conditions.get("samples"):
            note += f" crps, coverage_90 and energy_distance use {count} samples per image."
        write_markdown_and_latex(folder / "table", ["method", *self._columns()], self.text(intervals=True), note)
        if paired:
            cells = [
                [f"{row['method']} - {row['minus']}"]
                + [
                    format_number(row[m.name], m.digits, "+") + format_interval(row["interval"], m.name, m.digits, "+")
                    for m in judged
                ]
                for row in paired
            ]
            note = f"{title}. Means of the differences image by image. {INTERVALS}"
            write_markdown_and_latex(folder / "paired", ["difference", *(m.name for m in judged)], cells, note)

    def text(self, intervals: bool = False) -> list[list[str]]:
        """Return the cells of all rows as text, with confidence intervals on request."""
        places = {"n": 0, "calls": 0, "seconds": 3} | {m.name: m.digits for m in self.metrics}
        lines = []
        for row in self.rows:
            ends = row["interval"] if intervals else {}
            cells = [
                format_number(row.get(c), places[c]) + format_interval(ends, c, places[c]) for c in self._columns()
            ]
            lines.append([row["method"], *cells])
        return lines

    def print(self, title: str) -> None:
        """Print the table."""
        caption = "calls: NFE; seconds: per image; consistency: in noise levels"
        print_table(["method", *self._columns()], self.text(), title, caption)

    def judged(self) -> list[Metric]:
        """Return the metrics of single images or samples for which higher or lower is better."""
        single = [metric for metric in self.metrics if not isinstance(metric, SetMetric)]
        return [metric for metric in single if metric.higher_is_better is not None]

    def _columns(self) -> list[str]:
        judged = [metric.name for metric in self.metrics if metric.higher_is_better is not None]
        others = [metric.name for metric in self.metrics if metric.higher_is_better is None]
        return [*judged, "n", *others, "calls", "seconds"]


def settings_text(row: Row) -> str:
    """Format the setting and the stopping time of a row."""
    return ", ".join([*(f"{key} {value}" for key, value in row["setting"].items()), *filter(None, [row["stop"]])])
