"""Callback of Hydra for sweeps: `runs.csv` with one row per run."""

import json
import os
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from diracdiff.utils.errors import echo, is_first_process
from diracdiff.utils.files import write_rows

SWEEP_DIR = "DIRACDIFF_SWEEP_DIR"
"""Environment variable with the folder of the sweep, for processes that Lightning starts."""


class RunsTable(Callback):
    """Callback that writes `runs.csv` to the folder of a sweep after each job, and prints its path at the end."""

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            os.environ[SWEEP_DIR] = str(config.hydra.sweep.dir)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        if config.hydra.mode == RunMode.MULTIRUN and is_first_process() and (rows := collect_runs(folder)):
            write_rows(folder / "runs.csv", rows)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        os.environ.pop(SWEEP_DIR, None)
        if (table := Path(config.hydra.sweep.dir) / "runs.csv").exists():
            echo(f"written: {table}")


def collect_runs(folder: Path) -> list[dict[str, Any]]:
    """Return one row per finished run of a sweep: folder, varied overrides, and metrics of the stopping points."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*/summary.json"), key=lambda path: (len(path.parent.name), path)):
        words = [str(word).lstrip("+") for word in OmegaConf.load(path.parent / ".hydra" / "overrides.yaml")]
        row: dict[str, Any] = {"run": path.parent.name} | dict(word.partition("=")[::2] for word in words)
        for stop, entry in json.loads(path.read_text()).items():
            if isinstance(entry, dict) and "t" in entry and stop not in ("measurement", "one_shot"):
                row |= {f"{stop}/{key}": value for key, value in entry.items() if isinstance(value, int | float)}
        rows.append(row)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    varied = [key for key in keys if "/" in key or key == "run" or len({row.get(key) for row in rows}) > 1]
    return [{key: row.get(key) for key in varied} for row in rows]
