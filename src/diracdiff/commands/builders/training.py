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
from diracdiff.training.saving import CheckpointFiles
from diracdiff.utils.validate import check_count


def build_module(cfg: DictConfig, restorer: Restorer) -> RestorerModule:
    """Return the Lightning module of a restorer, with the configured loss, optimiser and metrics.

    Raises:
        ValueError: if a flow lacks its regression network, or it was trained on images of another size.
    """
    arguments: dict[str, Any] = {
        "loss": build(cfg.loss),
        "optimization": build(cfg.optimizer),
        "metrics": build_metrics(cfg),
        "times": tuple(cfg.task.times),
        "share_at_end": cfg.task.share_at_end,
    }
    module: RestorerModule
    if "regression" in cfg:
        regression = Regression(cfg.regression, cfg.trusted_modules).restorer
        module = made("regression", FlowModule, restorer, regression, **arguments)
    else:
        module = made("task.times", RestorerModule, restorer, **arguments)
    return module


def build_metrics(cfg: DictConfig) -> list[Metric]:
    """Return the metrics, in the order of every table, without those that are switched off.

    Raises:
        ValueError: if none is chosen.
    """
    if not cfg.get("metrics"):
        raise ValueError("metrics=[]: must not be empty. Choose some of psnr, ssim, lpips, swd, fid, kid.")
    built = [build(node) for node in cfg.metrics.values()]
    return in_order([metric for metric in built if metric is not None])


def build_data(cfg: DictConfig, restorer: Restorer | None = None, splits: Sequence[str] = ()) -> ImageDataModule:
    """Return the data module of the data set.

    Args:
        cfg: configuration.
        restorer: restorer to evaluate, whose data set keeps its division.
        splits: splits to evaluate.

    Raises:
        ValueError: if the loader refuses its arguments, or the data set is divided in another way.
    """
    if restorer is not None:
        keep_division(cfg, restorer, splits)
    data: ImageDataModule = made("loader", ImageDataModule, build(cfg.dataset), seed=cfg.seed, **(cfg.loader or {}))
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
    """Return the trainer with its loggers and callbacks.

    Raises:
        ValueError: if the run would end before its first validation, which finds the stopping times.
    """
    check_count(cfg.trainer.accumulate_grad_batches, "trainer.accumulate_grad_batches")
    epochs, every = cfg.trainer.max_epochs, cfg.trainer.check_val_every_n_epoch
    if isinstance(epochs, int) and isinstance(every, int) and 0 <= epochs < every:
        raise ValueError(f"trainer.check_val_every_n_epoch={every}: must be at most trainer.max_epochs ({epochs}).")
    return _trainer(
        cfg,
        logger=[build(node) for node in (cfg.logger or {}).values()],
        callbacks=[build(node) for node in (cfg.callbacks or {}).values() if node],
        plugins=[CheckpointFiles()],
        default_root_dir=cfg.run_dir,
    )


def record(cfg: DictConfig, trainer: pl.Trainer) -> Origin:
    """Write the composed configuration into the run's folder, log it, and return it with the command for reports."""
    if trainer.is_global_zero:
        write_composed(cfg, Path(cfg.run_dir) / "config.yaml")
        for logger in trainer.loggers:
            logger.log_hyperparams(plain(cfg))
    return origin(cfg)


def build_tester(cfg: DictConfig) -> pl.Trainer:
    """Return a trainer that only evaluates and writes nothing."""
    return _trainer(cfg, logger=False, enable_checkpointing=False, enable_model_summary=False)


def _trainer(cfg: DictConfig, **arguments: Any) -> pl.Trainer:
    _quiet()
    if cfg.trainer.precision == "auto":
        gpu = cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()
        arguments["precision"] = "bf16-mixed" if gpu else "32-true"
    trainer: pl.Trainer = build(
        cfg.trainer,
        inference_mode=False,  # guidance needs gradients in validation; samplers switch them off themselves
        use_distributed_sampler=False,  # the data module shards the data
        enable_progress_bar=cfg.trainer.enable_progress_bar and sys.stdout.isatty(),
        **arguments,
    )
    return trainer


def _quiet() -> None:
    """Hide messages of Lightning that every run has and no user can act on."""
    for name in (pl.__name__, "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    dull = ("LeafSpec", "exists and is not empty", "many workers", "smaller than the logging", "sync_dist=True")
    for message in (*dull, "torch.jit.script"):  # the last one is of torch.func.jvp
        warnings.filterwarnings("ignore", message=f".*{message}.*")
