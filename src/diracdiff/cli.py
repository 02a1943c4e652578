"""Commands: Hydra composes, the command runs, and a user's mistake is one line on stderr and exit status 2."""

import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from diracdiff.errors import UserError, fail
from diracdiff.run_folder import RunFolder, forget, is_first_process, withdraw

HERE = Path(__file__).resolve().parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parents[1] / "conf"
SWEEP_DIR = "DIRACDIFF_SWEEP_DIR"
BOOLEANS_OF_TRAINER = ("trainer.enable_progress_bar", "trainer.enable_model_summary")
STRUCTURED = re.compile(r"""^$|^['"\[{$]|^(choice|range|interval|glob|sort|shuffle|tag|int|float|str|bool)\(""")
"""Values that are not free text: empty, quoted, lists, dictionaries, references, and functions of Hydra's grammar."""


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a function of a configuration a command that reads `conf/<config_name>.yaml` and its overrides."""

    def decorate(function: Callable[[DictConfig], None]) -> Callable[[], None]:
        def job(cfg: DictConfig) -> None:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                os.environ[SWEEP_DIR] = HydraConfig.get().sweep.dir
            folder = RunFolder(cfg.run_dir, cfg.checkpoint) if "run_dir" in cfg and is_first_process() else None
            try:
                if folder is not None:
                    folder.claim()
                function(cfg)
            except (UserError, OmegaConfBaseException) as error:
                if folder is not None:
                    folder.discard()
                fail(one_line(error))

        def main() -> None:
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing; we print one line
            forget()
            sweep = bool({"-m", "--multirun"} & set(sys.argv))
            sys.argv[1:] = [_quoted(argument, sweep) for argument in sys.argv[1:]] + _child_overrides()
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
            except (HydraException, OmegaConfBaseException) as error:
                withdraw()
                fail(one_line(error))

        return main

    return decorate


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


def name_wandb_run(cfg: DictConfig) -> None:
    """Let the runs of a sweep form a group, each named by its overrides, unless the user has named them."""
    config = HydraConfig.get()
    if "wandb" in (cfg.logger or {}) and config.mode == RunMode.MULTIRUN:
        wandb = cfg.logger.wandb
        wandb.group = wandb.group or Path(config.sweep.dir).name
        wandb.name = wandb.name or config.job.override_dirname[:120]


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


def one_line(error: Exception | str) -> str:
    """The message of an error in one line, without what only a developer needs."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} must be given: add {error.full_key}=…"
    lines = [line.strip() for line in str(error).splitlines()]
    dull = (
        "full_key:",
        "object_type=",
        "reference_type=",
        "Config search path",
        "Set the environment variable",
    )
    return re.sub(r"\s+", " ", " ".join(line for line in lines if line and not line.startswith(dull)))


def _quoted(argument: str, sweep: bool) -> str:
    """Quote a value of free text, which may hold what Hydra's grammar reserves: spaces, brackets, `=`, commas.

    In a sweep a comma parts the values, and stays what it is.
    """
    key, separator, value = argument.partition("=")
    reserved = re.search(r"[^\w./~+-]", value)
    if not separator or not reserved or STRUCTURED.match(value) or (sweep and "," in value):
        return argument
    return f"{key}='{value}'" if "'" not in value else f'{key}="{value}"'


def _child_overrides() -> list[str]:
    """What the processes that Lightning starts for DDP add, so that only the first one makes folders."""
    if is_first_process():
        return []
    overrides = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    return overrides + ([f"hydra.sweep.dir='{os.environ[SWEEP_DIR]}'"] if SWEEP_DIR in os.environ else [])
