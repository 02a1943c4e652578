"""What must agree before methods may be compared, and what makes a run the same as an earlier one."""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch

from diracdiff.checkpoints import to_recipe
from diracdiff.degradations import Degradation
from diracdiff.models import DnCNN
from diracdiff.restorer import Restorer
from diracdiff.utils.errors import UserError, warn

SPLIT_FREE = (
    "flip",
    "image_size",
    "crops_per_epoch",
    "crop",
    "max_scale",
    "on_error",
    "max_pixels",
    "verify",
)
"""Arguments of a data set that do not say which images it trains on."""


def check_same_images(ours: Restorer, theirs: Restorer, name: str, allow_other_data: bool = False) -> None:
    """Refuse a network that was trained on images of another size or, unless allowed, another data set.

    DnCNN, which sees 35 pixels about each, may have been trained on smaller images.

    Raises:
        UserError: naming what differs.
    """
    sizes = [restorer.image_size for restorer in (ours, theirs)]
    if sizes[0] != sizes[1] and not isinstance(theirs.denoiser.network, DnCNN):
        raise UserError(
            f"{name} was trained on images of {sizes[1]} px, the checkpoint on {sizes[0]} px: train it with "
            f"dataset.image_size={sizes[0]}"
        )
    if allow_other_data:
        return
    if ours.dataset is None or theirs.dataset is None:
        warn(f"it is not known whether {name} and the checkpoint were trained on the same images")
    elif _images(ours.dataset) != _images(theirs.dataset):
        raise UserError(
            f"{name} was trained on {_describe(theirs.dataset)}, the checkpoint on {_describe(ours.dataset)}: train "
            "both on the same images, or add allow_other_data=true"
        )


def check_same_problem(ours: Restorer, theirs: Restorer, name: str) -> None:
    """Refuse a restorer that undoes another degradation or noise level at t = 1.

    Raises:
        UserError: naming what differs.
    """
    levels = [restorer.process.sigma_y for restorer in (ours, theirs)]
    if abs(levels[0] - levels[1]) > 1e-6 * levels[0]:
        raise UserError(
            f"{name} was trained for sigma {levels[1]:.4g}, the checkpoint for {levels[0]:.4g}, in units of the [0, 1] "
            "range: train both with the same noise"
        )
    degradations = [operator_recipe(restorer.process.degradation) for restorer in (ours, theirs)]
    if degradations[0] != degradations[1]:
        raise UserError(f"{name} undoes another degradation than the checkpoint: train both with the same task")


def check_sigma(asked: float | None, restorer: Restorer, checkpoint: str) -> None:
    """Refuse another noise level than the one that a restorer was trained for.

    Args:
        asked: standard deviation in units of the [0, 1] range, or None for the restorer's.
        restorer: to be compared.
        checkpoint: its path, for messages.

    Raises:
        UserError: naming both.
    """
    known = restorer.process.sigma_y
    if asked is not None and abs(asked - known) > 1e-6 * known:
        raise UserError(
            f"sigma={asked} differs from that of checkpoint={checkpoint}, {known:.4g} in units of the [0, 1] range (a "
            f"level on [-1, 1] is twice as large): leave it out, or train with schedule.noise.sigma_max={asked}"
        )


def operator_recipe(degradation: Degradation) -> dict[str, Any]:
    """The degradation at t = 1, in plain containers."""
    severity = degradation.severity(torch.tensor(1.0, dtype=torch.float64))
    recipe: dict[str, Any] = to_recipe(degradation)
    return recipe | {"severity": severity.item()}


def files_in(value: Any) -> list[str]:
    """SHA-256 of every file that a plain value names, in short."""
    if isinstance(value, dict):
        return [digest for item in value.values() for digest in files_in(item)]
    if isinstance(value, list):
        return [digest for item in value for digest in files_in(item)]
    if not isinstance(value, str) or not os.path.isfile(value):  # Path.is_file fails on long texts
        return []
    with open(value, "rb") as file:
        return [hashlib.file_digest(file, "sha256").hexdigest()[:16]]


def _images(recipe: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in recipe.items() if key not in SPLIT_FREE}
    return kept | ({"root": str(Path(kept["root"]).resolve())} if kept.get("root") else {})


def _describe(recipe: dict[str, Any]) -> str:
    name = recipe["_target_"].rpartition(".")[2]
    return f"{name} {recipe['root']}" if recipe.get("root") else name
