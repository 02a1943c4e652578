"""What is logged and drawn while training, and how it stops when asked to."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from diracdiff.errors import warn
from diracdiff.evaluation import Evaluation, Metric
from diracdiff.evaluation.pictures import TRADEOFF_CSV, curve_figure, gallery_grid
from diracdiff.evaluation.stops import summarise
from diracdiff.signals import on_signals
from diracdiff.storage.files import append_rows
from diracdiff.training.loggers import PatientWandbLogger
from diracdiff.training.module import RestorerModule


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
                title=f"{metric.name} against t",
                xname="t",
            )
        rows = [[where["epoch"], where["step"], *row.values()] for row in curve]
        logged["curves/table"] = wandb.Table(columns=["epoch", "step", *curve[0]], data=rows)
        caption = "rows: images; columns: clean, measurement, then x_hat as t falls from 1"
        picture = gallery_grid(evaluation.gallery).permute(1, 2, 0).numpy()
        logged["val/walk"] = wandb.Image(picture, caption=caption)
        logger.experiment.log(logged)


class Interrupted(Exception):
    """Training was asked to stop by a signal.

    Attributes:
        signum: the signal.
        checkpoint: where the state was saved.
    """

    def __init__(self, signum: int, checkpoint: Path):
        super().__init__(signum, checkpoint)
        self.signum, self.checkpoint = signum, checkpoint


@cache
def _warn_once(message: str) -> None:
    warn(message)


def point_latest(run_dir: Path) -> None:
    """Let `runs/latest` lead to the newest run, unless something else than a link has that name."""
    runs = next((parent for parent in run_dir.resolve().parents if parent.name == "runs"), None)
    if runs is None:
        return
    if os.path.lexists(runs / "latest") and not (runs / "latest").is_symlink():
        _warn_once(f"{runs / 'latest'} is not a link and is left as it is: the newest run is {run_dir}")
        return
    link = runs / f".latest.{os.getpid()}"
    link.symlink_to(os.path.relpath(run_dir, runs))
    os.replace(link, runs / "latest")


class StopOnSignal(Callback):
    """On SIGINT or SIGTERM, finishes the step, saves `last.ckpt` and stops. A second signal stops at once.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: str | Path):
        self.checkpoint = Path(run_dir) / "last.ckpt"
        self._received = 0
        self._put_back: Callable[[], None] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen."""
        self._received = 0
        self._put_back = on_signals(self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._received:
            raise KeyboardInterrupt
        self._received = signum

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Save and stop if there was a signal.

        Raises:
            Interrupted: then.
        """
        if signum := self._signal(trainer, pl_module):
            self._save(trainer)
            raise Interrupted(signum, self.checkpoint)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, since a validation that is broken off must be begun anew."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Stop if this process got a signal: processes may have different numbers of batches, so none asks another.

        Raises:
            Interrupted: then.
        """
        if trainer.state.fn == "fit" and self._received:
            raise Interrupted(self._received, self.checkpoint)

    def _signal(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> int:
        """The signal that any of the processes has received, or 0."""
        if trainer.world_size == 1:
            return self._received
        received = torch.tensor(self._received, device=pl_module.device)
        return int(trainer.strategy.reduce(received, reduce_op="max"))

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.checkpoint)
        if trainer.is_global_zero:
            point_latest(self.checkpoint.parent)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen no longer."""
        self._stop_listening()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Listen no longer."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._put_back is not None:
            self._put_back()
        self._put_back = None


class Checkpoints(ModelCheckpoint):
    """`best.ckpt`, by the PSNR peak of validation, and `last.ckpt`, after every validation and at the end.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: str | Path):
        super().__init__(
            run_dir,
            filename="best",
            monitor="val/psnr",
            mode="max",
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.last = Path(run_dir) / "last.ckpt"
        self._last_step = -1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best and the last."""
        super().on_validation_end(trainer, pl_module)
        self._save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last."""
        self._save_last(trainer)

    def _save_last(self, trainer: pl.Trainer) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.global_step > self._last_step:
            trainer.save_checkpoint(self.last)
            if trainer.is_global_zero:
                point_latest(self.last.parent)
            self._last_step = trainer.global_step
