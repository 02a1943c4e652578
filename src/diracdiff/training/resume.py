"""Resuming of a training run: selection of the checkpoint, comparison of the settings, and trimming of logs."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.recipe import TARGET
from diracdiff.evaluation.plots import TRADEOFF_CSV
from diracdiff.training.datamodule import ImageDataModule
from diracdiff.training.loggers import METRICS_CSV
from diracdiff.training.module import RestorerModule
from diracdiff.training.saving import LAST
from diracdiff.utils.errors import warn
from diracdiff.utils.files import read_rows, write_rows

ALLOWED_CHANGES = ("data.root", "optimization.lr", "optimization.muon_lr", "processes")
"""Settings that may differ in a resumed run."""


def find_checkpoint(ckpt_path: str | None, output_dir: Path) -> tuple[Path, Checkpoint] | None:
    """Read the checkpoint to resume from.

    Args:
        ckpt_path: path of a checkpoint; "auto" for `last.ckpt` in the folder of the run if it exists; None for a new
            run.
        output_dir: folder of the run.

    Returns:
        Path and content of the checkpoint, or None for a new run.

    Raises:
        ValueError: if the checkpoint cannot be read, or contains no optimiser state.
    """
    path = output_dir / LAST if ckpt_path == "auto" else Path(ckpt_path or "")
    if ckpt_path is None or (ckpt_path == "auto" and not path.exists()):
        return None
    checkpoint = Checkpoint.read(path)
    if not checkpoint.trainer_state.get("optimizer_states"):
        raise ValueError(f"ckpt_path={path}: contains no optimiser state. Use a last.ckpt.")
    return path, checkpoint


def check_same_run(
    module: RestorerModule, data: ImageDataModule, trainer: pl.Trainer, checkpoint: Checkpoint, path: Path
) -> None:
    """Check that a checkpoint belongs to a run with the same process, network, data set and training settings.

    The folder of the images and the learning rate may differ. A different number of processes causes a warning.
    Settings that exist in only one version are not compared.

    Args:
        module: module of the resumed run.
        data: data module of the resumed run.
        trainer: trainer of the resumed run.
        checkpoint: checkpoint to resume from.
        path: path of the checkpoint, for messages.

    Raises:
        ValueError: if a setting differs.
    """
    before, now = (
        _flatten({key: recipe.get(key) for key in ("process", "denoiser", "seed")} | {"data": dataset, **training})
        for recipe, dataset, training in (
            (checkpoint.recipe, checkpoint.dataset, checkpoint.training),
            (to_recipe(module.restorer), to_recipe(data.dataset), module.settings(trainer, data)),
        )
    )
    if (count := before.get("processes")) != trainer.world_size:
        warn(f"the checkpoint is of {count} process(es), the run of {trainer.world_size}: the batches differ")
    for name in now:
        if name in before and before[name] != now[name] and name not in ALLOWED_CHANGES:
            values = f"{str(before[name])[:60]}, now {str(now[name])[:60]}"
            raise ValueError(f"ckpt_path={path}: was trained with another {name} ({values}). Use its command.")


def _flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries to dotted names. The name of an object denotes its class."""
    if not isinstance(value, dict):
        return {name.removesuffix(f".{TARGET}"): value}
    return {k: v for key, item in value.items() for k, v in _flatten(item, f"{name}.{key}".lstrip(".")).items()}


def trim_logs(output_dir: Path, step: int) -> None:
    """Remove the rows that were logged after a step.

    Args:
        output_dir: folder of the run.
        step: step that the run resumes from; 0 for a new run.
    """
    remedy = "Move it away: the run then resumes without its earlier rows."
    for path, last in ((output_dir / METRICS_CSV, step - 1), (output_dir / TRADEOFF_CSV, step)):
        if not path.exists():
            continue
        rows = read_rows(path, {"step": int}, remedy, unfinished=True)
        if kept := [row for row in rows if row["step"] <= last]:
            write_rows(path, kept)
        else:
            path.unlink()
