"""Commands: Hydra composes, the command runs, and a user's mistake is one line on stderr and exit status 2."""

import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from diracdiff import processes, sweep
from diracdiff.arguments import CONF, apart, as_one_run, choices, one_line, quoted
from diracdiff.errors import UserError, fail, say
from diracdiff.run_folder import RunFolder, forget, kept, withdraw
from diracdiff.signals import Stopped, stoppable

BOOLEANS_OF_TRAINER = ("trainer.enable_progress_bar", "trainer.enable_model_summary")
LARGEST_SEED = 2**32 - 1
READ = {
    "checkpoint": "give the path of a .ckpt file, such as runs/latest/best.ckpt",
    "input": "give an image, or a folder of images",
    "dataset.root": "name a folder of images, such as dataset.root=/path/to/images",
}
"""Keys of files and folders that are read, where a configuration has them, and what to do if they do not exist."""
Command = Callable[[DictConfig], Any]


def command(config_name: str, *required: str) -> Callable[[Command], Callable[[], None]]:
    """Make a function of a configuration a command that reads `conf/<config_name>.yaml` and its overrides.

    Args:
        config_name: of the configuration and of the module.
        required: keys that must be given; what is read must exist, see `READ`.
    """

    def decorate(function: Command) -> Callable[[], None]:
        def job(cfg: DictConfig) -> Any:
            processes.join_submitit()
            folder = RunFolder(cfg.run_dir) if "run_dir" in cfg and processes.is_first_process() else None
            try:
                if folder is not None:
                    folder.claim()
                check_required(cfg, required)
                processes.prepare(["-m", f"diracdiff.{config_name}", *as_one_run(cfg)])
                result = function(cfg)
                processes.end(60.0)
                return result
            except Stopped as stop:
                if folder is not None and not folder.discard():
                    stop.message = f"interrupted: what is done is in {folder.folder}"
                raise
            except Exception as error:
                processes.notice()
                message, status = _explained(error, cfg)
                if message is None:
                    if not _goes_on():
                        processes.leave_reason(f"{type(error).__name__}: {one_line(error)}")
                        raise
                    traceback.print_exception(error)
                    message = f"{type(error).__name__}: {one_line(error)}"
                if _goes_on():
                    sweep.note_failure(message)
                if folder is not None and status == 2:
                    folder.discard()
                return f"failed: {message}" if _goes_on() else fail(message, status)
            finally:
                processes.notice()
                if "wandb" in sys.modules:
                    sys.modules["wandb"].finish()
                processes.end()

        def main() -> None:
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing; we print one line
            os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # of the version that sweeps need
            forget()
            processes.follow()
            with stoppable():
                try:
                    _compose_and_run(config_name, job)
                except Stopped as stop:
                    _report_failures()
                    if not processes.leave_reason(stop.message):
                        print(stop.message, file=sys.stderr, flush=True)
                    if "torch" not in sys.modules and "torch._C" in sys.modules:  # half imported, it fails in leaving
                        os._exit(128 + stop.signum)
                    raise SystemExit(128 + stop.signum) from None

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
    for key, remedy in READ.items():
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        path = None if node is None or name not in node or OmegaConf.is_missing(node, name) else node[name]
        if path is not None and not Path(str(path)).expanduser().exists():
            raise UserError(f"{key}={path} does not exist: {remedy}")
    if "seed" in cfg:
        check_number("seed", cfg.seed, 0, LARGEST_SEED)
    if OmegaConf.select(cfg, "dataset.image_size") is not None:
        check_number("dataset.image_size", cfg.dataset.image_size, 1)


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


def _compose_and_run(config_name: str, job: Command) -> None:
    several = {"-m", "--multirun"} & set(sys.argv) or any(word.startswith("hparams_search=") for word in sys.argv)
    sys.argv[1:] = [quoted(word, bool(several)) for word in sys.argv[1:]] + apart()
    said: str | None = None
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
    except (HydraException, OmegaConfBaseException) as error:
        withdraw()
        said = _with_extra(one_line(error))
    except Exception as error:
        said = _of_sweep(error)
        if said is None and not sweep.gathered():
            raise
    failed = _report_failures()
    if failed or said:
        first = f"{len(failed)} of the sweep's jobs failed, the first: {sweep.reason_of(failed[0])}" if failed else ""
        fail(said if said and not failed else first)


def _report_failures() -> list[str]:
    """Say and record which jobs of a sweep failed, and remove the folders that they leave empty."""
    lines = sweep.gathered()
    sweep.forget_parts()
    if lines:
        withdraw()
    if lines and (folder := kept()) is not None:
        sweep.record(folder, lines)
    for line in lines:
        say(line)
    return lines


def _with_extra(message: str) -> str:
    """The message, or which package is missing where a sweeper or a launcher is."""
    missing = re.search(
        r"'?hydra/(sweeper|launcher)(?:/|=|' to ')(optuna|submitit_\w+)|hydra/(sweeper)/sampler", message
    )
    if missing is None or "Could not" not in message:
        return message
    kind, name = (missing[1] or "sweeper"), (missing[2] or "optuna")
    return f"hydra/{kind}={name} is not installed: pip install 'diracdiff[sweep]'"


def _of_sweep(error: Exception) -> str | None:
    """What sweepers and launchers mean by errors that are not Hydra's."""
    if isinstance(error, ValueError) and "group override must be a string" in str(error):
        null = next((word for word in sys.argv[1:] if word.endswith("=null") and choices(word)), None)
        if null:
            return f"{null} chooses nothing: leave it out, or choose one of {', '.join(choices(null))}"
    if type(error).__module__.startswith("submitit"):
        last = [line for line in str(error).splitlines() if line.strip()][-1].strip()
        return f"a job of the sweep ended without a result ({last}): see .submitit in the sweep's folder"
    return None


def _goes_on() -> bool:
    """Whether what fails is one job of a sweep; where processes run a sweep in step, none may go on alone."""
    one_sweep = processes.has_started() or not processes.in_company() or "SUBMITIT_EXECUTOR" in os.environ
    return sweep.in_sweep() and one_sweep


def _explained(error: Exception, cfg: DictConfig) -> tuple[str | None, int]:
    """An error in one line, or None if it is a fault of the program, and the exit status."""
    if isinstance(error, UserError | OmegaConfBaseException):
        return one_line(error), 2
    if not processes.lost(error):
        return None, 1
    if processes.is_started():
        raise SystemExit(1) from None  # the first process knows who died
    reason, status = processes.why(5.0) or ("another process of this run is gone: see what it said", 1)
    last = Path(cfg.get("run_dir") or ".") / "last.ckpt"
    hint = f"; go on with the same command and checkpoint={last}" if status == 1 and last.exists() else ""
    return reason + hint, status
