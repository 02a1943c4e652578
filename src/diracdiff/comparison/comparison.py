"""A comparison from frozen measurements to the table: tune every method, run it on the test split, report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diracdiff.comparison.contenders import Contender, Dirac
from diracdiff.comparison.curve import Curve
from diracdiff.comparison.dials import Dials, plain, turn
from diracdiff.comparison.measurements import Measurements, freeze, frozen
from diracdiff.comparison.page import comparison_page
from diracdiff.comparison.pictures import draw_images, draw_plane
from diracdiff.comparison.runs import Runner
from diracdiff.comparison.table import Table, conditions_of
from diracdiff.comparison.tuning import TUNERS, Choice, tune
from diracdiff.metrics import Metric, Row
from diracdiff.process import StochasticDegradation
from diracdiff.report import Origin
from diracdiff.report.page import NAME
from diracdiff.utils.errors import UserError, say
from diracdiff.utils.files import check_output, together, write_atomically, write_rows
from diracdiff.utils.pixels import to_pixels

WRITTEN = (
    "comparison.json",
    "images.csv",
    "table.md",
    "table.tex",
    "paired.md",
    "paired.tex",
    "tuning.csv",
    "dials.csv",
    "images.png",
    "plane.png",
    NAME,
)
"""What a comparison writes beside its measurements, where it may replace what an earlier one has left."""


@dataclass(frozen=True)
class Plan:
    """How methods are tuned and shown.

    Attributes:
        folder: for tables and pictures.
        targets: what methods are tuned for.
        trials: settings per method, at most.
        tuner: "grid" or "optuna".
        seed: of tuning, bootstrap and metrics.
        include: folders of other comparisons, whose rows join the table.
        picture_rows: images that are drawn.
        task: what is restored, for the title.
        dials: of Dirac's, {name: values}, see `turn`.
        origin: of the results, for the page; None where no command makes them.

    Raises:
        UserError: if the tuner is unknown, or a folder of another comparison is missing.
    """

    folder: Path
    targets: Sequence[Metric]
    trials: int
    tuner: str
    seed: int
    include: Sequence[Path]
    picture_rows: int
    task: str
    dials: Dials = field(default_factory=dict)
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if self.tuner not in TUNERS:
            raise UserError(f"tuner must be one of {TUNERS}, got {self.tuner!r}")


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written, or with files that a comparison would replace and none has written.

    Raises:
        UserError: naming what is in the way.
    """
    check_output(folder, [], overwrite=True)
    if not any(folder.glob("measurements_*.pt")):
        for path in (folder / name for name in WRITTEN):
            if os.path.lexists(path):
                raise UserError(f"{path} exists, without the measurements of a comparison: give another output")


