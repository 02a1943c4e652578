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
from diracdiff.utils.errors import UserError, warn
from diracdiff.utils.files import read_rows, write_rows


def find(requested: str | None, run_dir: Path) -> tuple[Path, Checkpoint] | None:
    """Return path and content of the checkpoint to resume from, or of `previous.ckpt` if a `last.ckpt` is damaged.

    Args:
        requested: a path; "auto" for the last one in the run's folder, if there is any; None for a new run.
        run_dir: the run's folder.

    Raises:
        UserError: if it cannot be read, or holds weights alone.
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
        raise UserError(f"checkpoint={path}: holds weights but no training run. Give a last.ckpt.")
    return path, found


def check_same(
    module: RestorerModule, data: ImageDataModule, trainer: pl.Trainer, checkpoint: Checkpoint, path: Path
) -> None:
    """Refuse to resume from a checkpoint of another run. Only the learning rate and the number of processes may differ.

    Args:
        module: module to train.
        data: data to train it on.
        trainer: trainer to train it with.
        checkpoint: content of the checkpoint.
        path: its path, for messages.

    Raises:
        UserError: naming the first setting that differs.
    """
    ours, theirs = to_recipe(module.restorer), checkpoint.recipe
    settings, before = module.settings(trainer, data), dict(checkpoint.training)
    if (count := before.pop("processes", trainer.world_size)) != trainer.world_size:
        warn(f"trained by {count} process(es) so far, now by {trainer.world_size}: each batch holds other images")
    pairs = {key: (ours[key], theirs.get(key)) for key in ("process", "denoiser", "seed")}
    if checkpoint.dataset is not None:
        pairs["dataset"] = _without(to_recipe(data.dataset), "root"), _without(checkpoint.dataset, "root")
    pairs |= {key: (_without(settings[key], "lr"), _without(before[key], "lr")) for key in settings if key in before}
    for part, (our, their) in pairs.items():
        if (found := _difference(our, their, part)) is not None:
            remedy = "Give the command that made it, with checkpoint=… added, or start a new run."
            raise UserError(f"checkpoint={path}: was trained with another {found}. {remedy}")


def _without(recipe: Any, key: str) -> Any:
    return {name: value for name, value in recipe.items() if name != key} if isinstance(recipe, dict) else recipe


def _difference(ours: Any, theirs: Any, name: str) -> str | None:
    """Return the first place where two recipes differ, and both values; None if they are equal."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours != theirs:
        both = ((key, ours.get(key), theirs.get(key)) for key in [*ours, *theirs])
        return next(found for key, a, b in both if (found := _difference(a, b, f"{name}.{key}")))
    scalars = all(isinstance(value, bool | int | float | str | None) for value in (ours, theirs))
    return None if ours == theirs else name + (f" ({theirs}, now {ours})" if scalars else "")


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
