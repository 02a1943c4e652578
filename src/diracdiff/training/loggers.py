"""Loggers that never ask a question."""

import os
import secrets
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from diracdiff.processes import is_first_process
from diracdiff.training.names import WANDB_ID
from diracdiff.utils.errors import UserError, warn
from diracdiff.utils.files import append_rows, write_atomically

PATIENCE = 8.0
"""Seconds in which Weights & Biases must answer, before a run is logged offline; WANDB_INIT_TIMEOUT changes it."""


class MetricsFile(CSVLogger):
    """Logger of `metrics.csv`; a disk that is full ends the training with one line and leaves the rows there were."""

    @rank_zero_only
    def save(self) -> None:
        writer = self.experiment
        append_rows(writer.metrics_file_path, writer.metrics)
        writer.metrics = []


def csv_logger(run_dir: str | Path) -> Logger:
    """Return the logger of `metrics.csv` in the run's folder."""
    return MetricsFile(run_dir, name="", version="")


def tensorboard_logger(run_dir: str | Path) -> Logger:
    """Event files in `tensorboard/` of the run's folder.

    Raises:
        UserError: if tensorboard is not installed.
    """
    try:
        return TensorBoardLogger(run_dir, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise UserError(
            "logger=tensorboard needs the package tensorboard: pip install 'diracdiff[tensorboard]'"
        ) from error


class PatientWandbLogger(WandbLogger):
    """Weights & Biases, whose failures end no training: of the first one is warned, and the rest is not sent."""

    _failed = False

    def attempt(self, action: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Do something that may fail, unless something has failed before."""
        if self._failed:
            return
        try:
            action(*arguments, **named)
        except Exception as error:
            self._failed = True
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            warn(f"wandb failed ({reason}): the rest of this run is not sent; metrics.csv has all of it")

    def keep(self, name: str, files: Mapping[str, Path]) -> None:
        """Keep files, {type: path}, as artifacts of the run."""
        import wandb

        for kind, path in files.items():
            artifact = wandb.Artifact(f"{name}-{kind}-{self.experiment.id}", kind)
            artifact.add_file(str(path))
            self.experiment.log_artifact(artifact)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.attempt(super().log_metrics, metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
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
    """Weights & Biases in the run's folder.

    Args:
        run_dir: the run's folder.
        project: project of the dashboard.
        mode: "online", "offline", "disabled" or "auto": WANDB_MODE if set, else online where an account is logged
            in, else offline.
        name: of the run.
        group: that the runs of a sweep share.
        entity: user or team.

    Raises:
        UserError: if the mode is unknown.
    """
    import wandb

    if mode not in ("auto", "online", "offline", "disabled"):
        raise UserError(f"logger.wandb.mode must be auto, online, offline or disabled, got {mode!r}")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in(wandb) else "offline")
    settings: dict[str, Any] = {
        "dir": str(run_dir),
        "project": project,
        "name": name,
        "group": group,
        "entity": entity,
        "mode": mode,
    }
    if is_first_process():
        settings |= {"id": _run_id(Path(run_dir)), "resume": "allow"}
        patience = wandb.Settings(init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or PATIENCE))
        try:
            run = wandb.init(**settings, reinit="finish_previous", settings=patience)
        except wandb.errors.Error as error:
            warn(f"wandb cannot be reached ({str(error).splitlines()[0]}): logging offline")
            wandb.teardown()  # which gives the identifier free
            run = wandb.init(**settings | {"mode": "offline"}, reinit="finish_previous")
        if run.settings.mode == "offline":
            warn(f"wandb is offline; upload with: wandb sync {Path(run.dir).parents[1]}/offline-run-*-{run.id}")
        run.define_metric("trainer/global_step")
        for metrics in ("train/*", "val/*", "test/*"):
            run.define_metric(metrics, step_metric="trainer/global_step")
        return PatientWandbLogger(experiment=run, save_dir=run_dir)
    return PatientWandbLogger(save_dir=run_dir, offline=mode != "online", project=project)


def _run_id(run_dir: Path) -> str:
    """Return the dashboard's identifier of a run, which its folder keeps, so that a resumed run is the same one."""
    path = run_dir / WANDB_ID
    if not path.exists():
        write_atomically(path, secrets.token_hex(4).encode())
    return path.read_text()


def _logged_in(wandb: ModuleType) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except (wandb.errors.Error, TypeError):
        return False
