"""What stands on a command line: free text and paths for Hydra's grammar, and what other processes are given."""

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from diracdiff import processes

HERE = Path(__file__).resolve().parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parents[1] / "conf"
STRUCTURED = re.compile(r"""^$|^['"\[{$]|^(choice|range|interval|glob|sort|shuffle|tag|int|float|str|bool)\(""")
"""Values that are not free text: empty, quoted, lists, dictionaries, references, and functions of Hydra's grammar."""

SILENT = ("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")
"""Of Hydra in a process that is not the first."""


def quoted(argument: str, sweep: bool) -> str:
    """Quote a value of free text, which may hold what Hydra's grammar reserves: spaces, brackets, `=`, commas.

    In a sweep a comma parts the values, and stays what it is. A `~` that begins a path is the home folder.
    """
    key, separator, value = argument.partition("=")
    value = re.sub(r"(?<![^\[,])~(?=/|$)", lambda _: str(Path.home()), value)
    reserved = re.search(r"[^\w./~+-]", value)
    if not separator or not reserved or STRUCTURED.match(value) or (sweep and "," in value):
        return f"{key}{separator}{value}"
    return f"{key}={as_text(value)}"


def as_typed(argument: str) -> str:
    """The argument that `quoted` makes this one of, if there is one."""
    key, _, value = argument.partition("=")
    typed = f"{key}={value[1:-1]}"
    return typed if quoted(typed, False) == argument else argument


def as_text(value: str) -> str:
    """A value in quotes of Hydra's grammar."""
    return f"'{value}'" if "'" not in value else f'"{value}"'


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


def choices(word: str) -> list[str]:
    """The choices of a group that an override is about."""
    return sorted(path.stem for path in (CONF / word.partition("=")[0].lstrip("+")).glob("*.yaml"))


def as_one_run(cfg: DictConfig) -> list[str]:
    """The arguments with which another process runs what this one runs, and makes no folder of its own."""
    config = HydraConfig.get()
    sources = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
    flags = [word for path in sources for word in ("--config-dir", path)]
    run_dir = [f"run_dir={as_text(os.path.abspath(cfg.run_dir))}"] if "run_dir" in cfg else []
    return [*flags, *config.overrides.task, *run_dir, "hydra.mode=RUN", "hydra.run.dir=.", *SILENT]


def apart() -> list[str]:
    """What keeps a process that was started from outside, and is not the first, from making folders."""
    if processes.is_first_process() or processes.is_started():
        return []
    folder = tempfile.mkdtemp(prefix="diracdiff_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [f"hydra.run.dir='{folder}'", f"hydra.sweep.dir='{folder}'", *SILENT]
