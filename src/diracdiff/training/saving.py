"""When and how a training saves: whole files or none, after validations and by time."""

import os
import shutil
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import AsyncCheckpointIO

from diracdiff.checkpoints.weights import read_weights, write_weights
from diracdiff.training.names import BEST, LAST, PREVIOUS
from diracdiff.utils.errors import warn

AGREE_EVERY = 20
"""Steps after which several processes ask each other whether it is time to save."""


class CheckpointFiles(CheckpointIO):
    """How Lightning writes and reads checkpoints: whole, on the disk, and checked; the `last.ckpt` before stays."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; the `last.ckpt` that it replaces becomes `previous.ckpt`.

        Raises:
            UserError: if it cannot be written, as on a full disk; the old ones stay.
        """
        path = Path(path)
        if path.name == LAST and path.exists():
            _keep(path, path.with_name(PREVIOUS))
        write_weights(path, checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint without running any code that it holds."""
        content: dict[str, Any] = read_weights(path, "one that diracdiff wrote")
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def _keep(path: Path, name: Path) -> None:
    """Let a file have another name, too, in place of what had it."""
    if name.exists() and name.samefile(path):  # a process was killed between this and the writing
        return
    other = name.with_name(f".{name.name}.{os.getpid()}")
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # a file system without links
        shutil.copyfile(path, other)
    os.replace(other, name)


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


def save_last(trainer: pl.Trainer, run_dir: Path) -> None:
    """Save `last.ckpt`, and before it what has been logged, so that a resumed run finds all that came before."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            logger.save()
    trainer.save_checkpoint(run_dir / LAST)
    if trainer.is_global_zero:
        point_latest(run_dir)


def agreed(trainer: pl.Trainer, module: pl.LightningModule, value: int) -> int:
    """The largest value of all processes."""
    if trainer.world_size == 1:
        return value
    return int(trainer.strategy.reduce(torch.tensor(value, device=module.device), reduce_op="max"))


class Checkpoints(ModelCheckpoint):
    """`best.ckpt`, by the PSNR peak of validation, and `last.ckpt`, after validations, by time and at the end.

    Args:
        run_dir: the run's folder.
        every_minutes: save `last.ckpt` so often besides; None: not by time.
        every_n_steps: and after so many steps; None: not by steps.
        background: write while training goes on; a copy of the state is in memory for so long.
    """

    def __init__(
        self,
        run_dir: str | Path,
        every_minutes: float | None = 5.0,
        every_n_steps: int | None = None,
        background: bool = False,
    ):
        for name, value in (("every_minutes", every_minutes), ("every_n_steps", every_n_steps)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, or null for never, got {value}")
        super().__init__(
            run_dir,
            filename=BEST.removesuffix(".ckpt"),
            monitor="val/psnr",
            mode="max",
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.run_dir, self.every_minutes, self.steps_between = Path(run_dir), every_minutes, every_n_steps
        self.background = background
        self._saved_step, self._saved_at = -1, time.monotonic()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let Lightning write our way."""
        super().setup(trainer, pl_module, stage)
        files = CheckpointFiles()
        trainer.strategy.checkpoint_io = AsyncCheckpointIO(files) if self.background else files

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        super().on_train_start(trainer, pl_module)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save the last between two steps, if it is time."""
        step = trainer.global_step
        if step > self._saved_step and batch_idx % trainer.accumulate_grad_batches == 0:
            by_steps = self.steps_between is not None and step % self.steps_between == 0
            if by_steps or self._time_has_come(trainer, pl_module):
                self._save_last(trainer)

    def _time_has_come(self, trainer: pl.Trainer, module: pl.LightningModule) -> bool:
        if self.every_minutes is None:
            return False
        if trainer.world_size > 1 and trainer.global_step % AGREE_EVERY:
            return False
        return bool(agreed(trainer, module, time.monotonic() - self._saved_at >= 60 * self.every_minutes))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best and the last."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last, unless that is done."""
        if trainer.global_step > self._saved_step:
            self._save_last(trainer)

    def _save_last(self, trainer: pl.Trainer) -> None:
        save_last(trainer, self.run_dir)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
