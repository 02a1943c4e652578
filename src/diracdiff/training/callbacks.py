"""Trade-off curves in files and on dashboards."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from diracdiff.evaluation import Evaluation
from diracdiff.evaluation.plots import TRADEOFF_CSV, figure_pixels, tradeoff_figure, trajectory_figure
from diracdiff.evaluation.stopping import key_rows
from diracdiff.metrics import Metric
from diracdiff.training.loggers import PatientWandbLogger
from diracdiff.utils.files import append_rows


class TradeoffLog(Callback):
    """Append the trade-off curve of each validation to `tradeoff.csv`; send curves, images and the test to dashboards.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: str | Path):
        self.run_dir = Path(run_dir)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the curve of a validation."""
        evaluation: Evaluation = pl_module.evaluation
        if trainer.sanity_checking or not trainer.is_global_zero or not evaluation.curve:
            return
        position = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        append_rows(self.run_dir / TRADEOFF_CSV, [position | row for row in evaluation.curve])
        for logger in trainer.loggers:
            if isinstance(logger, PatientWandbLogger):
                logger.attempt(_send_to_wandb, logger, evaluation, position)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure("val/walk", trajectory_figure(evaluation.gallery), position["step"])
                figure = tradeoff_figure(evaluation.curve, {}, evaluation.metrics)
                logger.experiment.add_figure("curves", figure, position["step"])

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Send the test's value of each metric at each stopping time, such as `test/do/psnr`."""
        if not trainer.is_global_zero or not pl_module.evaluation.curve:
            return
        rows = key_rows(pl_module.evaluation.curve, pl_module.restorer.stops)
        names = [metric.name for metric in _measured(pl_module.evaluation)]
        values = {f"test/{key}/{name}": row[name] for key, row in rows.items() if row for name in names if name in row}
        for logger in trainer.loggers:
            if isinstance(logger, PatientWandbLogger | TensorBoardLogger):
                logger.log_metrics(values, trainer.global_step)


def _measured(evaluation: Evaluation) -> list[Metric]:
    return [metric for metric in evaluation.metrics if metric.name in evaluation.curve[0]]


def _send_to_wandb(logger: PatientWandbLogger, evaluation: Evaluation, position: dict[str, int]) -> None:
    import wandb

    curve = evaluation.curve
    logged: dict[str, Any] = {"trainer/global_step": position["step"], "epoch": position["epoch"]}
    lines = [[row for row in curve if row["output"] == output] for output in ("mean", "iterate")]
    for metric in _measured(evaluation):
        logged[f"curves/{metric.name}"] = wandb.plot.line_series(
            xs=[[row["t"] for row in rows] for rows in lines],
            ys=[[row[metric.name] for row in rows] for rows in lines],
            keys=["x_hat", "iterate"],
            title=f"{metric.title} against t",
            xname="t",
        )
    rows = [[*position.values(), *row.values()] for row in curve]
    logged["curves/table"] = wandb.Table(columns=[*position, *curve[0]], data=rows)
    caption = "rows: images; columns: clean, measurement, then x_hat as t falls from 1"
    logged["val/walk"] = wandb.Image(figure_pixels(trajectory_figure(evaluation.gallery)), caption=caption)
    logger.experiment.log(logged)
