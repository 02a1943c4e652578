"""The wrapper of every command: Hydra composes, the command runs, and a user's mistake is one line and status 2."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from diracdiff.commands.overrides import CONF, check_values, describe_error
from diracdiff.utils.errors import fail, is_out_of_memory, warn

NO_MEMORY = "out of memory: lower batch_size, data.batch_size, data.eval_batch_size, samples or tile"


def command(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """Make a function of a configuration a command that reads `conf/<its name>.yaml` and the command line.

    A mistake of the user's ends the command with one line and status 2, SIGINT with status 130. Other errors are
    defects: they show their traceback and end it with status 1. So do all where DIRACDIFF_TRACEBACK is set. A job of
    a sweep that fails is reported at once, and ends the sweep with its error after the other jobs.
    """
    name = function.__name__

    def job(cfg: DictConfig) -> Any:
        try:
            import torch

            torch.set_flush_denormal(True)  # subnormal gradients make the backward pass several times as slow
            check_values(cfg, name)
            return function(cfg)
        except (KeyboardInterrupt, SystemExit) as end:
            if not isinstance(end, KeyboardInterrupt) and not isinstance(end.__context__, KeyboardInterrupt):
                raise  # Lightning exits when it is interrupted
            folder = str(OmegaConf.select(cfg, "paths.output_dir") or cfg.get("output") or "")
            raise KeyboardInterrupt(f": partial results are in {folder}" if os.path.exists(folder) else "") from None
        except Exception as error:
            if HydraConfig.get().mode == RunMode.RUN:
                _exit_with(error, name)
            warn(f"job {HydraConfig.get().job.num} failed: {describe_error(error, name)}")
            raise
        finally:
            if "wandb" in sys.modules:
                sys.modules["wandb"].finish()  # the next job of a sweep is a separate run

    def main() -> None:
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises its errors, which are printed below
        with (
            contextlib.redirect_stdout(_PipeSafeStream(sys.stdout)),
            contextlib.redirect_stderr(_PipeSafeStream(sys.stderr)),
        ):
            try:
                if {"-h", "--help"} & set(sys.argv[1:]):
                    from diracdiff.commands.help import help_of

                    print(help_of(name, sys.argv[1:]), flush=True)
                else:
                    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
            except KeyboardInterrupt as end:
                print(f"interrupted{end}", file=sys.stderr, flush=True)
                raise SystemExit(130) from None
            except Exception as error:
                _exit_with(error, name)

    return main


class _PipeSafeStream:
    """A stream whose reader may end, as in `train | head`: what it does not take is lost, and no work is."""

    def __init__(self, stream: Any):
        self._stream = stream or open(os.devnull, "w")  # noqa: SIM115, closed by `>&-`

    def write(self, text: str) -> int:
        self._attempt(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            function(*arguments)
        except OSError:  # as in Python's documentation of SIGPIPE: the rest, also at exit, goes to no reader
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _exit_with(error: Exception, name: str) -> NoReturn:
    if is_out_of_memory(error):
        fail(NO_MEMORY)
    named = getattr(error, "filename", None) is not None  # a file that a system call refuses
    if not named and not isinstance(error, ValueError | HydraException | OmegaConfBaseException):
        raise error
    if "DIRACDIFF_TRACEBACK" in os.environ:
        raise error
    fail(describe_error(error, name))
