"""The module, its data and metrics, and the trainer."""

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from diracdiff.baselines import Regression
from diracdiff.commands.builders.build import build, given, made, origin, plain, write_composed
from diracdiff.commands.builders.division import keep_division
from diracdiff.metrics import Metric, in_order
from diracdiff.report import Origin
from diracdiff.restorer import Restorer
from diracdiff.training.datamodule import ImageDataModule
from diracdiff.training.flow import FlowModule
from diracdiff.training.module import RestorerModule
from diracdiff.utils.validate import check_count

DULL = (
    "LeafSpec",
    "exists and is not empty",
    "many workers",
    "smaller than the logging",
    "sync_dist=True",
    "jit.script",
)
"""Words of warnings that PyTorch and Lightning give in every run and nobody can act on."""


def build_module(cfg: DictConfig, restorer: Restorer) -> RestorerModule:
    """The Lightning shell of a restorer, with the configured loss, optimiser and metrics.

    Raises:
        ValueError: if a flow lacks its regression network, or it was trained on images of another size.
    """
    metrics = build_metrics(cfg)
    loss, optimization = build(cfg.loss), build(cfg.optimizer)
    given = (loss, optimization, metrics, tuple(cfg.task.times))
    share = {"share_at_end": cfg.task.share_at_end}
    module: RestorerModule
    if "regression" in cfg:
        regression = Regression(cfg.regression, cfg.trusted_modules).restorer
        module = made("regression", FlowModule, restorer, regression, *given, **share)
    else:
        module = made("task.times", RestorerModule, restorer, *given, **share)
    return module


def build_metrics(cfg: DictConfig) -> list[Metric]:
    """The metrics, in the order of every table, but for those that are switched off.

    Raises:
        ValueError: if none is chosen.
    """
    if not cfg.get("metrics"):
        raise ValueError("metrics=[] leaves nothing to measure: choose some of psnr, ssim, lpips, swd, fid, kid")
    built = [build(node) for node in cfg.metrics.values()]
    return in_order([metric for metric in built if metric is not None])


def build_data(cfg: DictConfig, restorer: Restorer | None = None, splits: Sequence[str] = ()) -> ImageDataModule:
    """Return the data module of the data set.

    Args:
        cfg: configuration.
        restorer: restorer to measure, whose data set keeps its division.
        splits: splits that are measured.

    Raises:
        ValueError: if the loader has a key that it does not take, or the data set is divided in another way.
    """
    if restorer is not None:
        keep_division(cfg, restorer, splits)
    data: ImageDataModule = made("loader", ImageDataModule, build(cfg.dataset), seed=cfg.seed, **cfg.loader)
    return data


def keep_image_size(cfg: DictConfig, image_size: int) -> int:
    """Give the data set the image size of a checkpoint, which is returned.

    Raises:
        ValueError: if the user has given another one.
    """
    if given("dataset.image_size") and cfg.dataset.image_size != image_size:
        raise ValueError(f"dataset.image_size={cfg.dataset.image_size}: the checkpoint has {image_size}. Remove it.")
    cfg.dataset.image_size = image_size
    return image_size


def build_trainer(cfg: DictConfig) -> pl.Trainer:
    """The trainer with its loggers and callbacks.

    Raises:
        ValueError: if the training would end before its first validation, which finds the stopping times.
    """
    check_count(cfg.trainer.accumulate_grad_batches, "trainer.accumulate_grad_batches")
    epochs, every = cfg.trainer.max_epochs, cfg.trainer.check_val_every_n_epoch
    if epochs is not None and every is not None and 0 <= epochs < every:
        raise ValueError(
            f"trainer.check_val_every_n_epoch={every}: training would never validate. Give at most "
            f"trainer.max_epochs={epochs}."
        )
    return _trainer(
        cfg,
        logger=[build(node) for node in (cfg.logger or {}).values()],
        callbacks=[build(node) for node in (cfg.callbacks or {}).values() if node],
        default_root_dir=cfg.run_dir,
    )


def record(cfg: DictConfig, trainer: pl.Trainer) -> Origin:
    """Write the composed configuration into the run's folder, and tell every logger that shows settings.

    Returns:
        Where the run's results come from.
    """
    if trainer.is_global_zero:
        write_composed(cfg, Path(cfg.run_dir) / "config.yaml")
        for logger in trainer.loggers:
            logger.log_hyperparams(plain(cfg))
    return origin(cfg)


def build_tester(cfg: DictConfig) -> pl.Trainer:
    """A trainer that only evaluates: writes nothing."""
    return _trainer(cfg, logger=False, enable_checkpointing=False, enable_model_summary=False)


def _trainer(cfg: DictConfig, **arguments: Any) -> pl.Trainer:
    for name in (pl.__name__, "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=f".*({DULL})")
    precision = cfg.trainer.precision
    if precision == "auto":
        precision = "bf16-mixed" if cfg.trainer.accelerator != "cpu" and torch.cuda.is_available() else "32-true"
    fixed = {
        # Guidance needs gradients in validation, which inference mode forbids; samplers switch them off themselves.
        "inference_mode": False,
        # The data module gives every process its own part.
        "use_distributed_sampler": False,
        # In a file a bar is many lines of nothing.
        "enable_progress_bar": cfg.trainer.enable_progress_bar and sys.stdout.isatty(),
    }
    try:
        trainer: pl.Trainer = build(cfg.trainer, precision=precision, **fixed, **arguments)
    except ValueError as error:
        if "backend found" not in str(error) and "accelerator can not run" not in str(error):
            raise
        asked = cfg.trainer.accelerator
        raise ValueError(f"trainer.accelerator={asked}: is not available here. Add trainer=cpu.") from error
    return trainer
