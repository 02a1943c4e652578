"""Loggers: logged values, and resumed runs that continue in the same log."""

import pytest
from conftest import SMALL, run_here
from pytorch_lightning.loggers import WandbLogger

from diracdiff.training.loggers import WANDB_ID, wandb_logger

SHORT = ["task=inpaint", "trainer.check_val_every_n_epoch=1", "lpips=null", *SMALL]


def test_loggers_record_curves_and_test_results_and_resume(tmp_path, folder, monkeypatch):
    """Train one epoch, resume for a second one, and log to TensorBoard and Weights & Biases."""
    import wandb
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged, log = [], wandb.Run.log

    def record(run, values, *rest, **named):
        logged.append((run.id, values))
        return log(run, values, *rest, **named)

    monkeypatch.setattr(wandb.Run, "log", record)
    tensorboard = (
        "_target_: pytorch_lightning.loggers.TensorBoardLogger, save_dir: ${paths.output_dir}, name: tb, version: ''"
    )
    overrides = [*folder, *SHORT, "logger=wandb", f"+logger.tensorboard={{{tensorboard}}}", "hydra.run.dir=run"]
    for epochs in (1, 2):
        assert run_here(tmp_path, "train", *overrides, "ckpt_path=auto", f"trainer.max_epochs={epochs}") == 0
    assert {identifier for identifier, _ in logged} == {(tmp_path / "run" / WANDB_ID).read_text()}
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 2
    steps = [values["trainer/global_step"] for _, values in logged if "train/loss" in values]
    assert steps == list(range(8))
    for name in ("curves", "curves/table", "val/trajectory", "test/do/psnr"):
        assert sum(name in values for _, values in logged) == 2
    events = EventAccumulator(str(tmp_path / "run" / "tb"), {"images": 0})
    events.Reload()
    assert all(events.Scalars(f"test/{stop}/psnr") for stop in ("measurement", "one_shot", "do", "swd"))
    assert len(events.Images("val/trajectory")) == len(events.Images("curves")) == 2


def test_modes(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert isinstance(wandb_logger(tmp_path), WandbLogger)
    with pytest.raises(ValueError, match="mode=sometimes: must be one of auto"):
        wandb_logger(tmp_path, mode="sometimes")
