"""Comparison of methods: tune each method, run it on the test split, and write tables and the report."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diracdiff.comparison.measurements import Measurements
from diracdiff.comparison.methods import ComparedMethod, DiracMethod, Setting
from diracdiff.comparison.page import comparison_page, curve_points, draw_plane
from diracdiff.comparison.runs import Run, Runner
from diracdiff.comparison.table import Table, settings_text
from diracdiff.evaluation.plots import images_figure, save_figure
from diracdiff.evaluation.posterior import SAMPLE_METRICS
from diracdiff.metrics import Metric, Row
from diracdiff.report import Origin
from diracdiff.report.page import REPORT_NAME
from diracdiff.utils.errors import echo
from diracdiff.utils.files import check_output, staged_files, write_atomically, write_rows
from diracdiff.utils.pixels import to_pixels

WRITTEN = (
    *("comparison.json", "images.csv", "table.md", "table.tex", "paired.md", "paired.tex"),
    *("tuning.csv", "images.png", "plane.png", REPORT_NAME),
)
"""Output files of a comparison. A second run replaces them."""


def check_output_folder(folder: Path) -> None:
    """Raise ValueError if a folder cannot be written, or has output files but no measurements of a comparison."""
    resumes = any(folder.glob("measurements_*.pt"))
    check_output(folder, [])
    existing = next((path for name in WRITTEN if os.path.lexists(path := folder / name)), None)
    if existing and not resumes:
        raise ValueError(f"{existing}: exists. Give another output, or move it away.")


def select_targets(names: str | Sequence[str], metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics of the tuning.

    Args:
        names: "psnr", "lpips" or both.
        metrics: metrics of the comparison.

    Raises:
        ValueError: if there is no name, or a metric is unknown or not measured.
    """
    names = [names] if isinstance(names, str) else list(names)
    by_target = {metric.target: metric for metric in metrics if metric.target}
    if unknown := [name for name in names if name not in ("psnr", "lpips")] or ([] if names else ["nothing"]):
        raise ValueError(f"tune_for={unknown[0]}: must be psnr, lpips or both, [psnr,lpips].")
    if missing := [name for name in names if name not in by_target]:
        raise ValueError(f"tune_for={missing[0]}: needs the metric {missing[0].upper()}. Use tune_for=psnr.")
    return [by_target[name] for name in names]


class TunedSetting(NamedTuple):
    """Best setting and stopping time for a metric on the validation images."""

    metric: str
    setting: Setting
    stop: str


