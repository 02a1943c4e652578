"""Dashboards: what reaches them, and that they neither slow nor end a run."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SMALL, clean_environment, run_here

from diracdiff.training.loggers import wandb_logger
from diracdiff.training.names import WANDB_ID

SHORT = ["task=inpaint", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1", "lpips=null", *SMALL]


def test_tensorboard_gets_curves_over_t_and_the_test(tmp_path, folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run_here(tmp_path, "train", *folder, *SHORT, "logger=tensorboard", "hydra.run.dir=run") == 0
    read = EventAccumulator(str(tmp_path / "run" / "tensorboard"), {"images": 0})
    read.Reload()
    for name in ("psnr", "ssim", "swd", "consistency"):
        for stop in ("measurement", "one_shot", "do", "swd"):
            assert len(read.Scalars(f"test/{stop}/{name}")) == 1
    assert len(read.Images("val/walk")) == len(read.Images("curves")) == 2


def test_wandb_gets_curves_over_t_and_the_test_and_its_failure_ends_nothing(tmp_path, folder, monkeypatch, capsys):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    sent, log = [], wandb.Run.log

    def note(run, values, *rest, **named):
        sent.append(values)
        if sum("curves/psnr" in values for values in sent) == 2 and "test/do/psnr" not in values and broken:
            raise OSError("the service is gone")
        return log(run, values, *rest, **named)

    kept, keep = [], wandb.Run.log_artifact

    def note_artifact(run, artifact, *rest, **named):
        if artifact.type != "run_table":  # of the curves
            kept.append((artifact.type, sorted(artifact.manifest.entries)))
        return keep(run, artifact, *rest, **named)

    monkeypatch.setattr(wandb.Run, "log", note)
    monkeypatch.setattr(wandb.Run, "log_artifact", note_artifact)
    for broken in (False, True):
        sent.clear()
        assert run_here(tmp_path, "train", *folder, *SHORT, "logger=wandb", f"hydra.run.dir={broken}") == 0
        assert sum("curves/psnr" in values and "curves/table" in values for values in sent) == 2
        assert any("test/do/psnr" in values for values in sent) is not broken
        assert kept == ([] if broken else [("model", ["best.ckpt"]), ("report", ["report.html"])])
        kept.clear()
        assert (tmp_path / str(broken) / "summary.json").exists()
        warned = [line for line in capsys.readouterr().err.splitlines() if "wandb failed" in line]
        assert len(warned) == int(broken)


def test_a_resumed_run_is_one_run_of_the_dashboard(tmp_path, folder, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    asked = ["train", *folder, *SHORT, "logger=wandb", "hydra.run.dir=run", "checkpoint=auto"]
    for epochs in (1, 2):
        assert run_here(tmp_path, *asked, f"trainer.max_epochs={epochs}") == 0
    parts = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    identifier = (tmp_path / "run" / WANDB_ID).read_text()
    assert len(parts) == 2 and {path.name.rpartition("-")[2] for path in parts} == {identifier}
    steps = []
    for part in parts:
        command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(part)]
        read = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=True)
        records = [json.loads(line) for line in read.stdout.splitlines()]
        (opened,) = [record["run"] for record in records if record["type"] == "run" and "start_time" in record["run"]]
        assert (opened["run_id"], opened["resume"]) == (identifier, True)
        values = [record["history"]["item"] for record in records if record["type"] == "history"]
        steps.append({value["trainer/global_step"] for value in values if "train/loss" in value})
    assert steps == [{0, 1, 2, 3}, {4, 5, 6, 7}]
    assert f"wandb sync {tmp_path}/run/wandb/offline-run-*-{identifier}" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_given_up_soon(tmp_path, monkeypatch, capsys):
    """With a key that nobody can check: the run goes on offline, with one warning."""
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        logger = wandb_logger(tmp_path)
    assert time.monotonic() - start < 30
    assert logger.experiment.settings.mode == "offline"
    logger.experiment.finish()
    errors = capsys.readouterr().err
    assert errors.count("warning: wandb cannot be reached") == 1 and errors.count("warning: wandb is offline") == 1


@pytest.mark.parametrize("mode", ["sometimes", ""])
def test_an_unknown_mode_is_refused(tmp_path, mode):
    with pytest.raises(ValueError, match=r"logger\.wandb\.mode=.*: must be auto"):
        wandb_logger(tmp_path, mode=mode)
