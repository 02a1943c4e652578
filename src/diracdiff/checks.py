"""What is checked of a configuration before a command begins, and before anything is imported that takes seconds."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from diracdiff.errors import UserError

BOOLEANS_OF_TRAINER = ("trainer.enable_progress_bar", "trainer.enable_model_summary")
BOOLEANS = (
    "overwrite",
    "degrade",
    "allow_other_data",
    "model.residual",
    "walk.given_measurement",
    *BOOLEANS_OF_TRAINER,
)
LARGEST_SEED = 2**32 - 1
AUTO = "auto"
"""`checkpoint=auto` goes on from the last one in the run's folder, if there is any."""
READ = {
    "checkpoint": "give the path of a .ckpt file, such as runs/latest/best.ckpt",
    "dataset.root": "name a folder of images, such as dataset.root=/path/to/images",
}
"""Keys of files and folders that are read, where a configuration has them, and what to do if they do not exist."""


def given(key: str) -> bool:
    """Whether the user gave a key on the command line."""
    return any(override.startswith(f"{key}=") for override in HydraConfig.get().overrides.task)


def keep_image_size(cfg: DictConfig, image_size: int) -> int:
    """Give the data set the image size of a checkpoint, which is returned.

    Raises:
        UserError: if the user has given another one.
    """
    if given("dataset.image_size") and cfg.dataset.image_size != image_size:
        raise UserError(
            f"dataset.image_size={cfg.dataset.image_size} differs from the checkpoint's {image_size}: leave it out"
        )
    cfg.dataset.image_size = image_size
    return image_size


def check_number(
    name: str, value: Any, least: float, most: float = math.inf, kind: type = int, optional: bool = False
) -> None:
    """Refuse a value that is not a number of the kind (int or float) from `least` to `most`, nor null if `optional`.

    Raises:
        UserError: naming the value, the rule and, where it is missing, the remedy.
    """
    if value is None:
        if not optional:
            raise UserError(f"{name} must be given: add {name}=…")
        return
    numeric = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    if not (numeric and least <= value <= most):
        noun = "an integer" if kind is int else "a number"
        rule = f"from {least} to {most}" if most < math.inf else f"of at least {least}"
        raise UserError(f"{name} must be {noun} {rule}, got {value}")


def check_required(cfg: DictConfig, required: Sequence[str]) -> None:
    """Refuse a command that lacks what it needs, before anything is imported that takes seconds.

    Raises:
        UserError: naming the key and the remedy.
    """
    for key in required:
        if OmegaConf.select(cfg, key, throw_on_missing=True) is None:
            raise UserError(f"{key} must be given: add {key}=…")
    given = {key: node[name] for key in (*BOOLEANS, "seed", "dataset.image_size") for node, name in _at(cfg, key)}
    for key in BOOLEANS:
        if key in given:
            check_boolean(key, given[key])
    if "seed" in given:
        check_number("seed", given["seed"], 0, LARGEST_SEED)
    if given.get("dataset.image_size") is not None:
        check_number("dataset.image_size", given["dataset.image_size"], 1)


def check_files(cfg: DictConfig) -> None:
    """Refuse files and folders that do not exist.

    Raises:
        UserError: naming the key, the path and the remedy.
    """
    for key, remedy in READ.items():
        path = next((node[name] for node, name in _at(cfg, key)), None)
        if path is not None and path != AUTO and not Path(str(path)).expanduser().exists():
            raise UserError(f"{key}={path} does not exist: {remedy}")


def _at(cfg: DictConfig, key: str) -> list[tuple[DictConfig, str]]:
    """The node that has a key and the key's name in it, or nothing where the configuration has none."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return (
        [(node, name)] if isinstance(node, DictConfig) and name in node and not OmegaConf.is_missing(node, name) else []
    )


def check_boolean(name: str, value: Any) -> None:
    """Refuse a value that is neither true nor false: `no`, which is text, must not mean yes.

    Raises:
        UserError: naming the value and the rule.
    """
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, got {'null' if value is None else value}")


def check_booleans(cfg: DictConfig, *keys: str) -> None:
    """Refuse values that are neither true nor false, see `check_boolean`.

    Raises:
        UserError: naming the value and the rule.
    """
    for key in keys:
        check_boolean(key, OmegaConf.select(cfg, key))
