"""Commands: Hydra composes, the command runs, and a user's mistake is one line on stderr and exit status 2."""

import os
import re
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from diracdiff import processes, sweep
from diracdiff.arguments import CONF, apart, as_one_run, choices, in_grammar, one_line, unknown_key
from diracdiff.checks import (
    check_added,
    check_boolean,
    check_files,
    check_number,
    check_paths,
    check_required,
    given,
    keep_image_size,
)
from diracdiff.lean import import_less
from diracdiff.manual import help_of, read_pages
from diracdiff.run_folder import RunFolder, forget, kept, withdraw
from diracdiff.signals import Stopped, not_mistaken, stoppable
from diracdiff.training.names import LAST
from diracdiff.utils.console import protect_output
from diracdiff.utils.errors import UserError, fail, say, warn
from diracdiff.utils.escaping import for_terminal

__all__ = [
    "check_boolean",
    "check_number",
    "command",
    "given",
    "keep_image_size",
]

NUMBER = re.compile(r"=(null|true|false|[-+.\d].*|nan|inf)$", re.I)
"""What Hydra takes for something else than the name of a choice."""

UPLOAD = 60.0
"""Seconds for a dashboard to take what it has not taken yet."""

Command = Callable[[DictConfig], Any]


def command(
    config_name: str, *required: str, check: Callable[[DictConfig], None] | None = None
) -> Callable[[Command], Callable[[], None]]:
    """Make a function of a configuration a command that reads `conf/<config_name>.yaml` and its overrides.

    Args:
        config_name: of the configuration and of the module.
        required: keys that must be given; what is read must exist, see `diracdiff.checks.READ`.
        check: refuses values with a UserError, before anything is imported that takes seconds.
    """

    def decorate(function: Command) -> Callable[[], None]:
        def job(cfg: DictConfig) -> Any:
            processes.join_submitit()
            folder = (
                RunFolder(cfg.run_dir, cfg.checkpoint and str(cfg.checkpoint))
                if "run_dir" in cfg and processes.is_first_process()
                else None
            )
            try:
                with not_mistaken():
                    if folder is not None:
                        folder.claim()
                    check_added(cfg, config_name)
                    check_paths(cfg)
                    check_required(cfg, required)
                    if check is not None:
                        check(cfg)
                    check_files(cfg)
                    processes.prepare(["-m", f"diracdiff.commands.{config_name}", *as_one_run(cfg)])
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
                _finish_wandb()
                processes.end()

        def main() -> None:
            protect_output()
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing; we print one line
            os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # of the version that sweeps need
            forget()
            processes.follow()
            if f"diracdiff.commands.{config_name}" in sys.orig_argv:
                import_less()
            with stoppable():
                try:
                    _compose_and_run(config_name, job)
                except Stopped as stop:
                    _report_failures()
                    if not processes.leave_reason(stop.message):
                        print(for_terminal(stop.message), file=sys.stderr, flush=True)
                    raise SystemExit(128 + stop.signum) from None

        return main

    return decorate


def _compose_and_run(config_name: str, job: Command) -> None:
    several = {"-m", "--multirun"} & set(sys.argv) or any(word.startswith("hparams_search=") for word in sys.argv)
    try:
        sys.argv[1:] = in_grammar(sys.argv[1:], bool(several)) + apart()
    except UserError as error:
        fail(str(error))
    said: str | None = None
    try:
        with not_mistaken():
            if {"-h", "--help"} & set(sys.argv[1:]):
                for line in help_of(config_name, sys.argv[1:]).splitlines():
                    say(line)
            else:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
    except (HydraException, OmegaConfBaseException) as error:
        withdraw()
        added = re.search(r"To append to your config use \+(.*)", str(error))
        keys = [key.name for page in read_pages(CONF) if page.group or page.choice == config_name for key in page.keys]
        said = str(unknown_key(added[1], config_name, keys)) if added else _with_extra(one_line(error))
    except Exception as error:
        said = _of_sweep(error) or _of_hydra(error)
        if said is None and not sweep.gathered():
            raise
    failed = _report_failures()
    if sweep.in_progress() and processes.is_first_process() and (folder := kept()) is not None:
        sweep.tabulate(folder)
    if failed or said:
        first = f"{len(failed)} of the sweep's jobs failed, the first: {sweep.reason_of(failed[0])}" if failed else ""
        fail(said if said and not failed else first)


def _finish_wandb() -> None:
    """Let a run on a dashboard end, so that the next job of a sweep gets its own; without a network, not for ever."""
    if "wandb" not in sys.modules:
        return

    def finish() -> None:
        try:
            sys.modules["wandb"].finish()
        except Exception as error:
            warn(f"wandb could not finish its run ({str(error).splitlines()[0]}): its folder holds the data")

    ending = threading.Thread(target=finish, daemon=True)
    ending.start()
    ending.join(UPLOAD)
    if ending.is_alive():
        warn(f"wandb is still sending after {UPLOAD:.0f} s and is left: send the rest with wandb sync")


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
    if type(error).__module__.startswith("submitit"):
        last = [line for line in str(error).splitlines() if line.strip()][-1].strip()
        return f"a job of the sweep ended without a result ({last}): see .submitit in the sweep's folder"
    return None


def _of_hydra(error: Exception) -> str | None:
    """What Hydra means by an error of its own code, which overrides of an odd kind lead to."""
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__") == __name__ and frame.tb_frame.f_code.co_name == "job":
            return None
        frame = frame.tb_next
    if isinstance(error, ValueError) and "group override must be a string" in str(error):
        word = next((word for word in sys.argv[1:] if NUMBER.search(word) and choices(word)), None)
        if word:
            return f"{word} chooses nothing: leave it out, or choose one of {', '.join(choices(word))}"
    return f"the command cannot be understood ({one_line(error)}): check {' '.join(sys.argv[1:])}"


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
    last = Path(cfg.get("run_dir") or ".") / LAST
    hint = f"; go on with the same command and checkpoint={last}" if status == 1 and last.exists() else ""
    return reason + hint, status
