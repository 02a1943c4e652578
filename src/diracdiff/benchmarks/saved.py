"""Benchmarks on disk, and what has become slower since a saved one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from diracdiff.benchmarks.report import markdown
from diracdiff.benchmarks.timing import YARDSTICK
from diracdiff.metrics import Row
from diracdiff.utils.errors import UserError, say
from diracdiff.utils.files import write_atomically, write_json
from diracdiff.utils.reading import read_json

FORMAT = 1
QUARTILES = [float, float, float]
ROW = {"group": str, "case": str, "seconds": QUARTILES, "yardsticks?": QUARTILES, "share?": QUARTILES}
"""Shape of a saved row, see `diracdiff.utils.reading.misfit`."""

MUST_AGREE = ("network", "image_size", "batch", "device", "threads", "task", "given_measurement")
"""Settings of benchmarks that are to be compared."""


def settings(cfg: Any, device: torch.device) -> dict[str, Any]:
    """What of a benchmark's configuration must be known to read its numbers, in plain values."""
    network = {str(key): list(v) if not isinstance(v, int | float | str) else v for key, v in cfg.model.network.items()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    told = {key: cfg[key] for key in ("batch", "threads", "rounds", "seconds", "train_steps", "walks")}
    return {
        "network": network,
        "image_size": cfg.dataset.image_size,
        "task": cfg.task.name,
        "given_measurement": cfg.walk.given_measurement,
        "precision": cfg.trainer.precision,
        "device": name,
    } | told


def check_files(files: Sequence[Path], overwrite: bool) -> None:
    """Refuse files that exist, unless they may be replaced, and folders that are none.

    Raises:
        UserError: naming the file.
    """
    for path in files:
        if path.exists() and (path.is_dir() or not overwrite):
            raise UserError(f"{path} exists: give another name, or overwrite=true")
        if path.parent.exists() and not path.parent.is_dir():
            raise UserError(f"{path} cannot be written, because {path.parent} is a file: give another name")


def write(
    output: str | None, tables: str | None, rows: Sequence[Row], settings: Mapping[str, Any], machine: Row
) -> None:
    """Write the numbers as JSON and the tables as Markdown, each if it has a name."""
    if output is not None:
        write_json(output, {"format": FORMAT, "machine": machine, "settings": dict(settings), "rows": list(rows)})
    if tables is not None:
        write_atomically(tables, markdown(rows).encode())


def read_saved(path: str | Path) -> dict[str, Any]:
    """A benchmark that `diracdiff bench` wrote: its rows and settings.

    Raises:
        UserError: if it is none.
    """
    remedy = "Give as compare_with a file that diracdiff bench wrote with output=."
    saved: dict[str, Any] = read_json(path, {"format": int, "settings": dict, "rows": [ROW]}, remedy)
    if saved["format"] != FORMAT:
        raise UserError(f"compare_with={path}: has the format {saved['format']}, not {FORMAT}. {remedy}")
    return saved


def check_comparable(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse a benchmark of something else.

    Raises:
        UserError: naming the setting that differs.
    """
    for key in MUST_AGREE:
        before, now = saved["settings"].get(key), settings.get(key)
        if before != now:
            raise UserError(
                f"compare_with: the saved benchmark has {key} {before}, this one {now}: give the same, or another file"
            )


def slower(rows: Sequence[Row], before: Sequence[Row]) -> list[Row]:
    """Rows that are slower than before beyond the spread: their first quartile lies above the other's third.

    Cases are compared in yardsticks, which depend less on how busy the machine was than seconds do, and parts of a step
    by their share of it.

    Returns:
        group, case, unit, now, before (both medians) and ratio.
    """
    known = {(row["group"], row["case"]): row for row in before if row["case"] != YARDSTICK}
    found = []
    for row in rows:
        old = known.get((row["group"], row["case"]), {})
        unit = next((unit for unit in ("yardsticks", "share") if unit in row and unit in old), None)
        if unit is None or row["case"].startswith("network "):  # whose share falls when others' rises
            continue
        now, then = row[unit], old[unit]
        if now[0] > then[2]:
            median = {"now": now[1], "before": then[1], "ratio": now[1] / then[1] if then[1] else float("inf")}
            found.append({"group": row["group"], "case": row["case"], "unit": unit} | median)
    return found


def print_slower(found: Sequence[Row], path: str | Path) -> None:
    """Say what has become slower, one line each."""
    for row in found:
        say(
            f"slower than in {path}: {row['group']}, {row['case']}: {row['ratio']:.2f} times "
            f"({row['before']:.4g} -> {row['now']:.4g} {row['unit']})"
        )
    if not found:
        say(f"nothing is slower than in {path} beyond the spread")
