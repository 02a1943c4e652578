"""Resume a training run: from which file, only as the same run, and with the rows that it has logged."""

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

MAY_DIFFER = ("data.root", "optimization.lr", "processes")
"""Settings that a resumed run may change."""


def find(requested: str | None, output_dir: Path) -> tuple[Path, Checkpoint] | None:
    """Return path and content of the checkpoint to resume from: "auto" is `last.ckpt` in the run's folder if it exists.

    Raises:
        ValueError: if it cannot be read, or holds weights alone.
    """
    path = output_dir / LAST if requested == "auto" else Path(requested or "")
    if requested is None or (requested == "auto" and not path.exists()):
        return None
    checkpoint = Checkpoint.read(path)
    if not checkpoint.trainer_state.get("optimizer_states"):
        raise ValueError(f"ckpt_path={path}: holds weights but no training run. Give a last.ckpt.")
    return path, checkpoint


def check_same(
    module: RestorerModule, data: ImageDataModule, trainer: pl.Trainer, checkpoint: Checkpoint, path: Path
) -> None:
    """Refuse to resume from the checkpoint, at a path, of a run with another process, network, data set or training.

    The folder of the images, the learning rate and, with a warning, the number of processes may differ. A setting that
    another version has added or removed is not compared.

    Raises:
        ValueError: naming the first setting that differs.
    """
    before, now = (
        _flat({key: recipe.get(key) for key in ("process", "denoiser", "seed")} | {"dataset": dataset, **training})
        for recipe, dataset, training in (
            (checkpoint.recipe, checkpoint.dataset, checkpoint.training),
            (to_recipe(module.restorer), to_recipe(data.dataset), module.settings(trainer, data)),
        )
    )
    if (count := before.get("processes")) != trainer.world_size:
        warn(f"trained by {count} process(es) so far, now by {trainer.world_size}: each batch holds other images")
    for name in now:
        if name in before and before[name] != now[name] and name not in MAY_DIFFER:
            values = f"{str(before[name])[:60]}, now {str(now[name])[:60]}"
            raise ValueError(f"ckpt_path={path}: was trained with another {name} ({values}). Give its command.")


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return the values in nested dictionaries by their full names; the name of an object is that of its class."""
    if not isinstance(value, dict):
        return {name.removesuffix(f".{TARGET}"): value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}".lstrip(".")).items()}


def trim_logs(output_dir: Path, step: int) -> None:
    """Remove the rows that a run has logged after the step that it resumes from, 0 for a new run."""
    remedy = "Move it away: the run then resumes without its earlier rows."
    for path, last in ((output_dir / METRICS_CSV, step - 1), (output_dir / TRADEOFF_CSV, step)):
        if not path.exists():
            continue
        rows = read_rows(path, {"step": int}, remedy, unfinished=True)
        if kept := [row for row in rows if row["step"] <= last]:
            write_rows(path, kept)
        else:
            path.unlink()
