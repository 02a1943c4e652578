"""What a benchmark measures."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, ListConfig, open_dict

from diracdiff.benchmarks import Suite, write_jpegs
from diracdiff.cli import check_number
from diracdiff.commands.builders.build import build, made
from diracdiff.commands.builders.restoring import build_restorer
from diracdiff.commands.builders.training import build_data, build_metrics, build_module, build_trainer
from diracdiff.metrics import Missing
from diracdiff.utils.errors import UserError

LISTS = ("measure", "batches", "variants", "sizes")


def build_suite(cfg: DictConfig, device: torch.device, folder: str) -> Suite:
    """The suite of a benchmark, whose training and whose JPEG files go to a folder.

    Raises:
        UserError: if a value breaks its rule, or the parts do not fit.
    """
    for key in LISTS:
        if not isinstance(cfg[key], ListConfig):
            raise UserError(f"{key} must be a list, {key}=[…], got {cfg[key]}")
    for batch in cfg.batches:
        check_number("batches", batch, 1)
    for size in cfg.sizes:
        check_number("sizes", size, 0.01, 100.0, float)
    with open_dict(cfg):
        cfg.run_dir, cfg.jpeg_folder = folder, str(Path(folder) / "jpegs")
        cfg.trainer.accelerator = "gpu" if device.type == "cuda" else "cpu"
    restorer, data = build_restorer(cfg).to(device), build_data(cfg)
    samplers = {}
    for name, step in cfg.steps.items():
        samplers[str(name)] = made(f"steps.{name}", restorer.sampler.replace, step=build(step))

    def trainer(steps: int) -> pl.Trainer:
        cfg.trainer.max_steps = steps
        return build_trainer(cfg)

    sets = {}
    if "loading" in cfg.measure:
        write_jpegs(data.dataset, Path(cfg.jpeg_folder), cfg.jpegs, cfg.jpeg_side)
        sets = {str(name): build(node) for name, node in cfg.sets.items()}
    metrics = build_metrics(cfg) if "evaluation" in cfg.measure else []
    suite: Suite = made(
        "config",
        Suite,
        build_module(cfg, restorer),
        data,
        trainer,
        samplers,
        sets,
        [metric for metric in metrics if not isinstance(metric, Missing)],
        **{key: cfg[key] for key in ("batch", "rounds", "seconds", "train_steps", "warm_up", "walks")},
        **{key: list(cfg[key]) for key in LISTS[1:]},
    )
    return suite
