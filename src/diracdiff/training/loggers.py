"""Loggers: `metrics.csv`, and Weights & Biases without interactive login."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from diracdiff.utils.files import append_rows, write_atomically
from diracdiff.utils.validate import check_option

METRICS_CSV, WANDB_ID = "metrics.csv", "wandb_id.txt"


class MetricsFile(Logger):
    """Logger that appends each row immediately to `metrics.csv`.

    A killed run therefore keeps all rows before its last checkpoint.

    Args:
        output_dir: folder of the run.
    """

    def __init__(self, output_dir: str | Path):
        self.path = Path(output_dir) / METRICS_CSV

    name = version = ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        append_rows(self.path, [{**metrics, "step": step}])

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Do nothing, since `config.yaml` contains the hyperparameters."""


def wandb_logger(output_dir: str | Path, mode: str = "auto", **kwargs: Any) -> WandbLogger:
    """Create a logger for Weights & Biases. A resumed run keeps its run id.

    Args:
        output_dir: folder of the run.
        mode: "online", "offline", "disabled" or "auto". "auto" uses the variable WANDB_MODE if it is set, else
            "online" with a login and "offline" without.
        **kwargs: arguments of `WandbLogger` and `wandb.init`, such as project, name, group, entity and log_model.

    Raises:
        ValueError: if the mode is unknown.
    """
    import wandb

    check_option(("auto", "online", "offline", "disabled"), mode=mode)
    if mode == "auto":
        logged_in = os.environ.get("WANDB_API_KEY") or wandb.login(prompt=False, verify=False)
        mode = os.environ.get("WANDB_MODE") or ("online" if logged_in else "offline")
    path = Path(output_dir) / WANDB_ID
    if rank_zero_only.rank == 0 and not path.exists():  # type: ignore[attr-defined]
        write_atomically(path, secrets.token_hex(4).encode())
    identifier = path.read_text() if path.exists() else None
    return WandbLogger(save_dir=output_dir, id=identifier, mode=mode, **kwargs)
