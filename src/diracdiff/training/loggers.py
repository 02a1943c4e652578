"""Loggers: `metrics.csv`, and Weights & Biases without a prompt."""

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from diracdiff.training.names import METRICS_CSV, WANDB_ID
from diracdiff.utils.errors import warn
from diracdiff.utils.files import append_rows, write_atomically

PATIENCE = 8.0
"""Seconds in which Weights & Biases must answer before a run is logged offline; WANDB_INIT_TIMEOUT overrides it."""


class MetricsFile(Logger):
    """Append each row to `metrics.csv` at once, so that a killed run keeps all rows before its last checkpoint.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: str | Path):
        self.path = Path(run_dir) / METRICS_CSV

    name = version = ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        append_rows(self.path, [{**metrics, "step": step}])

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Do nothing: `config.yaml` holds them."""


class PatientWandbLogger(WandbLogger):
    """Weights & Biases whose failures end no run: the first one is warned about, and nothing more is sent."""

    failed = False

    def attempt(self, action: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Call an action unless an earlier one failed."""
        try:
            if not self.failed:
                action(*arguments, **named)
        except Exception as error:
            self.failed = True
            warn(f"wandb failed ({_first_line(error)}): the rest of this run is not sent; metrics.csv has all of it")

    def keep(self, name: str, files: Mapping[str, Path]) -> None:
        """Log files, {type: path}, as artifacts."""
        import wandb

        for kind, path in files.items():
            artifact = wandb.Artifact(f"{name}-{kind}-{self.experiment.id}", kind)
            artifact.add_file(str(path))
            self.experiment.log_artifact(artifact)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.attempt(super().log_metrics, metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        self.attempt(super().log_hyperparams, params)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.attempt(super().finalize, status)


def wandb_logger(
    run_dir: str | Path,
    project: str = "diracdiff",
    mode: str = "auto",
    name: str | None = None,
    group: str | None = None,
    entity: str | None = None,
) -> Logger:
    """Return a logger to Weights & Biases, offline if it does not answer. A resumed run keeps its identifier.

    Args:
        run_dir: the run's folder.
        project: project of the dashboard.
        mode: "online", "offline", "disabled" or "auto": WANDB_MODE if set, else online if an account is logged in.
        name: name of the run.
        group: name that the runs of a sweep share.
        entity: user or team.

    Raises:
        ValueError: for an unknown mode.
    """
    import wandb

    if mode not in ("auto", "online", "offline", "disabled"):
        raise ValueError(f"logger.wandb.mode={mode}: must be auto, online, offline or disabled.")
    if mode == "auto":
        logged_in = os.environ.get("WANDB_API_KEY") or wandb.login(prompt=False, verify=False)
        mode = os.environ.get("WANDB_MODE") or ("online" if logged_in else "offline")
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return PatientWandbLogger(save_dir=run_dir, offline=mode != "online", project=project)
    path = Path(run_dir) / WANDB_ID
    if not path.exists():
        write_atomically(path, secrets.token_hex(4).encode())
    options: Any = {"dir": str(run_dir), "project": project, "name": name, "group": group, "entity": entity}
    options |= {"mode": mode, "id": path.read_text(), "resume": "allow", "reinit": "finish_previous"}
    timeout = wandb.Settings(init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or PATIENCE))
    try:
        run = wandb.init(**options, settings=timeout)
    except wandb.errors.Error as error:
        warn(f"wandb cannot be reached ({_first_line(error)}): logging offline")
        wandb.teardown()  # releases the identifier
        run = wandb.init(**options | {"mode": "offline"})
    if run.settings.mode == "offline":
        warn(f"wandb is offline; upload with: wandb sync {Path(run.dir).parents[1]}/offline-run-*-{run.id}")
    run.define_metric("trainer/global_step")
    for metrics in ("train/*", "val/*", "test/*"):
        run.define_metric(metrics, step_metric="trainer/global_step")
    return PatientWandbLogger(experiment=run, save_dir=run_dir)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
