"""The table: rows of like measurements only, with intervals, and differences from Dirac image by image."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from diracdiff.comparison.measurements import Measurements
from diracdiff.comparison.runs import Run
from diracdiff.evaluation import interval, mean
from diracdiff.evaluation.tables import INTERVALS, brackets, cell, print_table, write_markdown_and_latex
from diracdiff.metrics import METRICS, Metric, Row
from diracdiff.metrics.metric import image_metrics, set_metrics
from diracdiff.utils.errors import UserError
from diracdiff.utils.files import read_json, read_rows, write_json, write_rows

REFERENCES = ("dirac_do", "dirac_po")
REMEDY = "Leave this comparison out of include, or run it again."
MEANINGS = {
    "measurements": "the measurements y",
    "n": "the number of images",
    "sigma": "the noise level, in units of the [0, 1] range",
    "operator": "the degradation",
    **{metric.title.lower(): metric.depends_on for metric in METRICS if metric.depends_on},
}
"""What must be the same in all rows of a table."""


def conditions_of(measurements: Measurements, metrics: Sequence[Metric]) -> dict[str, Any]:
    """The conditions of rows on these measurements with these metrics."""
    conditions = {
        "measurements": measurements.digest,
        "n": len(measurements),
        "sigma": measurements.sigma,
        "operator": measurements.operator,
    }
    names = {metric.title.lower(): metric.name for metric in metrics if metric.higher_is_better is not None}
    return conditions | {key: names.get(key) for key in MEANINGS if key not in conditions}


class Table:
    """Rows that may stand beside one another.

    Args:
        conditions: {key of MEANINGS: value}, what the rows have in common.
        metrics: of single images and of sets, in the order of the columns.

    Attributes:
        rows: method, for, setting, stop, n, calls, seconds, memory and the means of the metrics, with "interval".
        images: {row's method: its rows per image}.
    """

    def __init__(self, conditions: dict[str, Any], metrics: Sequence[Metric] = ()):
        self.conditions, self.metrics = conditions, list(metrics)
        self.rows: list[Row] = []
        self.images: dict[str, list[Row]] = {}

    def add(self, method: str, target: str | None, setting: dict[str, Any], stop: str, run: Run, seed: int) -> None:
        """Append a row, see `row`."""
        self.rows.append(self.row(method, target, setting, stop, run, seed))
        self.images[method] = run.of(stop)

    def row(self, method: str, target: str | None, setting: dict[str, Any], stop: str, run: Run, seed: int) -> Row:
        """A row in the terms of this table.

        Args:
            method: its name.
            target: the metric it was tuned for, or None.
            setting: of the run.
            stop: of the walk, "" where there is none.
            run: what the method made of the measurements.
            seed: of the bootstrap.
        """
        images = run.of(stop)
        columns = [metric.name for metric in image_metrics(self.metrics)]
        row: Row = {"method": method, "for": target, "setting": setting, "stop": stop, "n": len(images)}
        row |= {column: mean([image[column] for image in images]) for column in columns}
        row |= {metric.name: run.score(metric, stop, seed) for metric in set_metrics(self.metrics)}
        row |= {column: mean([image[column] for image in images]) for column in ("calls", "seconds")}
        row |= {"memory": run.memory}
        row["interval"] = {column: interval([image[column] for image in images], seed) for column in columns}
        return row

    def read(self, folder: Path) -> list[Row]:
        """Read the rows of another comparison.

        Raises:
            UserError: if there is none, it is damaged, or its rows are not alike.
        """
        path = folder / "comparison.json"
        if not path.is_file():
            raise UserError(f"include={folder} holds no comparison.json: give the output folder of a comparison")
        other = read_json(path, REMEDY)
        if not isinstance(other.get("conditions"), dict) or not isinstance(other.get("rows"), list):
            raise UserError(f"{path}: lacks its conditions or rows. {REMEDY}")
        check_alike(self.conditions, other["conditions"], str(folder))
        try:
            return [self._checked(row) for row in other["rows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: a row is damaged ({type(error).__name__}: {error}). {REMEDY}") from error

    def _checked(self, row: Any) -> Row:
        """Return a row of another comparison with the columns of this one as numbers."""
        measured = ["calls", "seconds", *(metric.name for metric in image_metrics(self.metrics))]
        optional = ["memory", *(metric.name for metric in set_metrics(self.metrics))]
        checked: Row = dict(row) | {name: str(row[name]) for name in ("method", "stop")}
        checked |= {"for": row["for"], "setting": dict(row["setting"]), "n": int(row["n"])}
        checked |= {name: float(row[name]) for name in measured}
        checked |= {name: None if row[name] is None else float(row[name]) for name in optional}
        intervals = {name: ends and (float(ends[0]), float(ends[1])) for name, ends in dict(row["interval"]).items()}
        return checked | {"interval": intervals}

    def include(self, folder: Path) -> None:
        """Append the rows of another comparison.

        Raises:
            UserError: see `read`.
        """
        columns = ["calls", "seconds", *(metric.name for metric in image_metrics(self.metrics))]
        types = {"method": str, "name": str, "stop": str} | dict.fromkeys(columns, float)
        images = read_rows(folder / "images.csv", types, REMEDY)
        for row in self.read(folder):
            name = row["method"] if row["method"] not in self.images else f"{row['method']} ({folder.name})"
            self.rows.append(row | {"method": name})
            self.images[name] = [image for image in images if image["method"] == row["method"]]
            known = [image["name"] for image in next(iter(self.images.values()))]
            if [image["name"] for image in self.images[name]] != known:
                raise UserError(f"{folder}/images.csv: lacks rows of {row['method']!r} or has others. {REMEDY}")

    def paired(self, seed: int) -> list[Row]:
        """Differences of every row from Dirac's, row - reference, mean over the images with 95 % intervals."""
        differences = []
        for reference in (name for name in REFERENCES if name in self.images):
            of_reference = {image["name"]: image for image in self.images[reference]}
            for row in (row for row in self.rows if row["method"] != reference):
                difference: Row = {"method": row["method"], "minus": reference, "n": row["n"]}
                for metric in self._judged():
                    m = metric.name
                    values = [image[m] - of_reference[image["name"]][m] for image in self.images[row["method"]]]
                    low, high = interval(values, seed) or (None, None)
                    difference |= {m: mean(values), f"{m}_low": low, f"{m}_high": high}
                differences.append(difference)
        return differences

    def write(self, folder: Path, title: str, seed: int, machine: str) -> list[str]:
        """Write comparison.json, images.csv, table.md/.tex and, where there is Dirac, paired.md/.tex: their names."""
        paired = self.paired(seed)
        write_json(
            folder / "comparison.json",
            {"conditions": self.conditions, "machine": machine, "seed": seed, "rows": self.rows, "paired": paired},
        )
        images = [{"method": row["method"]} | image for row in self.rows for image in self.images[row["method"]]]
        write_rows(folder / "images.csv", images)
        header = ["method", *self._columns()]
        write_markdown_and_latex(folder / "table", header, self.text(intervals=True), self._note(title, seed, machine))
        names = ["comparison.json", "images.csv", "table.md", "table.tex"]
        if paired:
            judged = self._judged()
            cells = [[f"{row['method']} - {row['minus']}", *map(partial(_difference, row), judged)] for row in paired]
            note = f"{title}. Means of the differences image by image. {INTERVALS}"
            header = ["difference", *(metric.name for metric in judged)]
            write_markdown_and_latex(folder / "paired", header, cells, note)
            names += ["paired.md", "paired.tex"]
        return names

    def text(self, intervals: bool = False) -> list[list[str]]:
        """The rows as text."""
        places_of = {"n": 0, "calls": 0, "seconds": 3, "memory": 0} | {m.name: m.digits for m in self.metrics}
        lines = []
        for row in self.rows:
            line = [row["method"]]
            for column in self._columns():
                places = places_of[column]
                between = brackets(row["interval"], column, places) if intervals else ""
                line.append(cell(row.get(column), places) + between)
            lines.append(line)
        return lines

    def print(self, title: str) -> None:
        """Print the rows."""
        caption = "calls: network calls; seconds: per image; memory: peak, MiB; consistency: in noise levels"
        print_table(["method", *self._columns()], self.text(), title, caption)

    def _judged(self) -> list[Metric]:
        """Metrics of single images that have a direction."""
        return [metric for metric in image_metrics(self.metrics) if metric.higher_is_better is not None]

    def _columns(self) -> list[str]:
        judged = [metric.name for metric in self.metrics if metric.higher_is_better is not None]
        others = [metric.name for metric in self.metrics if metric.higher_is_better is None]
        return [*judged, "n", *others, "calls", "seconds", "memory"]

    def _note(self, title: str, seed: int, machine: str) -> str:
        return (
            f"{title}; seed {seed}; {machine}. {INTERVALS} "
            "consistency: distance from the measurement, in its noise level. calls: of the network, per image. "
            "seconds: per image. memory: peak, MiB."
        )


def check_alike(ours: dict[str, Any], theirs: dict[str, Any], where: str) -> None:
    """Refuse rows that do not belong in one table.

    Raises:
        UserError: naming what differs.
    """
    for key, meaning in MEANINGS.items():
        if ours.get(key) != theirs.get(key):
            raise UserError(
                f"{where} does not belong in this table: {meaning} differs, {_short(theirs.get(key))} instead of "
                f"{_short(ours.get(key))}; compare both on the same measurements"
            )


def settings_text(row: Row) -> str:
    """Return the setting and the stopping time of a row as text."""
    return ", ".join([*(f"{key} {value}" for key, value in row["setting"].items()), *filter(None, [row["stop"]])])


def _difference(row: Row, metric: Metric) -> str:
    """A mean difference and its interval."""
    name, low, high = metric.name, row[f"{metric.name}_low"], row[f"{metric.name}_high"]
    ends = None if low is None else (low, high)
    return cell(row[name], metric.digits, "+") + brackets({name: ends}, name, metric.digits, "+")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
