"""The wrapper of every command: Hydra composes, the command runs, and a user's mistake is one line and status 2."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from diracdiff.commands.overrides import CONF, check_values, explained
from diracdiff.utils.errors import fail, is_out_of_memory, warn
from diracdiff.utils.escaping import for_terminal

MISTAKES = (ValueError, OSError, MemoryError, RuntimeError, HydraException, OmegaConfBaseException)
"""Errors that can be the user's to fix: of values, the configuration, files that a system call names, and memory."""

NO_MEMORY = "out of memory: lower batch_size, loader.batch_size, loader.eval_batch_size, samples or tile"

Command = Callable[[DictConfig], Any]


def command(function: Command) -> Callable[[], None]:
    """Make a function of a configuration a command that reads `conf/<its name>.yaml` and the command line.

    A mistake of the user's ends the command with one line and status 2, SIGINT with status 130. Other errors are
    defects: they show their traceback and end it with status 1. So do all where DIRACDIFF_TRACEBACK is set. A job of
    a sweep that fails is reported at once, and ends the sweep with its error after the other jobs.
    """
    name = function.__name__

    def job(cfg: DictConfig) -> Any:
        try:
            _join_submitit()
            check_values(cfg, name)
            return function(cfg)
        except (KeyboardInterrupt, SystemExit) as end:
            if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):  # by Lightning
                raise
            folder = str(cfg.get("run_dir") or cfg.get("output") or "")
            _interrupted(f": what is done is in {folder}" if os.path.exists(folder) else "")
        except MISTAKES as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                warn(f"job {HydraConfig.get().job.num} failed: {explained(error, name)}")
                raise
            _refuse(error, name)
        finally:
            if "wandb" in sys.modules:
                sys.modules["wandb"].finish()  # the next job of a sweep is a separate run

    def main() -> None:
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises its errors, which are printed below
        with contextlib.redirect_stdout(_Stream(sys.stdout)), contextlib.redirect_stderr(_Stream(sys.stderr)):
            try:
                if {"-h", "--help"} & set(sys.argv[1:]):
                    from diracdiff.commands.help import help_of

                    print(help_of(name, sys.argv[1:]), flush=True)
                else:
                    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
            except KeyboardInterrupt:
                _interrupted("")
            except MISTAKES as error:
                _refuse(error, name)

    return main


class _Stream:
    """A stream whose reader may end, as in `train | head`: what it does not take is lost, and no work is."""

    def __init__(self, stream: Any):
        self._stream = stream or open(os.devnull, "w")  # noqa: SIM115, closed by `>&-`

    def write(self, text: str) -> int:
        """Write text; return its length."""
        with self._discarding():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what is buffered."""
        with self._discarding():
            self._stream.flush()

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # as in Python's documentation of SIGPIPE: the rest, also at exit, goes to no reader
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _interrupted(found: str) -> NoReturn:
    print(f"interrupted{for_terminal(found)}", file=sys.stderr, flush=True)
    raise SystemExit(130)


def _refuse(error: Exception, name: str) -> NoReturn:
    if is_out_of_memory(error):
        fail(NO_MEMORY)
    unnamed = isinstance(error, OSError) and error.filename is None
    defect = isinstance(error, RuntimeError) or (unnamed and not isinstance(error, HydraException))
    if defect or "DIRACDIFF_TRACEBACK" in os.environ:
        raise error
    fail(explained(error, name))


def _join_submitit() -> None:
    """Take the rank that submitit gives to one of several tasks of a job; Lightning then starts no processes."""
    if "SUBMITIT_EXECUTOR" in os.environ and "LOCAL_RANK" not in os.environ:
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        if JobEnvironment().num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
