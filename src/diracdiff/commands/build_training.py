"""Construction of the Lightning module, the data module, the metrics and the trainer."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from diracdiff.baselines import Regression
from diracdiff.commands.build import build, call_with_key, is_overridden
from diracdiff.data.files import resolve_root
from diracdiff.data.splits import find_split_folders
from diracdiff.metrics import Metric, sort_metrics
from diracdiff.restorer import Restorer
from diracdiff.samplers import BridgeSampler
from diracdiff.training.bridge import BridgeModule
from diracdiff.training.datamodule import ImageDataModule
from diracdiff.training.flow import FlowModule
from diracdiff.training.module import RestorerModule
from diracdiff.training.saving import CheckpointFiles
from diracdiff.utils.validate import check_count

LOADER_KEYS = ("batch_size", "eval_batch_size", "num_workers", "val_images", "test_images")
"""Keys of `data` for the data module. The other keys are for the data set."""

SPLIT_DATA_SETS = ("diracdiff.data.ImageFolder", "diracdiff.data.CelebAHQ")
HUGGING_FACE = "diracdiff.data.HuggingFace"
SPLIT_DEFAULTS = {"val_fraction": 0.1, "test_fraction": 0.1, "seed": 0}
"""Keys that determine the splits of these data sets, with default values."""


def build_module(cfg: DictConfig, restorer: Restorer) -> RestorerModule:
    """Build the Lightning module of a restorer with loss, optimiser and metrics."""
    arguments: dict[str, Any] = {
        "loss": build(cfg.loss),
        "optimization": build(cfg.optimizer),
        "metrics": build_metrics(cfg),
        "t_range": tuple(cfg.task.t_range),
        "prob_terminal": OmegaConf.to_object(p) if OmegaConf.is_list(p := cfg.task.prob_terminal) else p,
    }
    if "regression" in cfg:
        regression = Regression(cfg.regression, cfg.trusted_modules).restorer
        return call_with_key("regression", FlowModule, restorer, regression, **arguments)
    module = BridgeModule if isinstance(restorer.sampler, BridgeSampler) else RestorerModule
    return call_with_key("task.t_range", module, restorer, **arguments)


def build_metrics(cfg: DictConfig) -> list[Metric]:
    """Build the enabled metrics in the order of the tables. Raises ValueError if there are none."""
    if not cfg.get("metrics"):
        raise ValueError("metrics=[]: must not be empty. Choose some of psnr, ssim, lpips, swd, fid, kid.")
    built = [build(node) for node in cfg.metrics.values()]
    return sort_metrics([metric for metric in built if metric is not None])


def build_data(cfg: DictConfig, restorer: Restorer | None = None, splits: Sequence[str] = ()) -> ImageDataModule:
    """Build the data module.

    Args:
        cfg: configuration of the command.
        restorer: restorer to evaluate. Its image size and, for its training data set, its splits are used.
        splits: splits to evaluate.
    """
    node = cfg.copy().data  # the copy of the root keeps references to other keys
    with open_dict(node):
        loader = {key: node.pop(key) for key in LOADER_KEYS if key in node}
    if restorer is not None:
        _keep(node, {"image_size": restorer.image_size})
        _keep_splits(node, restorer, splits)
        with open_dict(cfg.data):
            cfg.data.update(node)  # the report shows these settings
    return call_with_key("data", ImageDataModule, build(node), seed=cfg.seed, **loader)


def _keep(node: DictConfig, values: dict[str, Any]) -> None:
    """Set keys of a data set to the values of a checkpoint. Raise ValueError if an override differs."""
    for key, value in values.items():
        if is_overridden(f"data.{key}") and node[key] != value:
            raise ValueError(f"data.{key}={node[key]}: the checkpoint was trained with {value}. Remove it.")
    with open_dict(node):
        node.update(values)


def _keep_splits(node: DictConfig, restorer: Restorer, splits: Sequence[str]) -> None:
    """Use the splits of training if a restorer was trained on the data set, so that no training image is evaluated.

    The folder, or the names and sizes of the training images, identify the data set; for Hugging Face, its path or the
    numbers of its training rows.
    """
    recipe = restorer.dataset or {}
    targets = node.get("_target_"), recipe.get("_target_")
    split_keys = {key: recipe.get(key, default) for key, default in SPLIT_DEFAULTS.items()}
    trained = restorer.training.get("images", {}).get("train")
    if targets == (HUGGING_FACE, HUGGING_FACE):
        if node.path == recipe.get("path") or (trained and _training_images(node, split_keys) == trained):
            _keep(node, split_keys)
        return
    if not set(targets) <= set(SPLIT_DATA_SETS) or OmegaConf.is_missing(node, "root") or node.root is None:
        return
    root, trained_root = resolve_root(str(node.root)), recipe.get("root")
    fingerprint = _training_images(node, split_keys) if trained else None
    same_root = trained_root is not None and os.path.realpath(root) == os.path.realpath(trained_root)
    if not same_root and (trained is None or fingerprint != trained):
        return
    if fingerprint != trained and not set(splits) <= set(find_split_folders(root)):
        count = fingerprint["count"] if fingerprint else "no"
        raise ValueError(
            f"data.root={node.root}: {count} training images, the checkpoint was trained on "
            f"{trained['count']} others, which may be among the {splits[-1]} images. "
            "Put the images to evaluate into another folder."
        )
    wanted = {key: value for key, value in split_keys.items() if key in node or value != SPLIT_DEFAULTS[key]}
    if not is_overridden("data.crop") and targets[0] == targets[1]:
        wanted |= {
            key: recipe[key] for key in ("crop", "max_scale") if key in recipe and not is_overridden(f"data.{key}")
        }
    _keep(node, wanted)


def _training_images(node: DictConfig, split_keys: dict[str, Any]) -> dict[str, Any] | None:
    """Return the fingerprint of the training images for the keys of splits, or None without training images."""
    copy = node.copy()
    copy.update({key: value for key, value in split_keys.items() if key in node})
    try:
        return cast(dict[str, Any], build(copy).split("train").fingerprint())
    except ValueError:
        return None


def build_trainer(cfg: DictConfig) -> pl.Trainer:
    """Build the trainer with loggers and callbacks. Raises ValueError for invalid settings."""
    check_count(cfg.trainer.accumulate_grad_batches, "trainer.accumulate_grad_batches")
    epochs, every = cfg.trainer.max_epochs, cfg.trainer.check_val_every_n_epoch
    if isinstance(epochs, int) and isinstance(every, int) and 0 < epochs < every:
        cfg.trainer.check_val_every_n_epoch = epochs  # a short run is validated at its end
    return _trainer(
        cfg,
        logger=[build(node) for node in (cfg.logger or {}).values()],
        callbacks=[build(node) for node in (cfg.callbacks or {}).values() if node],
        plugins=[CheckpointFiles()],
        default_root_dir=cfg.paths.output_dir,
    )


def build_tester(cfg: DictConfig) -> pl.Trainer:
    """Build a trainer for evaluation, without loggers and checkpoints."""
    return _trainer(cfg, logger=False, enable_checkpointing=False, enable_model_summary=False)


def _trainer(cfg: DictConfig, **arguments: Any) -> pl.Trainer:
    for name in (pl.__name__, "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # These warnings occur in each run, and users cannot act on them.
    hidden = ("LeafSpec", "exists and is not empty", "many workers", "smaller than the logging", "sync_dist=True")
    for message in (*hidden, "torch.jit.script"):  # torch.func.jvp emits the last one
        warnings.filterwarnings("ignore", message=f".*{message}.*")
    if cfg.trainer.precision == "auto":
        gpu = cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()
        arguments["precision"] = "bf16-mixed" if gpu else "32-true"
    arguments |= {
        "inference_mode": False,  # guidance needs gradients in validation; samplers switch them off themselves
        "use_distributed_sampler": False,  # the data module shards the data
        "enable_progress_bar": cfg.trainer.enable_progress_bar and sys.stdout.isatty(),
    }
    return cast(pl.Trainer, build(cfg.trainer, **arguments))
