"""Checks that networks are comparable, and digests of files that affect results."""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch

from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.locations import weights_file
from diracdiff.degradations import Degradation
from diracdiff.models import DnCNN
from diracdiff.restorer import Restorer
from diracdiff.utils.errors import warn

IRRELEVANT = {"flip", "image_size", "crops_per_epoch", "crop", "max_scale", "on_error", "recolour"}
"""Arguments of a data set that do not affect the selection of its training images."""


def check_same_images(ours: Restorer, theirs: Restorer, name: str, allow_other_data: bool = False) -> None:
    """Check that two networks were trained on the same data set at the same image size.

    DnCNN, whose receptive field has 35 pixels, may have another image size. Names and sizes of the training images are
    compared, or the recipes of the data sets if a checkpoint lacks them.

    Args:
        ours: restorer of the comparison.
        theirs: network of another method.
        name: name of the network, for messages.
        allow_other_data: accept another data set.

    Raises:
        ValueError: if the image size or the data set differs.
    """
    sizes = [restorer.image_size for restorer in (ours, theirs)]
    if sizes[0] != sizes[1] and not isinstance(theirs.denoiser.network, DnCNN):
        raise ValueError(
            f"{name} was trained on images of {sizes[1]} px, the checkpoint on {sizes[0]} px: train it with "
            f"data.image_size={sizes[0]}"
        )
    if allow_other_data:
        return
    trained = [restorer.training.get("images", {}).get("train") for restorer in (ours, theirs)]
    if all(trained) and trained[0] == trained[1]:
        return
    if ours.dataset is None or theirs.dataset is None:
        warn(f"it is not known whether {name} and the checkpoint were trained on the same images")
    elif all(trained) or _images(ours.dataset) != _images(theirs.dataset):
        described = [
            f"{d['_target_'].rpartition('.')[2]} {d.get('root') or ''}" for d in (theirs.dataset, ours.dataset)
        ]
        raise ValueError(
            f"{name} was trained on {described[0]}, the checkpoint on {described[1]}: train both on the same images, "
            "or add allow_other_data=true"
        )


def check_same_problem(ours: Restorer, theirs: Restorer, name: str) -> None:
    """Raise ValueError if two restorers have different degradations or noise levels at t = 1."""
    levels = [restorer.process.sigma_y for restorer in (ours, theirs)]
    if abs(levels[0] - levels[1]) > 1e-6 * levels[0]:
        raise ValueError(
            f"{name} was trained for sigma {levels[1]:.4g}, the checkpoint for {levels[0]:.4g}, in units of the [0, 1] "
            "range: train both with the same noise"
        )
    if operator_recipe(ours.process.degradation) != operator_recipe(theirs.process.degradation):
        raise ValueError(f"{name} undoes another degradation than the checkpoint: train both with the same task")


def operator_recipe(degradation: Degradation) -> dict[str, Any]:
    """Return the recipe of a degradation with its severity at t = 1."""
    severity = degradation.severity(torch.tensor(1.0, dtype=torch.float64))
    recipe: dict[str, Any] = to_recipe(degradation)
    return recipe | {"severity": severity.item()}


def file_digests(value: Any) -> list[str]:
    """Return the first 16 hexadecimal digits of the SHA-256 of each file whose path is in plain containers."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [digest for part in parts for digest in file_digests(part)]
    if not isinstance(value, str) or not os.path.exists(value):  # Path.exists fails on long texts
        return []
    path = weights_file(value)
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        return [hashlib.file_digest(file, "sha256").hexdigest()[:16]]


def _images(recipe: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in recipe.items() if key not in IRRELEVANT}
    return kept | ({"root": str(Path(kept["root"]).resolve())} if kept.get("root") else {})
