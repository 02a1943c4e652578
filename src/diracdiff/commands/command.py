"""Decorator of commands: configuration by Hydra, and error messages of one line."""

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

from diracdiff.commands.overrides import CONF, check_values, describe_error, expand_home
from diracdiff.utils.errors import fail, is_out_of_memory, warn

NO_MEMORY = "out of memory: lower batch_size, data.batch_size, data.eval_batch_size, samples or tile"


def command(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """Turn a function of a configuration into a command that reads `conf/<name>.yaml` and the command line.

    An error of the user prints one line and exits with status 2. SIGINT exits with status 130. Other errors are
    defects: they print a traceback and exit with status 1. If DIRACDIFF_TRACEBACK is set, all errors print a traceback.
    A failed job of a sweep prints a warning, and the sweep exits with its error after the other jobs.
    """
    name = function.__name__

    def job(cfg: DictConfig) -> Any:
        try:
            check_values(cfg, name)
            expand_home(cfg)
            import torch  # after the check, which must not wait for it

            torch.set_flush_denormal(True)  # subnormal gradients slow down the backward pass
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
                sys.modules["wandb"].finish()  # the next job of a sweep is another run

    def main() -> None:
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # lets Hydra raise errors, which are printed below
        with (
            contextlib.redirect_stdout(_PipeSafeStream(sys.stdout)),
            contextlib.redirect_stderr(_PipeSafeStream(sys.stderr)),
        ):
            try:
                # Users of Lightning templates type logger=null, which Hydra refuses for a config group.
                sys.argv[1:] = ["logger=none" if word == "logger=null" else word for word in sys.argv[1:]]
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
    """Stream whose reader may exit, as in `train | head`. Later output is discarded, and the command continues."""

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
        except OSError:  # see SIGPIPE in the documentation of Python; also covers output at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _exit_with(error: Exception, name: str) -> NoReturn:
    if is_out_of_memory(error):
        fail(NO_MEMORY)
    named = getattr(error, "filename", None) is not None  # a system call failed for a file
    if not named and not isinstance(error, ValueError | HydraException | OmegaConfBaseException):
        raise error
    if "DIRACDIFF_TRACEBACK" in os.environ:
        raise error
    fail(describe_error(error, name))
