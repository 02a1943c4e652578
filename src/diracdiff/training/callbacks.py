"""What is logged and drawn while training."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from diracdiff.evaluation import Evaluation
from diracdiff.evaluation.pictures import TRADEOFF_CSV, curve_figure, gallery_grid
from diracdiff.evaluation.stops import summarise
from diracdiff.metrics import Metric
from diracdiff.training.loggers import PatientWandbLogger
from diracdiff.training.module import RestorerModule
from diracdiff.utils.files import append_rows


class TradeoffLog(Callback):
    """After every validation, adds the trade-off curve to `tradeoff.csv`; dashboards get curves, images and the test.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: str | Path):
        self.run_dir = Path(run_dir)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write and send."""
        assert isinstance(pl_module, RestorerModule)
        evaluation = pl_module.evaluation
        if trainer.sanity_checking or not trainer.is_global_zero or not evaluation.curve:
            return
        where = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        append_rows(self.run_dir / TRADEOFF_CSV, [where | row for row in evaluation.curve])
        for logger in trainer.loggers:
            if isinstance(logger, PatientWandbLogger):
                logger.attempt(self._to_wandb, logger, evaluation, where)
            elif isinstance(logger, TensorBoardLogger):
                picture = gallery_grid(evaluation.gallery)
                logger.experiment.add_image("val/walk", picture, where["step"])
                for metric in self._measured(evaluation):
                    figure = curve_figure(evaluation.curve, metric)
                    logger.experiment.add_figure(f"curves/{metric.name}", figure, where["step"])

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send what the test gives at each stop, `test/do/psnr` say."""
        assert isinstance(pl_module, RestorerModule)
        if not trainer.is_global_zero or not pl_module.evaluation.curve:
            return
        rows = summarise(pl_module.evaluation.curve, pl_module.restorer.stops)
        shown = [metric.name for metric in self._measured(pl_module.evaluation)]
        values = {f"test/{key}/{name}": row[name] for key, row in rows.items() if row for name in shown if name in row}
        for logger in trainer.loggers:
            if isinstance(logger, PatientWandbLogger | TensorBoardLogger):
                logger.log_metrics(values, trainer.global_step)

    def _measured(self, evaluation: Evaluation) -> list[Metric]:
        return [metric for metric in evaluation.metrics if metric.name in evaluation.curve[0]]

    def _to_wandb(self, logger: PatientWandbLogger, evaluation: Evaluation, where: dict[str, int]) -> None:
        import wandb

        curve = evaluation.curve
        logged: dict[str, Any] = {"trainer/global_step": where["step"], "epoch": where["epoch"]}
        for metric in self._measured(evaluation):
            lines = {o: [r for r in curve if r["output"] == o] for o in ("mean", "iterate")}
            logged[f"curves/{metric.name}"] = wandb.plot.line_series(
                xs=[[r["t"] for r in rows] for rows in lines.values()],
                ys=[[r[metric.name] for r in rows] for rows in lines.values()],
                keys=["x_hat", "iterate"],
                title=f"{metric.title} against t",
                xname="t",
            )
        rows = [[where["epoch"], where["step"], *row.values()] for row in curve]
        logged["curves/table"] = wandb.Table(columns=["epoch", "step", *curve[0]], data=rows)
        caption = "rows: images; columns: clean, measurement, then x_hat as t falls from 1"
        picture = gallery_grid(evaluation.gallery).permute(1, 2, 0).numpy()
        logged["val/walk"] = wandb.Image(picture, caption=caption)
        logger.experiment.log(logged)
