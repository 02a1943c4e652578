"""What a training says while it runs, in a terminal and in a log file alike."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.trainer.states import TrainerFn

from diracdiff.training.module import RestorerModule
from diracdiff.utils.errors import say

OFTEN, SELDOM, SHARE = 5.0, 60.0, 0.25
"""Seconds between lines at the start and later on, and what share of the time since the start lies between."""


class Progress(Callback):
    """Says what is trained, where and on what, what every validation finds, and how far it is.

    Without a terminal, where there is no progress bar, a line says so after five seconds and then less and less often,
    at least once a minute.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: str | Path):
        self.run_dir = Path(run_dir)
        self._start = self._last = 0.0
        self._first_step = 0
        self._sent = 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what begins."""
        assert isinstance(pl_module, RestorerModule)
        self._start = self._last = time.monotonic()
        self._first_step = trainer.global_step
        self._sent = trainer.global_step, self._start
        if not trainer.is_global_zero:
            return
        data, network = trainer.datamodule, pl_module.denoiser.network  # type: ignore[attr-defined]
        weights = sum(p.numel() for p in pl_module.parameters()) / 1e6
        uses = {"train": "train on", "val": "validate", "test": "test"}
        sizes = [f"{len(data.split(split))} to {word}" for split, word in uses.items()]
        steps, each = trainer.estimated_stepping_batches, data.batch_size * trainer.accumulate_grad_batches
        device = pl_module.device.type
        where = f"cpu, {_threads()}" if device == "cpu" else torch.cuda.get_device_name(pl_module.device)
        many = f" in each of {trainer.world_size} processes" if trainer.world_size > 1 else ""
        going_on = f", going on after {trainer.global_step}" if trainer.global_step else ""
        say(f"training {pl_module.restorer.name} into {os.path.relpath(self.run_dir)}")
        say(f"  network: {type(network).__name__}, {weights:.2f} million weights, on {where}, {trainer.precision}")
        say(f"  images: {type(data.dataset).__name__} of {pl_module.restorer.image_size} px, {', '.join(sizes)}")
        say(f"  length: {_number(steps)} steps of {each} images{many}{going_on}")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Say how far it is, if it is time; dashboards get the speed with everything else."""
        now = time.monotonic()
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.is_global_zero and every and trainer.global_step % every == 0:
            self._send_speed(trainer, now)
        if now - self._last < min(SELDOM, max(OFTEN, SHARE * (now - self._start))):
            return
        self._last = now
        done = trainer.global_step - self._first_step
        if not trainer.is_global_zero or not done or sys.stdout.isatty():
            return
        images = done * self._images(trainer)
        seconds, steps = now - self._start, trainer.estimated_stepping_batches
        left = (steps - trainer.global_step) * seconds / done
        ahead = f", about {_duration(left)} left" if steps < float("inf") else ""
        loss = trainer.callback_metrics.get("train/loss")
        value = "" if loss is None else f", loss {float(loss):.3g}"
        say(f"step {trainer.global_step} of {_number(steps)}, {images / seconds:.1f} images/s{value}{ahead}")

    def _send_speed(self, trainer: pl.Trainer, now: float) -> None:
        """Send images/s since it was sent before; to no file, which holds what a run that is repeated repeats."""
        step, begin = self._sent
        self._sent = trainer.global_step, now
        speed = (trainer.global_step - step) * self._images(trainer) / max(now - begin, 1e-9)
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):
                logger.log_metrics({"train/images_per_second": speed}, trainer.global_step)

    @staticmethod
    def _images(trainer: pl.Trainer) -> int:
        """Of a step, over all processes."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        return int(data.batch_size * trainer.accumulate_grad_batches * trainer.world_size)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what was found."""
        assert isinstance(pl_module, RestorerModule)
        curve = pl_module.evaluation.curve
        if not trainer.is_global_zero or trainer.sanity_checking or not curve or trainer.state.fn != TrainerFn.FITTING:
            return
        stops = {metric: pl_module.restorer.stops.get(metric.target or "") for metric in pl_module.metrics}
        found = [
            f"{metric.title} {metric.best(curve)[metric.name]:.{metric.digits}f} at t = {stop.t:.2f}"
            for metric, stop in stops.items()
            if stop is not None
        ]
        say(f"validation after step {trainer.global_step}: best {', '.join(found)}")


def _threads() -> str:
    count = torch.get_num_threads()
    return f"{count} thread{'s' * (count > 1)}"


def _number(steps: float) -> str:
    return f"{steps:.0f}" if steps < float("inf") else "endless"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
