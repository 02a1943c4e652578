"""What is checked of a configuration before a command begins, and before anything is imported that takes seconds."""

import itertools
import math
import os
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, ListConfig, OmegaConf

from diracdiff import arguments
from diracdiff.checkpoints.places import exists
from diracdiff.manual import read_pages
from diracdiff.training.names import AUTO
from diracdiff.utils.errors import UserError

BOOLEANS = (
    "overwrite",
    "degrade",
    "allow_other_data",
    "model.residual",
    "model.interpolate",
    "walk.given_measurement",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
)
LARGEST_SEED = 2**32 - 1
READ = {
    "checkpoint": "give the path of a .ckpt file, such as runs/latest/best.ckpt, or builtin:deblur",
    "dataset.root": "name a folder of images, such as dataset.root=/path/to/images",
}
"""Keys of files and folders that are read, where a configuration has them, and what to do if they do not exist."""


def given(key: str) -> bool:
    """Whether the user gave a key on the command line."""
    return any(override.lstrip("+").startswith(f"{key}=") for override in HydraConfig.get().overrides.task)


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


OPEN = ("baseline", "callbacks", "dirac.dials", "dirac.search", "loader", "logger", "metrics", "sets", "steps")
"""Nodes that take further keys; so do nodes with `_target_`, whose object refuses what it does not know."""


def check_added(cfg: DictConfig, command: str) -> None:
    """Refuse keys that were added with `+` where nothing reads them.

    Raises:
        UserError: naming the key and the most similar one that exists.
    """
    config = HydraConfig.get()
    for override in OverridesParser.create().parse_overrides(list(config.overrides.task)):
        name = override.key_or_group
        if name in config.runtime.choices or not (override.is_add() or override.is_force_add()):
            continue
        above = name.rpartition(".")[0]
        parent = OmegaConf.select(cfg, above) if above else cfg
        is_open = above in OPEN or (isinstance(parent, DictConfig) and "_target_" in parent)
        pages = [page for page in read_pages(arguments.CONF) if page.group or page.choice == command]
        known = [key.name for page in pages for key in page.keys]
        if not is_open and (override.is_add() or name not in known):
            raise arguments.unknown_key(arguments.as_typed(str(override.input_line)), command, known)


def check_paths(cfg: DictConfig) -> None:
    """Refuse paths that are not text, which a file of the user's or a sweep may hold.

    Raises:
        UserError: naming the key and the rule.
    """
    for key in arguments.PATHS:
        for node, name in _at(cfg, key):
            value = node[name]
            if OmegaConf.is_config(value):
                raise UserError(f"{key}={value}: must be one path. Give a file or a folder.")
            if value == "" or not isinstance(value, str | None):
                raise UserError(f"{key}={value}: must be the text of a path. Write it in quotes.")


def check_files(cfg: DictConfig) -> None:
    """Refuse files and folders that do not exist, or that would be read and written.

    The files of `input` are compared one by one with the results, where these have names.

    Raises:
        UserError: naming the key, the path and the remedy.
    """
    for key, remedy in READ.items():
        path = next((node[name] for node, name in _at(cfg, key)), None)
        if path is not None and path != AUTO and not exists(_absolute(path) if key == "dataset.root" else str(path)):
            raise UserError(f"{key}={path} does not exist: {remedy}")
    for output, key in itertools.product(("output", "tuned", "markdown"), arguments.READ):
        written, read = (next((str(n[k]) for n, k in _at(cfg, name) if n[k] is not None), "") for name in (output, key))
        if key != "input" and os.path.exists(written) and os.path.exists(read) and os.path.samefile(written, read):
            raise UserError(f"{output}={written} would replace the input {key}={read}: give another {output}")


def _absolute(path: Any) -> str:
    """Return a path that begins where the command was started, also with hydra.job.chdir=true."""
    return to_absolute_path(os.path.expanduser(str(path)))


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


def check_training(cfg: DictConfig) -> None:
    """Refuse values that break a rule.

    Raises:
        UserError: naming the key, the rule and the value.
    """
    check_number("task.share_at_end", cfg.task.share_at_end, 0.0, 1.0, float)
    check_times(cfg.task.times)
    check_number("trainer.accumulate_grad_batches", cfg.trainer.accumulate_grad_batches, 1)
    check_number("trainer.num_nodes", cfg.trainer.num_nodes, 1)
    check_number("trainer.limit_train_batches", cfg.trainer.limit_train_batches, 0, kind=float)
    if "_target_" not in cfg.sampler:
        raise UserError("sampler=checkpoint is for commands that read a checkpoint: choose sampler=ode, euler or heun")


def check_times(times: Any) -> None:
    """Refuse a range of training times that is not two numbers in order.

    Raises:
        UserError: naming the rule and the value.
    """
    times = OmegaConf.to_container(times) if isinstance(times, ListConfig) else times
    numbers = isinstance(times, list) and all(type(t) in (int, float) for t in times)
    if not numbers or len(times) != 2 or not 0 <= times[0] <= times[1] <= 1:
        shown = "null" if times is None else times
        raise UserError(f"task.times: times must be two numbers, 0 <= first <= last <= 1, got {shown}: try [0, 1]")
