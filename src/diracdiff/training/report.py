"""Results of a training run: a summary, pictures, a page, the next commands, and the values for a sweep."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diracdiff.evaluation import Evaluation
from diracdiff.evaluation.plots import save_figure, stopping_figure, tradeoff_figure
from diracdiff.evaluation.tables import print_summary, summary_of
from diracdiff.metrics import Metric
from diracdiff.report import Origin
from diracdiff.report.page import NAME
from diracdiff.report.trajectory import evaluation_page
from diracdiff.restorer import Restorer
from diracdiff.training.saving import BEST
from diracdiff.utils.errors import say
from diracdiff.utils.files import write_atomically, write_json


def report(restorer: Restorer, tested: Evaluation, run_dir: Path, origin: Origin) -> None:
    """Write a summary, pictures and a page of a tested restorer; print the summary and what to do next.

    Args:
        restorer: restorer of `best.ckpt`.
        tested: its test.
        run_dir: the run's folder.
        origin: command and configuration for the page.
    """
    same: dict[str, Any] = {"seed": restorer.seed, "steps": restorer.sampler.steps, "task": restorer.name}
    summary = summary_of(tested, restorer.stops, **same)
    write_json(run_dir / "summary.json", summary)
    title = f"{restorer.name}: trade-off on {restorer.curve[0]['n']} validation images"
    save_figure(tradeoff_figure(restorer.curve, restorer.stops, tested.metrics, title), run_dir / "tradeoff.png")
    save_figure(stopping_figure(tested.gallery, restorer.stops), run_dir / "samples.png")
    images = f"{summary['n']} test images"
    stops_from = f"Stopping times were found on {restorer.curve[0]['n']} validation images."
    page = evaluation_page("training", tested, restorer.stops, summary, restorer, images, stops_from, origin)
    write_atomically(run_dir / NAME, page)
    print_summary(summary, tested.metrics, f"{restorer.name}: {summary['n']} test images")
    _print_next_steps(restorer, run_dir)


def _print_next_steps(restorer: Restorer, run_dir: Path) -> None:
    folder = os.path.relpath(run_dir)
    best = f"{folder}/{BEST}"
    target = next(name for name in ("lpips", "swd", "psnr") if name == "psnr" or restorer.stops.get(name))
    commands = {
        "denoise": f"evaluate checkpoint={best}",
        "prior": f"compare checkpoint=RESTORER prior={best}",
        "pmrf": f'compare checkpoint=RESTORER regression=REGRESSION flow={best} "baseline=[regression,pmrf]"',
    }
    restore = f"restore checkpoint={best} input=FILE_OR_FOLDER output=restored target={target}"
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"
    say(f"report, for a browser: {folder}/{NAME}")
    say(f"pictures: {folder}/tradeoff.png {folder}/samples.png")
    say(f"next: {python} -m diracdiff {commands.get(restorer.name, restore)}")


def check_objective(requested: Any, metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics that `optimized_metric` names: `val/psnr`, a list, or none for null.

    Raises:
        ValueError: if one is not measured or has no best value.
    """
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
    values = [float(metric.best(best.curve)[metric.name]) for metric in metrics]
    return values[0] if len(values) == 1 else values or None
