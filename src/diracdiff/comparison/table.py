"""The table: rows of the same measurements only, with intervals, and paired differences from Dirac."""

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
from diracdiff.utils.files import read_json, read_rows, write_json, write_rows

REFERENCES = ("dirac_do", "dirac_po")
REMEDY = "Leave this comparison out of include, or run it again."
CONDITIONS = {
    "measurements": "the measurements y",
    "n": "the number of images",
    "sigma": "the noise level, in units of the [0, 1] range",
    "operator": "the degradation",
    **{metric.title.lower(): metric.depends_on for metric in METRICS if metric.depends_on},
}
"""Properties that all rows of a table share, with their meaning."""


def conditions_of(measurements: Measurements, metrics: Sequence[Metric]) -> dict[str, Any]:
    """Return the conditions of rows on these measurements with these metrics."""
    names = {metric.title.lower(): metric.name for metric in metrics if metric.higher_is_better is not None}
    conditions = {"measurements": measurements.digest, "n": len(measurements), "sigma": measurements.sigma}
    conditions["operator"] = measurements.operator
    return conditions | {key: names.get(key) for key in CONDITIONS if key not in conditions}


class Table:
    """Rows that may be compared.

    Args:
        conditions: {key of CONDITIONS: value} of all rows.
        metrics: of single images and of sets, in the order of the columns.

    Attributes:
        rows: method, for, setting, stop, n, calls, seconds, memory and the means of the metrics, with "interval".
        images: {method: its rows per image}.
    """

    def __init__(self, conditions: dict[str, Any], metrics: Sequence[Metric] = ()):
        self.conditions, self.metrics = conditions, list(metrics)
        self.rows: list[Row] = []
        self.images: dict[str, list[Row]] = {}

    def add(self, method: str, target: str | None, setting: dict[str, Any], stop: str, run: Run, seed: int) -> Row:
        """Append the row of a run and return it.

        Args:
            method: name of the row.
            target: metric that the setting was tuned for, or None.
            setting: of the run.
            stop: stopping time, "" for methods without one.
            run: restorations of the measurements.
            seed: of the bootstrap.
        """
        images = self.images[method] = run.of(stop)
        columns = [metric.name for metric in image_metrics(self.metrics)]
        row: Row = {"method": method, "for": target, "setting": setting, "stop": stop, "n": len(images)}
        row |= {column: mean([image[column] for image in images]) for column in columns}
        row |= {metric.name: run.score(metric, stop, seed) for metric in set_metrics(self.metrics)}
        row |= {column: mean([image[column] for image in images]) for column in ("calls", "seconds")}
        intervals = {column: interval([image[column] for image in images], seed) for column in columns}
        self.rows.append(row | {"memory": run.memory, "interval": intervals})
        return self.rows[-1]

    def read(self, folder: Path) -> list[Row]:
        """Read the rows of another comparison; raise ValueError if they are damaged or of other conditions."""
        path = folder / "comparison.json"
        if not path.is_file():
            raise ValueError(f"include={folder} holds no comparison.json: give the output folder of a comparison")
        other = read_json(path, REMEDY)
        try:
            conditions, rows = dict(other["conditions"]), [self._parse(row) for row in other["rows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is damaged ({type(error).__name__}: {error}). {REMEDY}") from error
        for key, meaning in CONDITIONS.items():
            if self.conditions.get(key) != conditions.get(key):
                theirs, ours = (json.dumps(each.get(key))[:80] for each in (conditions, self.conditions))
                raise ValueError(
                    f"{folder} does not belong in this table: {meaning} differs, {theirs} instead of {ours}; compare "
                    "both on the same measurements"
                )
        return rows

    def _parse(self, row: Row) -> Row:
        """Return a row of another comparison with numbers in the columns of this one."""
        measured = ["calls", "seconds", *(metric.name for metric in image_metrics(self.metrics))]
        optional = ["memory", *(metric.name for metric in set_metrics(self.metrics))]
        parsed = dict(row) | {name: str(row[name]) for name in ("method", "stop")}
        parsed |= {"for": row["for"], "setting": dict(row["setting"]), "n": int(row["n"])}
        parsed |= {name: float(row[name]) for name in measured}
        parsed |= {name: None if row.get(name) is None else float(row[name]) for name in optional}
        ends = {name: ends and (float(ends[0]), float(ends[1])) for name, ends in dict(row["interval"]).items()}
        return parsed | {"interval": ends}

    def include(self, folder: Path) -> None:
        """Append the rows of another comparison, see `read`; raise ValueError if its rows per image do not match."""
        columns = ["calls", "seconds", *(metric.name for metric in image_metrics(self.metrics))]
        types = {"method": str, "name": str, "stop": str} | dict.fromkeys(columns, float)
        images = read_rows(folder / "images.csv", types, REMEDY)
        for row in self.read(folder):
            name = row["method"] if row["method"] not in self.images else f"{row['method']} ({folder.name})"
            self.rows.append(row | {"method": name})
            self.images[name] = [image for image in images if image["method"] == row["method"]]
            known = [image["name"] for image in next(iter(self.images.values()))]
            if [image["name"] for image in self.images[name]] != known:
                raise ValueError(f"{folder}/images.csv: lacks rows of {row['method']!r} or has others. {REMEDY}")

    def paired(self, seed: int) -> list[Row]:
        """Return the differences of every row from Dirac's, mean over the images with 95 % intervals."""
        differences = []
        for reference in (name for name in REFERENCES if name in self.images):
            of_reference = {image["name"]: image for image in self.images[reference]}
            for row in (row for row in self.rows if row["method"] != reference):
                difference: Row = {"method": row["method"], "minus": reference, "n": row["n"]}
                for m in (metric.name for metric in self._judged()):
                    values = [image[m] - of_reference[image["name"]][m] for image in self.images[row["method"]]]
                    low, high = interval(values, seed) or (None, None)
                    difference |= {m: mean(values), f"{m}_low": low, f"{m}_high": high}
                differences.append(difference)
        return differences

    def write(self, folder: Path, title: str, seed: int, machine: str) -> list[str]:
        """Write comparison.json, images.csv, table.md/.tex and, with Dirac, paired.md/.tex; return their names."""
        paired = self.paired(seed)
        content = {"conditions": self.conditions, "machine": machine, "seed": seed, "rows": self.rows, "paired": paired}
        write_json(folder / "comparison.json", content)
        images = [{"method": row["method"]} | image for row in self.rows for image in self.images[row["method"]]]
        write_rows(folder / "images.csv", images)
        note = (
            f"{title}; seed {seed}; {machine}. {INTERVALS} consistency: distance from the measurement, in its noise "
            "level. calls: NFE per image. seconds: per image. memory: peak of the GPU, MiB."
        )
        write_markdown_and_latex(folder / "table", ["method", *self._columns()], self.text(intervals=True), note)
        names = ["comparison.json", "images.csv", "table.md", "table.tex"]
        if paired:
            judged = self._judged()
            cells = [[f"{row['method']} - {row['minus']}", *map(partial(_difference, row), judged)] for row in paired]
            note = f"{title}. Means of the differences image by image. {INTERVALS}"
            write_markdown_and_latex(folder / "paired", ["difference", *(m.name for m in judged)], cells, note)
            names += ["paired.md", "paired.tex"]
        return names

    def text(self, intervals: bool = False) -> list[list[str]]:
        """Return the rows as text."""
        places = {"n": 0, "calls": 0, "seconds": 3, "memory": 0} | {m.name: m.digits for m in self.metrics}
        lines = []
        for row in self.rows:
            ends = row["interval"] if intervals else {}
            cells = [cell(row.get(c), places[c]) + brackets(ends, c, places[c]) for c in self._columns()]
            lines.append([row["method"], *cells])
        return lines

    def print(self, title: str) -> None:
        """Print the rows."""
        caption = "calls: NFE; seconds: per image; memory: peak of the GPU, MiB; consistency: in noise levels"
        print_table(["method", *self._columns()], self.text(), title, caption)

    def _judged(self) -> list[Metric]:
        """Return the metrics of single images that have a direction."""
        return [metric for metric in image_metrics(self.metrics) if metric.higher_is_better is not None]

    def _columns(self) -> list[str]:
        judged = [metric.name for metric in self.metrics if metric.higher_is_better is not None]
        others = [metric.name for metric in self.metrics if metric.higher_is_better is None]
        return [*judged, "n", *others, "calls", "seconds", "memory"]


def settings_text(row: Row) -> str:
    """Return the setting and the stopping time of a row as text."""
    return ", ".join([*(f"{key} {value}" for key, value in row["setting"].items()), *filter(None, [row["stop"]])])


def _difference(row: Row, metric: Metric) -> str:
    """Return a mean difference and its interval as text."""
    name, low, high = metric.name, row[f"{metric.name}_low"], row[f"{metric.name}_high"]
    ends = None if low is None else (low, high)
    return cell(row[name], metric.digits, "+") + brackets({name: ends}, name, metric.digits, "+")
