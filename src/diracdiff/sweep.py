"""A sweep: one job that fails ends no other, and at the end it is said what failed and why."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from diracdiff.processes import is_first_process
from diracdiff.utils.errors import UserError, say, warn
from diracdiff.utils.escaping import for_terminal

FAILED, PARTS = "failed.txt", ".failed"
"""In a sweep's folder: what failed, a line for each job; and while it runs, a folder with a file for each."""

WHERE = "DIRACDIFF_FAILED"
"""The variable by which jobs on this and other machines find the latter."""

TABLE = "runs.csv"
"""In a sweep's folder: what its trainings came to, a row for each."""

NAME_LENGTH = 96
"""Of a run's name on a dashboard, in characters."""


def in_sweep() -> bool:
    """Whether the running job is one of a sweep."""
    config = HydraConfig.get()
    return bool(config.mode == RunMode.MULTIRUN)


_folder: Path | None = None


def begin(folder: str | Path | None) -> None:
    """Begin a sweep that has a folder, or a command that is none."""
    global _folder
    _folder = None if folder is None else Path(folder).absolute() / f"{PARTS}_{os.getpid()}"
    os.environ.pop(WHERE, None)
    if _folder is not None:
        os.environ[WHERE] = str(_folder)


def in_progress() -> bool:
    """Whether this process has begun a sweep."""
    return _folder is not None


def note_failure(message: str) -> None:
    """Say that the running job failed, and note it for where the sweep was started: it may be another machine."""
    config = HydraConfig.get()
    line = f"job {config.job.num} failed ({' '.join(config.overrides.task)}): {message}"
    say(line)
    parts = Path(os.environ.get(WHERE) or Path(config.sweep.dir) / PARTS)
    parts.mkdir(parents=True, exist_ok=True)
    rank = 0 if is_first_process() else os.getpid()
    (parts / f"{config.job.num:06d}_{rank:09d}").write_text(for_terminal(line) + "\n")


def gathered() -> list[str]:
    """A line for each job of the sweep that has failed so far, in their order."""
    if _folder is None:
        return []
    first = {path.name.partition("_")[0]: path for path in sorted(_folder.glob("*"), reverse=True)}
    return [path.read_text().strip() for _, path in sorted(first.items())]


def forget_parts() -> None:
    """Remove what jobs have noted."""
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)


def record(folder: Path, lines: list[str]) -> None:
    """Leave the list in the sweep's folder, unless something of that name is there."""
    with suppress(FileExistsError), open(folder / FAILED, "x") as file:
        file.write("\n".join(lines) + "\n")


def reason_of(line: str) -> str:
    """The message in a line of `note_failure`."""
    return line.partition("): ")[2]


def same_in_all_jobs(overrides: list[str]) -> list[str]:
    """The keys of those overrides of a sweep's that have one value."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    return [str(override.key_or_group) for override in parsed if not override.is_sweep_override()]


def run_name(config: Any) -> str:
    """A name for the running job of a sweep: its number, which no other job has, and what it varies.

    Of a key its last part is kept, `steps=10`; what is too long is cut at the end.
    """
    same = set(config.job.config.override_dirname.exclude_keys)
    pairs = [override.split("=", 1) for override in config.overrides.task if "=" in override]
    words = [f"{key.rpartition('.')[2]}={value}" for key, value in pairs if key.lstrip("+") not in same]
    name = " ".join([str(config.job.num), *words])
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def name_run(cfg: DictConfig) -> None:
    """Let the runs of a sweep form a group on a dashboard, each with a name of its own, unless the user names them."""
    if in_sweep() and "wandb" in (cfg.logger or {}):
        wandb, config = cfg.logger.wandb, HydraConfig.get()
        wandb.group = wandb.group or Path(config.sweep.dir).name
        wandb.name = wandb.name or run_name(config)


def compared(folder: Path) -> list[dict[str, Any]]:
    """What the trainings in a sweep's folder came to: a row for each, in their order.

    A row has the name of the run's folder, the overrides that are not those of all runs, and of each stop that is
    known its time, its network calls and the metric that it is the best of, `t_DO`, `calls_DO` and `psnr_DO` say.
    """
    from diracdiff.evaluation.stops import TARGETS
    from diracdiff.utils.reading import read_json

    def number(path: Path) -> int:
        first = path.parent.name.partition("_")[0]
        return int(first) if first.isdecimal() else 0

    paths = sorted(folder.glob("*/summary.json"), key=lambda path: (number(path), path))
    asked = [_overrides(path.parent) for path in paths]
    varied = [key for key in dict.fromkeys(k for words in asked for k in words) if len({w.get(key) for w in asked}) > 1]
    rows = []
    for path, words in zip(paths, asked, strict=True):
        row: dict[str, Any] = {"run": path.parent.name} | {key: words.get(key, "") for key in varied}
        try:
            stops = (metric.stop_key() for metric in TARGETS.values())
            summary = read_json(path, {f"{stop}?": ({"t": float, "nfe": int}, None) for stop in stops})
        except UserError as error:
            warn(str(error))
            continue
        for metric in TARGETS.values():
            if entry := summary.get(metric.stop_key()):
                measured = (key for key in entry if key == metric.target or key.startswith(f"{metric.target}_"))
                if (name := next(measured, None)) is None:
                    continue
                stop = metric.stop_name()
                row |= {f"t_{stop}": entry["t"], f"calls_{stop}": entry["nfe"], f"{name}_{stop}": entry[name]}
        rows.append(row)
    return rows


def tabulate(folder: Path) -> None:
    """Print what a sweep's trainings came to, and write it as `runs.csv`, unless that is a file of the user's."""
    rows, table = compared(folder), folder / TABLE
    if len(rows) < 2:
        return
    from diracdiff.evaluation.tables import cell, print_table
    from diracdiff.utils.files import write_rows

    header = list(dict.fromkeys(key for row in rows for key in row))
    rows = [{key: row.get(key) for key in header} for row in rows]
    own = not table.exists() or table.read_text(errors="replace").startswith("run,")
    if own:
        write_rows(table, rows)

    def text(key: str, value: Any) -> str:
        if not isinstance(value, float | int | None):
            return str(value)
        places = 0 if key.startswith("calls") else 2 if key.startswith(("t_", "psnr")) else 4
        return cell(value, 1 if key.startswith("swd") else places)

    cells = [[text(key, value) for key, value in row.items()] for row in rows]
    written = f"; written to {table}" if own else ""
    print_table(header, cells, f"{len(rows)} runs in {folder}", f"stops on test images{written}")


def _overrides(folder: Path) -> dict[str, str]:
    """What was asked for in a run, {key: value}."""
    from omegaconf import OmegaConf

    try:
        words = [str(word) for word in OmegaConf.load(folder / "overrides.yaml")]
    except OSError:
        return {}
    return {word.lstrip("+").partition("=")[0]: word.partition("=")[2] for word in words}
