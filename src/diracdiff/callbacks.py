"""What is logged and drawn while training, and how it stops when asked to."""

import os
import signal
from functools import cache
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from diracdiff.errors import warn
from diracdiff.files import append_rows
from diracdiff.report import TRADEOFF_CSV, gallery_grid
from diracdiff.restorer import Restorer
from diracdiff.walks import KEYS


class TradeoffLog(Callback):
    """After every validation, adds the trade-off curve to `tradeoff.csv` and sends curves and images to dashboards.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: str | Path):
        self.run_dir = Path(run_dir)

    def on_validation_end(self, trainer: pl.Trainer, restorer: Restorer) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or not restorer.curve:
            return
        where = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        append_rows(self.run_dir / TRADEOFF_CSV, [where | row for row in restorer.curve])
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                self._to_wandb(logger.experiment, restorer, where)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/walk", gallery_grid(restorer), where["step"])

    def _to_wandb(self, run, restorer: Restorer, where: dict[str, int]) -> None:
        import wandb

        logged: dict = {"trainer/global_step": where["step"], "epoch": where["epoch"]}
        metrics = [key for key in restorer.curve[0] if key not in (*KEYS, "n", "seconds")]
        for metric in metrics:
            lines = {o: [r for r in restorer.curve if r["output"] == o] for o in ("mean", "iterate")}
            logged[f"curves/{metric}"] = wandb.plot.line_series(
                xs=[[r["t"] for r in rows] for rows in lines.values()],
                ys=[[r[metric] for r in rows] for rows in lines.values()],
                keys=["x_hat", "iterate"],
                title=f"{metric} against t",
                xname="t",
            )
        columns = list(restorer.curve[0])
        rows = [[where["epoch"], where["step"], *row.values()] for row in restorer.curve]
        logged["curves/table"] = wandb.Table(columns=["epoch", "step", *columns], data=rows)
        caption = "rows: images; columns: clean, measurement, then x_hat as t falls from 1"
        logged["val/walk"] = wandb.Image(gallery_grid(restorer).permute(1, 2, 0).numpy(), caption=caption)
        run.log(logged)


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
        _warn_once(f"{runs / 'latest'} is no link and is left as it is: the newest run is {run_dir}")
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
        self._previous: dict = {}

    def on_train_start(self, trainer: pl.Trainer, restorer: Restorer) -> None:
        self._received = 0
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._previous[signum] = signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame) -> None:
        if self._received:
            raise KeyboardInterrupt
        self._received = signum

    def on_train_batch_end(self, trainer: pl.Trainer, restorer: Restorer, *_) -> None:
        signum = self._received
        if trainer.world_size > 1:
            signum = int(trainer.strategy.reduce(torch.tensor(signum, device=restorer.device), reduce_op="max"))
        if signum:
            trainer.save_checkpoint(self.checkpoint)
            if trainer.is_global_zero:
                point_latest(self.checkpoint.parent)
            raise Interrupted(signum, self.checkpoint)

    def on_train_end(self, trainer: pl.Trainer, restorer: Restorer) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, restorer: Restorer, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}


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

    def on_validation_end(self, trainer: pl.Trainer, restorer: Restorer) -> None:
        super().on_validation_end(trainer, restorer)
        self._save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, restorer: Restorer) -> None:
        self._save_last(trainer)

    def _save_last(self, trainer: pl.Trainer) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.global_step > self._last_step:
            trainer.save_checkpoint(self.last)
            if trainer.is_global_zero:
                point_latest(self.last.parent)
            self._last_step = trainer.global_step
