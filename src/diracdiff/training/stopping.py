"""How a training, and a measurement outside of it, stop when they are asked to."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from diracdiff.signals import SIGNALS, on_signals
from diracdiff.signals import stop as stop_at_once
from diracdiff.training.names import AUTO, LAST
from diracdiff.training.saving import agreed, save_last
from diracdiff.utils.errors import say, warn


class Interrupted(Exception):
    """Training was asked to stop by a signal.

    Attributes:
        signum: the signal.
        checkpoint: where the state is saved.
    """

    def __init__(self, signum: int, checkpoint: Path):
        super().__init__(signum, checkpoint)
        self.signum, self.checkpoint = signum, checkpoint


class StopOnSignal(Callback):
    """On SIGINT, SIGTERM or SIGUSR1, finishes the step, saves `last.ckpt` and stops. A second signal stops at once.

    In the middle of a validation, it stops after the batch, and the validation is done anew when the run goes on;
    of several processes, after the validation.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: str | Path):
        self.run_dir = Path(run_dir)
        self._received = 0
        self._put_back: Callable[[], None] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen."""
        self._received = 0
        self._put_back = on_signals(self._handle, (*SIGNALS, signal.SIGUSR1))

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._received:
            raise KeyboardInterrupt
        self._received = signum

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop before a step if there was a signal: what the step before has logged is noted by then.

        Raises:
            Interrupted: then.
        """
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._stop_if_asked(trainer, pl_module)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Stop if there was a signal.

        Raises:
            Interrupted: then.
        """
        if self._put_back is not None and trainer.world_size == 1:  # of several, some may have no batch here
            self._stop_if_asked(trainer, pl_module)

    def _stop_if_asked(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        signum = agreed(trainer, module, self._received)
        if signum:
            raise Interrupted(signum, self.run_dir / LAST)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if there was a signal in the last validation, and listen no longer.

        Raises:
            Interrupted: then.
        """
        self._stop_if_asked(trainer, pl_module)
        self._stop_listening()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save if it was a signal, and listen no longer."""
        try:
            if isinstance(exception, Interrupted):
                save_last(trainer, self.run_dir)
        finally:
            self._stop_listening()

    def _stop_listening(self) -> None:
        if self._put_back is not None:
            self._put_back()
        self._put_back = None


class EndOnSignal(Callback):
    """Lets SIGINT and SIGTERM end a test, or a validation outside of training, in place of Lightning's own handlers.

    Those note the signal and go on to the end, or wait for processes that know nothing of it.
    """

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen; Lightning puts back what was there before."""
        on_signals(stop_at_once)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same, but in training, which has its own way to stop."""
        if trainer.state.fn != "fit":
            on_signals(stop_at_once)


def ended(stop: Interrupted, checkpoint: str | None, first: bool) -> int:
    """Say how to go on; on SIGUSR1, let SLURM do that where the command says `checkpoint=auto`.

    Args:
        stop: how training ended.
        checkpoint: what the command said.
        first: whether this is the first of several processes, which does it for all.

    Returns:
        The exit status.
    """
    if not first:
        return 128 + stop.signum
    say(f"interrupted: saved {stop.checkpoint}; go on with the same command and checkpoint={stop.checkpoint}")
    job = os.environ.get("SLURM_JOB_ID")
    if stop.signum == signal.SIGUSR1 and job:
        if checkpoint != AUTO:
            warn(f"job {job} is not requeued, since it would begin anew: add checkpoint=auto hydra.run.dir=FOLDER")
            return 128 + stop.signum
        if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
            job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        say(f"requeued job {job}" if done.returncode == 0 else f"job {job} not requeued: {done.stderr.strip()}")
    return 128 + stop.signum
