"""Training with Lightning: modules, data module, callbacks, loggers and optimisation."""

from diracdiff.training.callbacks import EMA, Progress, TradeoffLog
from diracdiff.training.datamodule import ImageDataModule
from diracdiff.training.loggers import MetricsFile, wandb_logger
from diracdiff.training.module import RestorerModule
from diracdiff.training.optimization import Optimization
from diracdiff.training.saving import LastCheckpoint

__all__ = [
    "EMA",
    "ImageDataModule",
    "LastCheckpoint",
    "MetricsFile",
    "Optimization",
    "Progress",
    "RestorerModule",
    "TradeoffLog",
    "wandb_logger",
]
