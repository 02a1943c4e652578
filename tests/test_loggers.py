"""Dashboards: what reaches them, and that a resumed run remains one run."""

import pytest
from conftest import SMALL, run_here
from pytorch_lightning.loggers import WandbLogger

from diracdiff.training.loggers import WANDB_ID, wandb_logger

SHORT = ["task=inpaint", "trainer.check_val_every_n_epoch=1", "lpips=null", *SMALL]


def test_dashboards_get_curves_over_t_and_the_test_and_a_resumed_run_is_one_run(tmp_path, folder, monkeypatch):
    """Two epochs, of which the second is resumed, logged to TensorBoard and Weights & Biases."""
    import wandb
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    sent, log = [], wandb.Run.log

    def note(run, values, *rest, **named):
        sent.append((run.id, values))
        return log(run, values, *rest, **named)

    monkeypatch.setattr(wandb.Run, "log", note)
    tensorboard = (
        "_target_: pytorch_lightning.loggers.TensorBoardLogger, save_dir: ${paths.output_dir}, name: tb, version: ''"
    )
    asked = [*folder, *SHORT, "logger=wandb", f"+logger.tensorboard={{{tensorboard}}}", "hydra.run.dir=run"]
    for epochs in (1, 2):
        assert run_here(tmp_path, "train", *asked, "ckpt_path=auto", f"trainer.max_epochs={epochs}") == 0
    assert {identifier for identifier, _ in sent} == {(tmp_path / "run" / WANDB_ID).read_text()}
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 2
    steps = [values["trainer/global_step"] for _, values in sent if "train/loss" in values]
    assert steps == list(range(8))
    for name in ("curves", "curves/table", "val/trajectory", "test/do/psnr"):
        assert sum(name in values for _, values in sent) == 2
    read = EventAccumulator(str(tmp_path / "run" / "tb"), {"images": 0})
    read.Reload()
    assert all(read.Scalars(f"test/{stop}/psnr") for stop in ("measurement", "one_shot", "do", "swd"))
    assert len(read.Images("val/trajectory")) == len(read.Images("curves")) == 2


def test_modes(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert isinstance(wandb_logger(tmp_path), WandbLogger)
    with pytest.raises(ValueError, match="mode=sometimes: must be one of auto"):
        wandb_logger(tmp_path, mode="sometimes")
