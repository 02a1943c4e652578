"""What an evaluation measures: the whole curve over the stopping times, or the stops that are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig

from diracdiff.commands.builders.training import build_metrics
from diracdiff.evaluation import Blend, StoppingPoint, on_grid
from diracdiff.restorer import Restorer
from diracdiff.training.datamodule import ImageDataModule
from diracdiff.training.module import RestorerModule
from diracdiff.utils.errors import UserError
from diracdiff.utils.resources import told

START = (StoppingPoint(1.0, "iterate"), StoppingPoint(1.0, "mean"))
"""The measurement, and what one network call makes of it."""


def check_times(cfg: DictConfig) -> None:
    """Raise UserError unless `times` is all, or stops where no stops are to be found."""
    if cfg.times not in ("all", "stops"):
        raise UserError(f"times must be all or stops, got {cfg.times}")
    if cfg.tuned and cfg.times != "all":
        raise UserError(f"tuned={cfg.tuned} takes stopping times from the whole curve, so it needs times=all")


def build_tested(
    cfg: DictConfig,
    restorer: Restorer,
    stops: Mapping[str, StoppingPoint | None],
    extra: StoppingPoint | Blend | None,
    blends: Sequence[Blend],
) -> RestorerModule:
    """The shell that measures a restorer at every time, or with times=stops at these alone and where a walk begins."""
    metrics = build_metrics(cfg)
    if cfg.times == "all":
        return RestorerModule(restorer, metrics=metrics, blends=blends)
    known = [*START, *(stop for stop in (*stops.values(), extra, *blends) if stop is not None)]
    return RestorerModule(restorer, metrics=metrics, blends=blends, only=on_grid(known, restorer.sampler.times()))


def measure(trainer: pl.Trainer, module: RestorerModule, data: ImageDataModule, split: str, folder: Path) -> None:
    """Walk from every image of a split, "test" or "val", and measure; nothing is written.

    Raises:
        UserError: if memory is short.
    """
    with told(folder, "loader.eval_batch_size"):
        (trainer.test if split == "test" else trainer.validate)(module, data, verbose=False)
