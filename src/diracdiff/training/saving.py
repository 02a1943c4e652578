"""Saving of checkpoints during training: atomically, and between two steps."""

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
    """Checkpoint plugin for Lightning that writes files atomically and reads them without executing their code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint atomically.

        Args:
            checkpoint: content of the checkpoint.
            path: path of the file.
            storage_options: not used.

        Raises:
            ValueError: if the file cannot be written.
        """
        write_weights(path, checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU.

        Args:
            path: path of the file.
            map_location: not used.
            weights_only: not used.
        """
        content: dict[str, Any] = read_weights(path, "one that diracdiff wrote")
        return content


class LastCheckpoint(ModelCheckpoint):
    """Callback that saves `last.ckpt` at intervals, at the end of each epoch, and after the step of a SIGTERM.

    It saves only between two steps or two epochs. From these points, Lightning resumes without losing or repeating a
    batch.

    Args:
        output_dir: folder of the run.
        every_minutes: interval in minutes; None or 0 disables it.
        every_n_steps: interval in steps, which replaces `every_minutes`; None or 0 disables it.
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
        """Save if the interval has passed and the step, but not the epoch, is complete."""
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self.between_steps = whole_step and batch_idx + 1 < trainer.num_training_batches
        if self.between_steps and trainer.should_stop:
            trainer.save_checkpoint(self.path)
        elif self.between_steps:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of a complete epoch."""
        if not self.between_steps:
            trainer.save_checkpoint(self.path)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save after SIGTERM, which Lightning raises as an exception after the step."""
        if isinstance(exception, SIGTERMException) and self.between_steps:
            trainer.save_checkpoint(self.path)


def link_latest(output_dir: Path) -> None:
    """Point the symbolic link `runs/latest` to the folder of a run inside `runs`.

    An existing file or folder `runs/latest` is not changed.

    Args:
        output_dir: folder of the run.
    """
    runs = next((parent for parent in output_dir.resolve().parents if parent.name == "runs"), None)
    if runs is not None and ((runs / "latest").is_symlink() or not (runs / "latest").exists()):
        link = runs / f".latest.{os.getpid()}"
        link.symlink_to(os.path.relpath(output_dir.resolve(), runs))
        os.replace(link, runs / "latest")
