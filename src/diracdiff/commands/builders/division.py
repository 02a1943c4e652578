"""The division of a data set that a checkpoint was trained on, for commands that measure the checkpoint."""

import os
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from diracdiff.commands.builders.build import build, given
from diracdiff.data.files import check_root
from diracdiff.data.splits import split_folders
from diracdiff.restorer import Restorer

DIVIDED = ("diracdiff.data.ImageFolder", "diracdiff.data.CelebAHQ")
"""Data sets that are divided by these keys, with their default values."""
HUGGING_FACE = "diracdiff.data.HuggingFace"
KEYS = {"val_fraction": 0.1, "test_fraction": 0.1, "seed": 0}


def keep_division(cfg: DictConfig, restorer: Restorer, splits: Sequence[str]) -> None:
    """Let a data set that a restorer was trained on keep its division, so that no training image is measured.

    It is known by its folder, or by the names and sizes of its training images.

    Args:
        cfg: configuration of a command; gets the values of the checkpoint.
        restorer: restorer to measure.
        splits: splits that the command reads.

    Raises:
        ValueError: if the user has given another division, or the images have changed.
    """
    node, recipe = cfg.dataset, restorer.dataset or {}
    targets = node.get("_target_"), recipe.get("_target_")
    if targets == (HUGGING_FACE, HUGGING_FACE) and node.path == recipe.get("path"):
        _update(node, {key: recipe.get(key, default) for key, default in KEYS.items()})
        return
    if not set(targets) <= set(DIVIDED) or OmegaConf.is_missing(node, "root") or node.root is None:
        return
    division = {key: recipe.get(key, default) for key, default in KEYS.items()}
    trained = restorer.training.get("images", {}).get("train")
    found = _training_images(node, division) if trained else None
    same_root = os.path.realpath(check_root(str(node.root))) == _real(recipe.get("root"))
    if not same_root and (trained is None or found != trained):
        return
    wanted = {key: value for key, value in division.items() if key in node or value != KEYS[key]}
    if trained is not None and found != trained and not set(splits) <= set(split_folders(check_root(str(node.root)))):
        raise ValueError(
            f"dataset.root={node.root}: {_count(found)}, the checkpoint was trained on {trained['count']} others, which"
            f" may be among the {splits[-1]} images. Put the images to measure into another folder."
        )
    if not given("dataset.crop") and targets[0] == targets[1]:
        wanted |= {key: recipe[key] for key in ("crop", "max_scale") if key in recipe and not given(f"dataset.{key}")}
    _update(node, wanted)


def _update(node: DictConfig, wanted: dict[str, Any]) -> None:
    """Set the values of the checkpoint. Raises ValueError if the user has given another one."""
    for key, value in wanted.items():
        if given(f"dataset.{key}") and node[key] != value:
            raise ValueError(
                f"dataset.{key}={node[key]}: the checkpoint was trained with {value}, and other values measure images"
                " that it was trained on. Remove it."
            )
    with open_dict(node):
        node.update(wanted)


def _training_images(node: DictConfig, division: dict[str, Any]) -> dict[str, Any] | None:
    """Return the fingerprint of the training images under a division, or None if there are none."""
    copy = node.copy()
    copy.update({key: value for key, value in division.items() if key in node})
    try:
        fingerprint: dict[str, Any] | None = build(copy).split("train").fingerprint()
    except ValueError:
        return None
    return fingerprint


def _real(root: Any) -> str | None:
    return None if root is None else os.path.realpath(check_root(root)) if os.path.isdir(str(root)) else str(root)


def _count(found: dict[str, Any] | None) -> str:
    return f"{found['count'] if found else 'no'} training images"
