"""Sweeps over lists of values, and with Optuna."""

import json
from types import SimpleNamespace

import pytest
from conftest import SMALL, run_here
from omegaconf import OmegaConf

from diracdiff.restorer import load
from diracdiff.utils.files import read_rows

SHORT = ["task=inpaint", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "lpips=null", *SMALL]


def sweep_of(cwd):
    (sweep,) = (cwd / "runs").glob("sweep_*")
    return sweep


def test_a_failed_job_does_not_stop_others_but_fails_the_sweep(tmp_path, folder, capsys):
    steps = [word for word in SHORT if not word.startswith("sampler.num_steps")]
    assert run_here(tmp_path, "train", "-m", *folder, *steps, "sampler.num_steps=0,2") == 2
    assert load(sweep_of(tmp_path) / "1_inpaint" / "best.ckpt").sampler.num_steps == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("warning: job 0 failed: sampler") and errors[-1].startswith("error: sampler")


def test_a_sweep_has_a_folder_and_a_wandb_run_for_each_job_and_a_table(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    overrides = [word for word in SHORT if not word.startswith("task=")]
    assert run_here(tmp_path, "train", "-m", *folder, *overrides, "logger=wandb", "task=deblur,inpaint") == 0
    sweep = sweep_of(tmp_path)
    rows = read_rows(sweep / "runs.csv")
    assert [(row["run"], row["task"]) for row in rows] == [("0_deblur", "deblur"), ("1_inpaint", "inpaint")]
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["0_deblur", "1_inpaint"]
    for row in rows:
        job = sweep / row["run"]
        summary = json.loads((job / "summary.json").read_text())
        assert float(row["do/psnr"]) == summary["do"]["psnr"] and float(row["swd/t"]) == summary["swd"]["t"]
        assert load(job / "best.ckpt").name == row["task"] and "sampler.num_steps" not in row
        assert len(list(job.glob("wandb/offline-run-*/run-*.wandb"))) == 1


def test_optuna_searches(tmp_path, folder):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    options = ["hparams_search=optuna", "hydra.sweeper.n_trials=2", "metrics=[psnr]"]
    options.append("hydra.sweeper.sampler.n_startup_trials=2")
    assert run_here(tmp_path, "train", "-m", *folder, *SHORT, *options, "hydra.sweeper.storage=sqlite:///study.db") == 0
    best = OmegaConf.load(sweep_of(tmp_path) / "optimization_results.yaml")
    psnr = [max(row["psnr"] for row in load(path).curve) for path in sweep_of(tmp_path).glob("*/best.ckpt")]
    assert len(psnr) == 2 and best.best_value == pytest.approx(max(psnr), rel=1e-6)
    assert (tmp_path / "study.db").exists()


def test_objectives_are_named_as_logged_metrics():
    from diracdiff.metrics import METRICS
    from diracdiff.training.report import objective_metrics, objective_values

    psnr, swd = (next(kind for kind in METRICS if kind.__name__ == name)() for name in ("PSNR", "SWD"))
    assert objective_metrics(["val/psnr", "val/swd"], [psnr, swd]) == [psnr, swd]
    assert objective_metrics(None, [psnr]) == []
    curve = [{"psnr": 20.0, "swd": 7.0, "output": "x_hat"}, {"psnr": 21.5, "swd": 9.0, "output": "x_hat"}]
    best = SimpleNamespace(curve=curve)
    assert objective_values([psnr], best) == 21.5 and objective_values([psnr, swd], best) == [21.5, 7.0]
    assert objective_values([], best) is None
