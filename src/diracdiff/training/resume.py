"""How a training goes on: from which file, whether it is the same training, and with what it has logged."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger

from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.weights import Damaged
from diracdiff.evaluation.pictures import TRADEOFF_CSV
from diracdiff.training.datamodule import ImageDataModule
from diracdiff.training.module import RestorerModule
from diracdiff.training.names import AUTO, LAST, METRICS_CSV, PREVIOUS
from diracdiff.utils.errors import UserError, warn
from diracdiff.utils.files import write_rows
from diracdiff.utils.reading import read_rows


def find(asked: str | None, run_dir: Path) -> tuple[Path, Checkpoint] | None:
    """The checkpoint to go on from.

    Args:
        asked: its path; "auto" for the last one in the run's folder, if there is any; None for none.
        run_dir: the run's folder.

    Returns:
        Path and content; of `previous.ckpt` beside it, if a `last.ckpt` is damaged or missing.

    Raises:
        UserError: if there is none that can be read.
    """
    if asked is None:
        return None
    path = run_dir / LAST if asked == AUTO else Path(asked)
    before = path.with_name(PREVIOUS)
    if asked == AUTO and not path.exists() and not before.exists():
        return None
    try:
        return path, Checkpoint.read(path)
    except UserError as error:
        if path.name != LAST or not before.exists() or (path.exists() and not isinstance(error, Damaged)):
            raise
        found = Checkpoint.read(before)
        warn(f"{error}; going on from {before}, step {found.rest.get('global_step')}")
        return before, found


def check_same(
    module: RestorerModule, data: ImageDataModule, trainer: pl.Trainer, checkpoint: Checkpoint, name: str
) -> None:
    """Refuse to go on from a checkpoint of another training, or of weights alone; the learning rate may differ.

    Args:
        module: that is to be trained.
        data: that it is to be trained on.
        trainer: that is to train it.
        checkpoint: to go on from.
        name: its path, for messages.

    Raises:
        UserError: naming what differs.
    """
    if not checkpoint.resumable:
        raise UserError(
            f"checkpoint={name} holds weights but no training to go on with: give a last.ckpt of diracdiff train"
        )
    ours, theirs = to_recipe(module.restorer), checkpoint.recipe
    pairs = {key: (ours[key], theirs.get(key)) for key in ("process", "seed")}
    denoiser = theirs["denoiser"] if isinstance(theirs.get("denoiser"), dict) else {}
    pairs |= {key: (ours["denoiser"][key], denoiser.get(key)) for key in ours["denoiser"]}
    if checkpoint.dataset is not None:
        pairs["dataset"] = _without(to_recipe(data.dataset), "root"), _without(checkpoint.dataset, "root")
    settings, before = module.settings(trainer, data), dict(checkpoint.training)
    processes = before.pop("processes", trainer.world_size)
    images = before.pop("images", {})
    for key in settings.keys() & before.keys():
        pairs[key] = settings[key], before[key]
    if "optimization" in pairs:
        pairs["optimization"] = tuple(_without(recipe, "lr") for recipe in pairs["optimization"])  # it takes effect
    for part, (our, their) in pairs.items():
        if (found := _difference(our, their, part)) is not None:
            raise UserError(
                f"checkpoint={name} was trained with another {found}: give the command that made it, "
                "with checkpoint=… added; to a command of an earlier version also add method=paper or "
                "optimizer=adam_cosine"
            )
    _check_images(data, images)
    if processes != trainer.world_size and trainer.is_global_zero:
        warn(f"trained by {processes} process(es) so far, now by {trainer.world_size}: each batch holds other images")


def _check_images(data: ImageDataModule, before: dict[str, dict[str, Any]]) -> None:
    """Refuse other images than those of the checkpoint.

    Raises:
        UserError: naming the folder and both numbers.
    """
    for split, found in data.fingerprints().items():
        then = before.get(split, found)
        if found != then:
            noun, root = "training" if split == "train" else "validation", getattr(data.dataset, "root", None)
            same = ", whose names or sizes were others" if found["count"] == then["count"] else ""
            raise UserError(
                f"dataset.root={root}: {found['count']} {noun} images, the checkpoint was trained with {then['count']}"
                f"{same}. Restore the folder, or start a new run."
            )


def _without(recipe: Any, key: str) -> Any:
    return {name: value for name, value in recipe.items() if name != key} if isinstance(recipe, dict) else recipe


def _difference(ours: Any, theirs: Any, name: str) -> str | None:
    """The first place where two recipes differ, and how."""
    if ours == theirs:
        return None
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return next(found for key in ours if (found := _difference(ours[key], theirs[key], f"{name}.{key}")))
    brief = [
        str(value) if isinstance(value, bool | int | float | str | None) else "another" for value in (theirs, ours)
    ]
    return f"{name} ({brief[0]}, now {brief[1]})" if brief != ["another"] * 2 else name


def keep_logs(trainer: pl.Trainer, run_dir: Path, path: Path, checkpoint: Checkpoint) -> None:
    """Keep what a run that goes on in its own folder has logged up to its checkpoint, and nothing that came after it.

    Args:
        trainer: whose logger would begin `metrics.csv` anew.
        run_dir: the run's folder.
        path: of the checkpoint; where it lies elsewhere, there is nothing to keep.
        checkpoint: that the run goes on from.
    """
    if not trainer.is_global_zero or path.resolve().parent != run_dir.resolve():
        return
    step = checkpoint.rest["global_step"]
    metrics, tradeoff = (_logged(run_dir / name) for name in (METRICS_CSV, TRADEOFF_CSV))
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.experiment.metrics = [_given(row) for row in metrics if row["step"] < step]
            logger.save()
    kept = [row for row in tradeoff if row["step"] <= step]
    if kept:
        write_rows(run_dir / TRADEOFF_CSV, kept)
    else:
        (run_dir / TRADEOFF_CSV).unlink(missing_ok=True)


def _logged(path: Path) -> list[dict[str, Any]]:
    """Rows of a log, but for one that a killed process has left unfinished."""
    if not path.exists():
        return []
    remedy = "Move it away: the run then resumes without its earlier rows."
    return read_rows(path, {"step": int}, remedy, unfinished=True)


def _given(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value != ""}