def pick_targets(asked: str | Sequence[str], metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics that tuning is for, of those that can be: with a stop of their own, of single images.

    Raises:
        UserError: if there is no such metric, or it cannot be measured.
    """
    names = [asked] if isinstance(asked, str) else list(asked)
    known = {"psnr", "lpips"}
    for name in names:
        if name not in known:
            raise UserError(f"tune_for must be psnr, lpips or both, [psnr,lpips], got {name!r}")
    if not names:
        raise UserError("tune_for must be psnr, lpips or both, [psnr,lpips], got nothing")
    found = {metric.target: metric for metric in metrics if metric.target}
    for name in names:
        if name not in found:
            raise UserError(f"tune_for={name} needs {name.upper()}, which is not measured: use tune_for=psnr")
    return [found[name] for name in names]


def compare(plan: Plan, runner: Runner, contenders: Sequence[Contender], val: Measurements, test: Measurements) -> None:
    """Tune every contender on `val`, run it on `test`, and write and print the table.

    What is run is kept in the runner's folder, so that a comparison goes on where it was stopped.

    Raises:
        UserError: if the rows of another comparison do not belong in the table.
    """
    metrics, log = runner.metrics, []
    dials: list[Row] = []
    table = Table(conditions_of(test, metrics), metrics)
    pictures: dict[str, Tensor] = {}
    curves: dict[str, Curve] = {}
    for other in plan.include:
        table.read(other)  # refused before anything is run

    for contender in contenders:
        dirac = isinstance(contender, Dirac)
        wanted = [metric for metric in metrics if metric.abbreviation] if dirac else plan.targets
        choices, trials = tune(contender, runner, val, wanted, plan.trials, plan.tuner, plan.seed)
        log += trials
        for name, choice in _named(contender.name, choices, wanted, dirac).items():
            kept = {other.stop for other in choices if other.setting == choice.setting}
            drawn_of = {r["stop"] for r in trials if r["setting"] == json.dumps(choice.setting) and "mean" in r["stop"]}
            asked, described = drawn_of | kept, f"testing {contender.name}"
            few = plan.picture_rows if dirac else 0
            run = runner.run(contender, choice.setting, test, kept.__contains__, described, asked, few)
            same = [c.metric for c in choices if (c.setting, c.stop) == (choice.setting, choice.stop)]
            tuned_for = ", ".join(same) if contender.search or dirac else None
            table.add(name, tuned_for, choice.setting, choice.stop, run, plan.seed)
            pictures[name] = run.images[choice.stop][: plan.picture_rows]
            if dirac:
                curve = Curve.of(run, choice.setting)
                curves.setdefault(curve.name, curve)
            say(_line(table.rows[-1]))
        if isinstance(contender, Dirac) and any(plan.dials.values()):
            dials, turned = turn(plan.dials, contender, choices[-1].setting, runner, val, test, table, plan.seed)
            pictures |= {name: images[: plan.picture_rows] for name, images in turned.items()}
            for row in dials:
                say(_line(row))
    if runner.ranks.rank > 0:
        return
    for other in plan.include:
        table.include(other)
    title = f"{plan.task}, {len(test)} test images, sigma {test.sigma:.3g}"
    with together(plan.folder) as folder:
        names = table.write(folder, title, plan.seed, machine(runner.device))
        write_rows(folder / "tuning.csv", log)
        columns = {"clean": test.clean[: plan.picture_rows], "measured": to_pixels(test.y[: plan.picture_rows])}
        of_rows = {k: v for k, v in pictures.items() if k in table.images and k != "measurement"}
        draw_images(folder / "images.png", columns | of_rows)
        drawn = ["images.png"]
        plane = [metric for metric in metrics if metric.abbreviation]
        if len(plane) > 1:
            points = {row["method"]: row for row in table.rows}
            draw_plane(
                folder / "plane.png", points, {k: curve.points for k, curve in curves.items()}, dials, *plane[:2]
            )
            drawn.append("plane.png")
        if dials:
            write_rows(folder / "dials.csv", plain(dials))
            drawn.append("dials.csv")
        shown = {"clean": columns["clean"], "measurement": columns["measured"]} | pictures
        where = (test.names, plan.seed, machine(runner.device), plan.origin)
        write_atomically(folder / NAME, comparison_page(table, title, list(curves.values()), dials, shown, *where))
        drawn.append(NAME)
    table.print(title)
    say(f"written to {plan.folder}: {' '.join([*names, 'tuning.csv', *drawn])}")


def _named(name: str, choices: Sequence[Choice], wanted: Sequence[Metric], dirac: bool) -> dict[str, Choice]:
    """Choices by the names of their rows: one row for choices that are the same."""
    if dirac:
        return {f"{name}_{metric.stop_key()}": choice for metric, choice in zip(wanted, choices, strict=True)}
    if all(choice.setting == choices[0].setting for choice in choices):
        return {name: choices[0]}
    return {f"{name} ({metric.target})": choice for metric, choice in zip(wanted, choices, strict=True)}


def _line(row: Row) -> str:
    setting = ", ".join(f"{key} {value}" for key, value in row["setting"].items())
    tuned = (
        f" tuned for {row['for']}: {setting or 'nothing to tune'}{row['stop'] and ', ' + row['stop']};"
        if row["for"]
        else ""
    )
    return f"{row['method']}:{tuned} {row['psnr']:.2f} dB, {row['calls']:.0f} calls, {row['seconds']:.3f} s per image"


def frozen_splits(
    folder: Path, batches: Mapping[str, Iterable[dict[str, Any]]], process: StochasticDegradation, seed: int
) -> dict[str, Measurements]:
    """The measurements of every split: those in the folder, which are made first if there are none.

    Args:
        folder: of the comparison.
        batches: of clean images, by split.
        process: that measures them.
        seed: of the run.

    Raises:
        UserError: if the folder holds measurements of another problem.
    """
    made = {split: freeze(of_split, process, seed) for split, of_split in batches.items()}
    return {split: frozen(folder / f"measurements_{split}.pt", fresh) for split, fresh in made.items()}


def machine(device: str) -> str:
    """Where seconds are taken."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
