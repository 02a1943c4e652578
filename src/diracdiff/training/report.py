"""Results of a training run: summary, figures, HTML report, and objective values for a sweep."""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diracdiff.evaluation import Evaluation
from diracdiff.evaluation.plots import save_figure, stopping_figure, tradeoff_figure
from diracdiff.evaluation.stopping import candidates
from diracdiff.evaluation.tables import print_summary, summarise
from diracdiff.metrics import Metric
from diracdiff.report import Origin
from diracdiff.report.page import REPORT_NAME
from diracdiff.report.trajectory import evaluation_page
from diracdiff.restorer import Restorer
from diracdiff.utils.errors import echo
from diracdiff.utils.files import write_atomically, write_json


def write_report(
    restorer: Restorer, evaluation: Evaluation, output_dir: Path, origin: Origin, checkpoint: Path
) -> None:
    """Write the summary, figures and HTML report of a test, and print the command for restoration.

    Args:
        restorer: tested restorer, with the trade-off curve of its validation.
        evaluation: finished evaluation of the test.
        output_dir: folder of the run.
        origin: origin of the results, for the report.
        checkpoint: path of the tested checkpoint, for the printed command.
    """
    settings: dict[str, Any] = {"seed": restorer.seed, "steps": restorer.sampler.num_steps, "task": restorer.name}
    summary = summarise(evaluation, restorer.stopping_points, **settings)
    write_json(output_dir / "summary.json", summary)
    title = f"{restorer.name}: trade-off on {restorer.curve[0]['n']} validation images"
    figure = tradeoff_figure(restorer.curve, restorer.stopping_points, evaluation.metrics, title)
    save_figure(figure, output_dir / "tradeoff.png")
    save_figure(stopping_figure(evaluation.gallery, restorer.stopping_points), output_dir / "samples.png")
    images = f"{summary['n']} test images"
    stops_from = f"Stopping times were selected on {restorer.curve[0]['n']} validation images."
    page = evaluation_page(
        "training", evaluation, restorer.stopping_points, summary, restorer, images, stops_from, origin
    )
    write_atomically(output_dir / REPORT_NAME, page)
    print_summary(summary, evaluation.metrics, f"{restorer.name}: {summary['n']} test images")
    folder = os.path.relpath(output_dir)
    echo(f"report, for a browser: {folder}/{REPORT_NAME}")
    echo(f"pictures: {folder}/tradeoff.png {folder}/samples.png")
    if restorer.name not in ("denoise", "prior", "pmrf"):
        python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"
        target = next(name for name in ("lpips", "swd", "psnr") if name == "psnr" or restorer.stopping_points.get(name))
        arguments = f"checkpoint={os.path.relpath(checkpoint)} input=FILE_OR_FOLDER output=restored target={target}"
        echo(f"next: {python} -m diracdiff restore {arguments}")


def objective_metrics(names: Any, metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics named by `optimized_metric`.

    Args:
        names: one name, a list of names or None, such as "val/psnr".
        metrics: metrics of validation.

    Raises:
        ValueError: if a name is not a metric of validation.
    """
    by_name = {metric.name: metric for metric in metrics if metric.higher_is_better is not None}
    options = {metric.target: metric for metric in by_name.values() if metric.target} | by_name  # lpips: any backbone
    selected = []
    for name in [names] if isinstance(names, str) else names or []:
        metric = options.get(str(name).removeprefix("val/"))
        if metric is None or not str(name).startswith("val/"):
            available = ", ".join(f"val/{option}" for option in options)
            raise ValueError(f"optimized_metric={name}: is not measured in validation. Use {available} or null.")
        selected.append(metric)
    return selected


def objective_values(metrics: Sequence[Metric], best: Restorer) -> float | list[float] | None:
    """Return the best value of each metric on the validation curve.

    Args:
        metrics: metrics of `optimized_metric`.
        best: restorer of the best checkpoint.

    Returns:
        A number for one metric, a list for several metrics, None for none.
    """
    best_values = [metric.best(candidates(best.curve))[metric.name] for metric in metrics]
    values = [math.nan if value is None else float(value) for value in best_values]
    return values[0] if len(values) == 1 else values or None
