"""Results of a training run: a summary, pictures, a page, the next commands, and the values for a sweep."""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diracdiff.evaluation import Evaluation
from diracdiff.evaluation.plots import save_figure, stopping_figure, tradeoff_figure
from diracdiff.evaluation.stopping import candidates
from diracdiff.evaluation.tables import print_summary, summary_of
from diracdiff.metrics import Metric
from diracdiff.report import Origin
from diracdiff.report.page import REPORT_NAME
from diracdiff.report.trajectory import evaluation_page
from diracdiff.restorer import Restorer
from diracdiff.utils.errors import echo
from diracdiff.utils.files import write_atomically, write_json


def report(restorer: Restorer, tested: Evaluation, output_dir: Path, origin: Origin, checkpoint: Path) -> None:
    """Write a summary, pictures and a page of a checkpoint and its test to a folder; print the next command."""
    same: dict[str, Any] = {"seed": restorer.seed, "steps": restorer.sampler.num_steps, "task": restorer.name}
    summary = summary_of(tested, restorer.stopping_points, **same)
    write_json(output_dir / "summary.json", summary)
    title = f"{restorer.name}: trade-off on {restorer.curve[0]['n']} validation images"
    figure = tradeoff_figure(restorer.curve, restorer.stopping_points, tested.metrics, title)
    save_figure(figure, output_dir / "tradeoff.png")
    save_figure(stopping_figure(tested.gallery, restorer.stopping_points), output_dir / "samples.png")
    images = f"{summary['n']} test images"
    stops_from = f"Stopping times were found on {restorer.curve[0]['n']} validation images."
    page = evaluation_page("training", tested, restorer.stopping_points, summary, restorer, images, stops_from, origin)
    write_atomically(output_dir / REPORT_NAME, page)
    print_summary(summary, tested.metrics, f"{restorer.name}: {summary['n']} test images")
    folder = os.path.relpath(output_dir)
    echo(f"report, for a browser: {folder}/{REPORT_NAME}")
    echo(f"pictures: {folder}/tradeoff.png {folder}/samples.png")
    if restorer.name not in ("denoise", "prior", "pmrf"):
        python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"
        target = next(name for name in ("lpips", "swd", "psnr") if name == "psnr" or restorer.stopping_points.get(name))
        words = f"checkpoint={os.path.relpath(checkpoint)} input=FILE_OR_FOLDER output=restored target={target}"
        echo(f"next: {python} -m diracdiff restore {words}")


def check_objective(requested: Any, metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics that `optimized_metric` names; raise ValueError if one is not measured in validation."""
    known = {metric.name: metric for metric in metrics if metric.higher_is_better is not None}
    targets = {metric.target: metric for metric in known.values() if metric.target} | known  # val/lpips: any backbone
    found = []
    for name in [requested] if isinstance(requested, str) else requested or []:
        metric = targets.get(str(name).removeprefix("val/"))
        if metric is None or not str(name).startswith("val/"):
            names = ", ".join(f"val/{name}" for name in targets)
            raise ValueError(f"optimized_metric={name}: is not measured in validation. Use {names} or null.")
        found.append(metric)
    return found


def objective(metrics: Sequence[Metric], best: Restorer) -> float | list[float] | None:
    """Return the best value of each metric along the validation curve; a number for one metric."""
    found = [metric.best(candidates(best.curve))[metric.name] for metric in metrics]
    values = [math.nan if value is None else float(value) for value in found]
    return values[0] if len(values) == 1 else values or None
