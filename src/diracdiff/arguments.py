"""The command line in Hydra's grammar: paths and free text are quoted, and flags come first."""

import atexit
import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from diracdiff import processes
from diracdiff.utils.errors import UserError

HERE = Path(__file__).resolve().parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parents[1] / "conf"

READ = (
    "about",
    "checkpoint",
    "compare_with",
    "dataset.root",
    "dncnn",
    "fid_weights",
    "flow",
    "guided_diffusion",
    "input",
    "kernel",
    "mask",
    "prior",
    "regression",
    "sampler.grid.path",
    "schedule.severity.path",
)
WRITTEN = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "markdown", "output", "run_dir", "tuned")
PATHS = (*READ, *WRITTEN)
"""Keys whose value is the path of a file or folder: the text that is typed, whatever it looks like."""

FUNCTION = re.compile(r"(choice|glob|interval|range|shuffle|sort|tag)\(")
"""The beginning of a sweep that Hydra spells out."""

QUOTED = re.compile(r"""'([^'\\]|\\.)*'|"([^"\\]|\\.)*\"""", re.S)
"""Text in quotes of Hydra's grammar."""

FLAGS = ("-m", "--multirun", "-r", "--run", "-h", "--help", "--hydra-help", "--version", "--resolve")
VALUED = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c", "--package", "-p")
"""Flags of Hydra; the latter take the next word."""

SILENT = ("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")
"""Of Hydra in a process that is not the first."""


def in_grammar(words: list[str], sweep: bool) -> list[str]:
    """Return a command line as Hydra reads it: flags first, then overrides with quoted values.

    Hydra's parser takes no overrides after a flag that follows an override.

    Raises:
        UserError: if a flag is unknown or lacks its value.
    """
    flags, overrides, left = [], [], iter(words)
    for word in left:
        if not word.startswith("-"):
            overrides.append(quoted(word, sweep))
            continue
        if word.partition("=")[0] not in FLAGS + VALUED:
            raise UserError(f"{word}: unknown flag. Use key=value, or one of {' '.join(FLAGS + VALUED)}.")
        flags.append(word)
        if word in VALUED:
            value = next(left, None)
            if value is None:
                raise UserError(f"{word}: must be followed by a value. Add it.")
            flags.append(value)
    return flags + overrides


def quoted(word: str, sweep: bool) -> str:
    """Quote the value of an override where Hydra would not read it as it is meant.

    The value of a key in PATHS is text, but for `null`, quotes of Hydra's, and, in a sweep, commas, which separate
    paths. The value of another key is text where Hydra's grammar has no meaning for it: `target=t=0.25`.
    """
    key, separator, value = word.partition("=")
    name = key.lstrip("+")
    if not separator or not value:
        return word
    if name in PATHS:
        return f"{key}={_path(value, name in WRITTEN, sweep)}"
    if name == "include" and re.fullmatch(r"\[[^\[\]{}'\"]*\]", value):
        return f"{key}=[{','.join(_path(path.strip(), False, False) for path in value[1:-1].split(',') if path)}]"
    return f"{key}={in_quotes(value)}" if _is_text(value, sweep) else word


def _path(value: str, reference: bool, sweep: bool) -> str:
    if value == "null" or QUOTED.fullmatch(value) or (sweep and FUNCTION.match(value)):
        return value
    if sweep and "," in value:
        return value if value[0] in "'\"[{" else ",".join(_path(path, reference, False) for path in value.split(","))
    if value == "~" or value.startswith("~/"):
        value = str(Path.home()) + value[1:]
    elif os.path.normpath(value).startswith("~"):  # a name, not the home folder of a user
        value = os.path.abspath(value)
    return in_quotes(value if reference else re.sub(r"(\\*)\$\{", r"\1\1\\${", value))


def _is_text(value: str, sweep: bool) -> bool:
    """Check for a value that Hydra cannot read, or reads as a sweep where there is none."""
    if value[0] in "'\"[{":
        return False
    try:
        (override,) = OverridesParser.create().parse_overrides([f"key={value}"])
    except HydraException:
        return True
    return override.value_type is ValueType.SIMPLE_CHOICE_SWEEP and not sweep


def as_typed(word: str) -> str:
    """Return an override as it is typed, without the quotes that `quoted` adds."""
    (override,) = OverridesParser.create().parse_overrides([word])
    typed = f"{word.partition('=')[0]}={override.value()}"
    return typed if quoted(typed, False) == word else word


def in_quotes(text: str) -> str:
    """Return text in quotes of Hydra's grammar."""
    return QuotedString(text, Quote.single).with_quotes()


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


def unknown_key(word: str, command: str, known: Iterable[str]) -> UserError:
    """Return the error of an override whose key a command does not have, with the most similar key that it has."""
    name = word.partition("=")[0].lstrip("+")
    similar = difflib.get_close_matches(name, known, 1, 0.4)
    hint = f"; did you mean {similar[0]}?" if similar else "."
    return UserError(f"{word.lstrip('+')}: {command} has no such key. Remove it{hint}")


def choices(word: str) -> list[str]:
    """The choices of a group that an override is about."""
    return sorted(path.stem for path in (CONF / word.partition("=")[0].lstrip("+")).glob("*.yaml"))


def as_one_run(cfg: DictConfig) -> list[str]:
    """The arguments with which another process runs what this one runs, and makes no folder of its own."""
    config = HydraConfig.get()
    sources = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
    flags = [word for path in sources for word in ("--config-dir", path)]
    run_dir = [f"run_dir={in_quotes(os.path.abspath(cfg.run_dir))}"] if "run_dir" in cfg else []
    return [*flags, *config.overrides.task, *run_dir, "hydra.mode=RUN", "hydra.run.dir=.", *SILENT]


def apart() -> list[str]:
    """What keeps a process that was started from outside, and is not the first, from making folders."""
    if processes.is_first_process() or processes.is_started():
        return []
    folder = tempfile.mkdtemp(prefix="diracdiff_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [f"hydra.run.dir='{folder}'", f"hydra.sweep.dir='{folder}'", *SILENT]