def grid(search: dict[str, list[Any]], trials: int) -> list[Setting]:
    """Return at most `trials` settings, evenly spaced in the list of all combinations, beginning with the first."""
    combinations = [dict(zip(search, values, strict=True)) for values in itertools.product(*search.values())]
    count = min(trials, len(combinations))
    return [combinations[i * len(combinations) // count] for i in range(count)]


def tune(
    method: ComparedMethod, runner: Runner, measurements: Measurements, metrics: Sequence[Metric], trials: int
) -> tuple[list[TunedSetting], list[Row]]:
    """Find the best setting for each metric. All metrics use the same trials.

    Args:
        method: method to tune.
        runner: runs the method.
        measurements: validation measurements.
        metrics: metrics to optimise.
        trials: maximum number of settings.

    Returns:
        The best setting for each metric, and a log with one row per trial and stopping time.
    """
    tried, log, settings = list[tuple[Setting, dict[str, Row]]](), list[Row](), grid(method.search, trials)
    for i, setting in enumerate(settings):
        description = f"tuning {method.name}, trial {i + 1} of {len(settings)}"
        tried.append((setting, runner.run(method, setting, measurements, description).means()))
        row = {"method": method.name, "trial": i, "n": len(measurements), "setting": json.dumps(setting)}
        log += [row | {"stop": stop} | columns for stop, columns in tried[-1][1].items()]
    return [best(tried, metric) for metric in metrics], log


def best(tried: Sequence[tuple[Setting, dict[str, Row]]], metric: Metric) -> TunedSetting:
    """Return the best setting and stopping time for a metric.

    If values are equal, the smaller NFE is better. NaN is the worst value. Iterates are not considered, because they
    contain noise.

    Args:
        tried: pairs of a setting and {stopping time: means of the metrics}.
        metric: metric to optimise.
    """
    candidates = [
        (metric.cost(row[metric.name]), row["calls"], i, stop)
        for i, (_, means) in enumerate(tried)
        for stop, row in means.items()
        if not stop.startswith("iterate")
    ]
    *_, i, stop = min(candidates)
    return TunedSetting(metric.name, tried[i][0], stop)


@dataclass
class Comparison:
    """Comparison of methods.

    Attributes:
        folder: output folder of tables and pictures.
        task: name of the task, for the title.
        runner: runs the methods. It saves finished batches, so that an interrupted comparison resumes.
        val: measurements for tuning.
        test: measurements for the table.
        seed: seed of the bootstrap and the metrics.
        origin: command, settings and versions, for the report.
    """

    folder: Path
    task: str
    runner: Runner
    val: Measurements
    test: Measurements
    seed: int
    origin: Origin | None = None

    def __post_init__(self) -> None:
        test, first = self.test, slice(self.runner.pictures)
        self.title = f"{self.task}, {len(test)} test images, sigma {test.sigma:.3g}"
        conditions = {"measurements": test.digest, "n": len(test), "sigma": test.sigma, "operator": test.operator}
        metrics = [*self.runner.metrics, *(SAMPLE_METRICS if self.runner.samples else ())]
        conditions |= {"samples": self.runner.samples} if self.runner.samples else {}
        self.table = Table(metrics, conditions)
        self.log: list[Row] = []
        self.curves: dict[str, Run] = {}
        self.pictures: dict[str, Tensor] = {"clean": test.clean[first], "measurement": to_pixels(test.y[first])}

    def run(self, methods: Sequence[ComparedMethod], targets: Sequence[Metric], trials: int) -> None:
        """Tune each method on `val`, run it on `test`, and write and print the table.

        Args:
            methods: methods in the order of the table.
            targets: metrics of the tuning. Dirac is always tuned for both PSNR and LPIPS.
            trials: maximum number of settings per method.
        """
        for method in methods:
            self._add(method, targets, trials)
        if self.runner.ranks.rank == 0:
            self._write()

    def _add(self, method: ComparedMethod, targets: Sequence[Metric], trials: int) -> None:
        """Tune a method, run it on the test split, and add its rows to the table."""
        dirac = isinstance(method, DiracMethod)
        wanted = [metric for metric in self.runner.metrics if metric.abbreviation] if dirac else targets
        choices, log = tune(method, self.runner, self.val, wanted, trials)
        self.log += log
        for name, choice in _rows(method.name, choices, wanted, dirac).items():
            stopping_points = {other.stop for other in choices if other.setting == choice.setting}
            run = self.runner.run(method, choice.setting, self.test, f"testing {method.name}", stopping_points)
            same = [c.metric for c in choices if (c.setting, c.stop) == (choice.setting, choice.stop)]
            tuned_for = ", ".join(same) if method.search or dirac else None
            row = self.table.add(name, tuned_for, choice.setting, choice.stop, run, self.seed)
            self.pictures[name] = run.images[choice.stop]
            if dirac:
                setting = settings_text(row | {"stop": ""})
                self.curves[f"Dirac over t{f' ({setting})' if setting else ''}"] = run
            tuned = f" tuned for {row['for']}: {settings_text(row) or 'nothing to tune'};" if row["for"] else ""
            echo(f"{name}:{tuned} {row['psnr']:.2f} dB, NFE {row['calls']:.0f}, {row['seconds']:.3f} s per image")

    def _write(self) -> None:
        """Write all output files atomically, and print the table."""
        threads = torch.get_num_threads()
        machine = f"CPU, {threads} thread{'s' if threads > 1 else ''}"
        if self.runner.device.startswith("cuda"):
            machine = torch.cuda.get_device_name(self.runner.device)
        axes = [metric for metric in self.runner.metrics if metric.abbreviation]
        with staged_files(self.folder) as folder:
            self.table.write(folder, self.title, self.seed, machine)
            write_rows(folder / "tuning.csv", self.log)
            save_figure(images_figure(self.pictures), folder / "images.png")
            if len(axes) > 1:
                points = {row["method"]: row for row in self.table.rows if not row["method"].startswith("measurement")}
                lines = {name: curve_points(run) for name, run in self.curves.items()}
                draw_plane(folder / "plane.png", points, lines, *axes)
            content = (self.table, self.title, self.curves, self.pictures, self.test.names, self.seed, machine)
            write_atomically(folder / REPORT_NAME, comparison_page(*content, self.origin))
            names = sorted(path.name for path in folder.iterdir())
        self.table.print(self.title)
        echo(f"written to {self.folder}: {' '.join(names)}")


def _rows(name: str, choices: Sequence[TunedSetting], wanted: Sequence[Metric], dirac: bool) -> dict[str, TunedSetting]:
    """Return {row name: tuned setting}. Equal settings of a method have one row."""
    if dirac:
        suffixes = (metric.stopping_point_name().lower() for metric in wanted)
        return {f"{name}_{suffix}": choice for suffix, choice in zip(suffixes, choices, strict=True)}
    if all(choice.setting == choices[0].setting for choice in choices):
        return {name: choices[0]}
    return {f"{name} ({metric.target})": choice for metric, choice in zip(wanted, choices, strict=True)}
