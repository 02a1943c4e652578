"""What is logged and drawn while training."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from diracdiff.evaluation import Evaluation
from diracdiff.evaluation.pictures import TRADEOFF_CSV, gallery_grid
from diracdiff.storage.files import append_rows
from diracdiff.training.module import RestorerModule


class TradeoffLog(Callback):
    """After every validation, adds the trade-off curve to `tradeoff.csv` and sends curves and images to dashboards.

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
            if isinstance(logger, WandbLogger):
                self._to_wandb(logger.experiment, evaluation, where)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/walk", gallery_grid(evaluation.gallery), where["step"])

    def _to_wandb(self, run: Any, evaluation: Evaluation, where: dict[str, int]) -> None:
        import wandb

        curve = evaluation.curve
        logged: dict[str, Any] = {"trainer/global_step": where["step"], "epoch": where["epoch"]}
        for metric in (metric for metric in evaluation.metrics if metric.name in curve[0]):
            lines = {o: [r for r in curve if r["output"] == o] for o in ("mean", "iterate")}
            logged[f"curves/{metric.name}"] = wandb.plot.line_series(
                xs=[[r["t"] for r in rows] for rows in lines.values()],
                ys=[[r[metric.name] for r in rows] for rows in lines.values()],
                keys=["x_hat", "iterate"],
                title=f"{metric.name} against t",
                xname="t",
            )
        rows = [[where["epoch"], where["step"], *row.values()] for row in curve]
        logged["curves/table"] = wandb.Table(columns=["epoch", "step", *curve[0]], data=rows)
        caption = "rows: images; columns: clean, measurement, then x_hat as t falls from 1"
        picture = gallery_grid(evaluation.gallery).permute(1, 2, 0).numpy()
        logged["val/walk"] = wandb.Image(picture, caption=caption)
        run.log(logged)
