"""Output files of an evaluation: records, curve, summary, tables, pictures and report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diracdiff.evaluation.evaluation import Evaluation
from diracdiff.evaluation.plots import save_figure, stopping_figure, tradeoff_figure
from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.evaluation.tables import print_summary, summarise, write_tables
from diracdiff.metrics.metric import image_metrics
from diracdiff.report.origin import Origin
from diracdiff.report.page import REPORT_NAME
from diracdiff.report.trajectory import evaluation_page
from diracdiff.restorer import Restorer
from diracdiff.utils.errors import warn
from diracdiff.utils.files import check_output, staged_files, write_atomically, write_json, write_rows

TABLES = ("evaluation.json", "images.csv", "curve.csv", "table.md", "table.tex")
PICTURES = ("tradeoff.png", "samples.png")


def check_outputs(folder: Path, tuned: str | None, if_exists: str) -> None:
    """Check that the output files can be written.

    Args:
        folder: output folder.
        tuned: file of the tuned checkpoint, or None.
        if_exists: "error" or "overwrite".

    Raises:
        ValueError: if a file cannot be written, or exists and `if_exists` is "error".
    """
    check_output(folder, [folder / name for name in (*TABLES, *PICTURES, REPORT_NAME)], if_exists)
    if tuned:
        check_output(Path(tuned).parent, [Path(tuned)], if_exists)


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    stopping_points: Mapping[str, StoppingPoint | None],
    extra: StoppingPoint | None,
    restorer: Restorer,
    split: str,
    origin: Origin,
) -> list[str]:
    """Write all output files atomically, and print the summary.

    Args:
        folder: output folder.
        evaluation: finished evaluation.
        stopping_points: {target: stopping point or None}.
        extra: stopping point of the row "target", or None.
        restorer: the evaluated restorer.
        split: "test" or "val".
        origin: command, settings and versions.

    Returns:
        Names of the files.
    """
    curve, metrics = evaluation.curve, evaluation.metrics
    same: dict[str, Any] = {"seed": origin.seed, "steps": restorer.sampler.num_steps, "task": restorer.name}
    images = f"{curve[0]['n']} images of the {split} split"
    title = f"{restorer.name}: {images}"
    with staged_files(folder) as written:
        write_rows(written / "images.csv", evaluation.records.rows)
        write_rows(written / "curve.csv", curve)
        summary = summarise(evaluation, stopping_points, extra, **same)
        write_json(written / "evaluation.json", summary)
        write_tables(written, summary, metrics, title)
        save_figure(tradeoff_figure(curve, stopping_points, metrics, title), written / "tradeoff.png")
        save_figure(stopping_figure(evaluation.gallery, stopping_points), written / "samples.png")
        stops_from = "Stopping times were found on validation images."
        page = evaluation_page("evaluation", evaluation, stopping_points, summary, restorer, images, stops_from, origin)
        write_atomically(written / REPORT_NAME, page)
    columns = [metric.name for metric in image_metrics(metrics)]
    if broken := {row["name"] for row in evaluation.records.rows if any(row[c] != row[c] for c in columns)}:
        warn(f"{len(broken)} of {curve[0]['n']} images have results that are not numbers, {min(broken)} for one")
    print_summary(summary, metrics, f"{title}, {same['steps']} steps, seed {same['seed']}")
    return [*TABLES, *PICTURES, REPORT_NAME]
