"""Helpers of the experiments: run `diracdiff evaluate` for several settings, collect and plot results."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diracdiff.utils.files import read_rows, write_rows

RUNS = Path("runs/experiments")
COLOURS = ("#2463a8", "#c8553d", "#4a9061", "#8a5a9e", "#8a8a8a", "#b08a1e")


def run(module: str, *overrides: str) -> None:
    """Run a command of the package.

    Raises:
        SystemExit: if the command fails.
    """
    command = [sys.executable, "-m", "diracdiff", module, *overrides]
    print(" ".join(command[2:]), flush=True)
    if subprocess.run(command).returncode:
        raise SystemExit(2)


def evaluate(folder: Path, *overrides: str) -> dict[str, Any]:
    """Return the summary of `diracdiff evaluate` in `folder`. A finished run with equal overrides is reused."""
    summary, previous = folder / "evaluation.json", folder / "overrides.json"
    if not summary.exists() or not previous.exists() or json.loads(previous.read_text()) != list(overrides):
        command = [sys.executable, "-m", "diracdiff", "evaluate", f"output={folder}", "if_exists=overwrite", *overrides]
        print(" ".join(command[2:]), flush=True)
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit(2)
        previous.write_text(json.dumps(overrides))
    return json.loads(summary.read_text())


def sweep(name: str, settings: Mapping[str, Sequence[str]], arguments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Evaluate several settings and write `results.csv`.

    Args:
        name: name of the experiment.
        settings: {name of a setting: overrides}.
        arguments: overrides of all settings.

    Returns:
        {name of a setting: summary}.
    """
    summaries = {key: evaluate(RUNS / name / key, *arguments, *more) for key, more in settings.items()}
    rows = []
    for key, summary in summaries.items():
        for stop in ("measurement", "one_shot", "do", "po", "target"):
            if summary.get(stop):
                cells = {metric: value for metric, value in summary[stop].items() if metric != "interval"}
                rows.append({"setting": key, "stop": stop, "n": summary["n"], "steps": summary["steps"]} | cells)
    write_rows(RUNS / name / "results.csv", rows)
    print(f"written: {RUNS / name / 'results.csv'}")
    return summaries


def lpips_of(summary: dict[str, Any]) -> str:
    """Return the name of the LPIPS column of a summary."""
    return next(key for key in summary["measurement"] if key.startswith("lpips_"))


def curve(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of x_hat of a `curve.csv` as numbers, in the order of falling t."""
    rows = [row for row in read_rows(folder / "curve.csv") if row["output"] == "x_hat"]
    return [{key: float(value) for key, value in row.items() if key != "output"} for row in rows]


def panels(count: int, width: float = 4.6, height: float = 3.6):
    """Return a figure with `count` adjacent axes: (figure, axes)."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count, squeeze=False)[0]


def save(figure, name: str) -> None:
    """Write the figure of an experiment."""
    path = RUNS / name / "figure.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"written: {path}")
