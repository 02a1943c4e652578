"""Resume a training run: from which file, only as the same run, and with the rows that it has logged."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.weights import Damaged
from diracdiff.evaluation.plots import TRADEOFF_CSV
from diracdiff.training.datamodule import ImageDataModule
from diracdiff.training.module import RestorerModule
from diracdiff.training.names import AUTO, LAST, METRICS_CSV, PREVIOUS
from diracdiff.utils.errors import warn
from diracdiff.utils.files import read_rows, write_rows

MAY_DIFFER = ("dataset.root", "optimization.lr", "processes")
"""Settings that a resumed run may change."""


def find(requested: str | None, run_dir: Path) -> tuple[Path, Checkpoint] | None:
    """Return path and content of the checkpoint to resume from, or of `previous.ckpt` if a `last.ckpt` is damaged.

    Args:
        requested: a path; "auto" for the last one in the run's folder, if there is any; None for a new run.
        run_dir: the run's folder.

    Raises:
        ValueError: if it cannot be read, or holds weights alone.
    """
    path = run_dir / LAST if requested == AUTO else Path(requested or "")
    if requested is None or (requested == AUTO and not path.exists()):
        return None
    try:
        found = Checkpoint.read(path)
    except Damaged as error:
        previous = path.with_name(PREVIOUS)
        if path.name != LAST or not previous.exists():
            raise
        path, found = previous, Checkpoint.read(previous)
        warn(f"{error}; resuming from {path}, step {found.rest.get('global_step')}")
    if not found.resumable:
        raise ValueError(f"checkpoint={path}: holds weights but no training run. Give a last.ckpt.")
    return path, found


def check_same(
    module: RestorerModule, data: ImageDataModule, trainer: pl.Trainer, checkpoint: Checkpoint, path: Path
) -> None:
    """Refuse to resume from a checkpoint of another run.

    The folder of the images, the learning rate and, with a warning, the number of processes may differ.

    Args:
        module: module to train.
        data: data to train it on.
        trainer: trainer to train it with.
        checkpoint: content of the checkpoint.
        path: its path, for messages.

    Raises:
        ValueError: naming the first setting that differs.
    """
    now = to_recipe(module.restorer), to_recipe(data.dataset), module.settings(trainer, data)
    before = checkpoint.recipe, checkpoint.dataset, checkpoint.training
    ours, theirs = (
        {key: recipe.get(key) for key in ("process", "denoiser", "seed")} | {"dataset": dataset, **settings}
        for recipe, dataset, settings in (now, before)
    )
    if (count := theirs.get("processes")) != trainer.world_size:
        warn(f"trained by {count} process(es) so far, now by {trainer.world_size}: each batch holds other images")
    if (found := _difference(ours, theirs)) is not None:
        raise ValueError(f"checkpoint={path}: was trained with another {found}. Give the command that made it.")


def _difference(ours: Any, theirs: Any, name: str = "") -> str | None:
    """Return the name of the first value that differs in two recipes, and both values; None if they agree."""
    if ours == theirs or name in MAY_DIFFER:
        return None
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = dict.fromkeys([*ours, *theirs])
        found = (_difference(ours.get(key), theirs.get(key), f"{name}.{key}".lstrip(".")) for key in keys)
        return next(filter(None, found), None)
    scalars = all(isinstance(value, bool | int | float | str | None) for value in (ours, theirs))
    return name + (f" ({theirs}, now {ours})" if scalars else "")


def trim_logs(run_dir: Path, step: int) -> None:
    """Remove the rows that a run has logged after the step that it resumes from, 0 for a new run."""
    remedy = "Move it away: the run then resumes without its earlier rows."
    for path, last in ((run_dir / METRICS_CSV, step - 1), (run_dir / TRADEOFF_CSV, step)):
        if not path.exists():
            continue
        rows = read_rows(path, {"step": int}, remedy, unfinished=True)
        if kept := [row for row in rows if row["step"] <= last]:
            write_rows(path, kept)
        else:
            path.unlink()
