"""Checkpoints of training: written whole or not at all, between two steps."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from diracdiff.checkpoints.weights import read_weights, write_weights

BEST, LAST = "best.ckpt", "last.ckpt"


class CheckpointFiles(TorchCheckpointIO):
    """Write Lightning's checkpoints whole or not at all, and read them without running any code that they hold."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; raises ValueError if that fails, as on a full disk."""
        write_weights(path, checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU."""
        content: dict[str, Any] = read_weights(path, "one that diracdiff wrote")
        return content


class LastCheckpoint(ModelCheckpoint):
    """Save `last.ckpt` by time or by steps, at the end of every epoch, and after the step in which SIGTERM arrives.

    It saves between two steps of an epoch, or between two epochs. Lightning resumes from there without
    losing or repeating a batch; from other moments it does not.

    Args:
        output_dir: the run's folder.
        every_minutes: time between two files; None or 0: not by time.
        every_n_steps: steps between two files, instead of a time; None or 0: not by steps.
    """

    def __init__(self, output_dir: str | Path, every_minutes: float | None = 5.0, every_n_steps: int | None = None):
        super().__init__(
            output_dir,
            filename=LAST.removesuffix(".ckpt"),
            train_time_interval=timedelta(minutes=every_minutes) if every_minutes and not every_n_steps else None,
            every_n_train_steps=every_n_steps or 0,
            enable_version_counter=False,
        )
        self.path = Path(output_dir) / LAST
        self.between_steps = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is due and a step, but not the epoch, is complete."""
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self.between_steps = whole_step and batch_idx + 1 < trainer.num_training_batches
        if self.between_steps and trainer.should_stop:
            trainer.save_checkpoint(self.path)
        elif self.between_steps:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch that was not cut short."""
        if not self.between_steps:
            trainer.save_checkpoint(self.path)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save on SIGTERM, which Lightning raises after a step."""
        if isinstance(exception, SIGTERMException) and self.between_steps:
            trainer.save_checkpoint(self.path)


def point_latest(output_dir: Path) -> None:
    """Point the link `runs/latest` to a run's folder inside `runs`. Anything else of that name is left as it is."""
    runs = next((parent for parent in output_dir.resolve().parents if parent.name == "runs"), None)
    if runs is not None and ((runs / "latest").is_symlink() or not (runs / "latest").exists()):
        link = runs / f".latest.{os.getpid()}"
        link.symlink_to(os.path.relpath(output_dir.resolve(), runs))
        os.replace(link, runs / "latest")
