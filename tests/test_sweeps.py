"""Sweeps: over lists of values, by Optuna, on other launchers."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import SMALL, refused, run_here
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from diracdiff.restorer import load
from diracdiff.sweep import tabulate
from diracdiff.utils.files import read_rows

SHORT = ["task=inpaint", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "lpips=null", *SMALL]
SEARCH = ["hparams_search=optimizer", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.n_startup_trials=3"]


def sweep_of(cwd):
    (found,) = (cwd / "runs").glob("sweep_*")
    return found


def test_a_job_that_fails_ends_no_other(tmp_path, folder, capsys):
    steps = [word for word in SHORT if not word.startswith("sampler.steps")]
    assert run_here(tmp_path, "train", "-m", *folder, *steps, "sampler.steps=0,2,-1") == 2
    printed, errors = capsys.readouterr()
    sweep = sweep_of(tmp_path)
    assert [path.name for path in sweep.iterdir() if path.is_dir()] == ["1_inpaint"]
    assert load(sweep / "1_inpaint" / "best.ckpt").sampler.steps == 2
    failed = (sweep / "failed.txt").read_text().splitlines()
    for line, (job, value) in zip(failed, [(0, 0), (2, -1)], strict=True):
        assert line.startswith(f"job {job} failed (") and f"sampler.steps={value})" in line and f"got {value}" in line
        assert line in printed.splitlines()
    last = errors.splitlines()[-1]
    assert last.startswith("error: 2 of the sweep's jobs failed, the first: sampler: steps must be") and "got 0" in last
    assert errors.count("error: ") == 1 and "Traceback" not in errors


def test_a_sweep_ends_with_a_table_over_its_runs(tmp_path, folder, capsys):
    lr = "optimizer.lr=0.001,0.0001"
    assert run_here(tmp_path, "train", "-m", *folder, *SHORT, lr) == 0
    sweep = sweep_of(tmp_path)
    rows = read_rows(sweep / "runs.csv")
    assert [(row["run"], row["optimizer.lr"]) for row in rows] == [("0_inpaint", "0.001"), ("1_inpaint", "0.0001")]
    for row in rows:
        summary = json.loads((sweep / row["run"] / "summary.json").read_text())
        assert float(row["psnr_DO"]) == summary["do"]["psnr"] and float(row["t_SWD"]) == summary["swd"]["t"]
        assert set(row) == {"run", "optimizer.lr"} | {
            f"{k}_{stop}" for k in ("t", "calls") for stop in ("DO", "SWD")
        } | {
            "psnr_DO",
            "swd_SWD",
        }
    printed = capsys.readouterr().out
    assert "2 runs in " in printed and f"{float(rows[1]['psnr_DO']):.2f}" in printed
    (sweep / "runs.csv").write_text("of the user's")
    tabulate(sweep)
    assert (sweep / "runs.csv").read_text() == "of the user's" and "written" not in capsys.readouterr().out


def test_a_fault_of_the_program_ends_no_other_job_either(tmp_path, folder, capsys, monkeypatch):
    from diracdiff.training.module import RestorerModule

    def broken(self):
        if self.restorer.seed == 1:
            raise ZeroDivisionError("a bug")

    monkeypatch.setattr(RestorerModule, "on_train_start", broken)
    assert run_here(tmp_path, "train", "-m", *folder, *SHORT, "seed=1,2") == 2
    assert (sweep_of(tmp_path) / "1_inpaint" / "best.ckpt").exists()
    assert "the first: ZeroDivisionError: a bug" in capsys.readouterr().err.splitlines()[-1]


def test_optuna_searches_and_outlives_a_trial_that_fails(tmp_path, folder):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    asked = [*SEARCH, "hydra.sweeper.storage=sqlite:///study.db", "loader.batch_size=choice(4,1000)"]
    small = [word for word in SHORT if not word.startswith("loader.batch_size")]
    assert run_here(tmp_path, "train", "-m", *folder, *small, *asked) == 2
    sweep = sweep_of(tmp_path)
    failed = (sweep / "failed.txt").read_text().splitlines()
    best = OmegaConf.load(sweep / "optimization_results.yaml")
    done = sorted(path.parent for path in sweep.glob("*/best.ckpt"))
    assert len(failed) + len(done) == 3 and failed and done
    assert all("fewer than one batch of 1000" in line for line in failed)
    psnr = {folder.name: max(row["psnr"] for row in load(folder / "best.ckpt").curve) for folder in done}
    assert best.best_value == pytest.approx(max(psnr.values()), rel=1e-6)
    assert best.best_params["loader.batch_size"] == 4
    rates = {load(folder / "best.ckpt").training["optimization"]["lr"] for folder in done}
    assert len(rates) == len(done) and best.best_params["optimizer.lr"] in rates
    assert (tmp_path / "study.db").exists()


def test_without_the_extra_a_search_names_it(call, monkeypatch):
    repo = ConfigStore.instance().repo["hydra"]
    monkeypatch.setitem(repo, "sweeper", {k: v for k, v in repo["sweeper"].items() if k == "basic.yaml"})
    refused(call("train", "-m", "hparams_search=optimizer"), r"pip install 'diracdiff\[sweep\]'")
    monkeypatch.setitem(repo, "launcher", {k: v for k, v in repo["launcher"].items() if k == "basic.yaml"})
    refused(call("train", "-m", "hydra/launcher=submitit_slurm"), r"pip install 'diracdiff\[sweep\]'")


@pytest.mark.parametrize("metric", ["val/acc", "psnr", "val/lpips", "[val/psnr,val/acc]"])
def test_a_metric_that_is_not_measured_is_refused_before_training(call, folder, metric):
    refused(call("train", *folder, *SHORT, f"optimized_metric={metric}"), "optimized_metric=.* is not measured")


def test_a_metric_is_named_as_it_is_logged_or_by_its_kind():
    from diracdiff.metrics import METRICS
    from diracdiff.training.objective import check_objective, objective

    psnr, swd = (next(kind for kind in METRICS if kind.__name__ == name)() for name in ("PSNR", "SWD"))
    assert check_objective(["val/psnr", "val/swd"], [psnr, swd]) == [psnr, swd]
    assert check_objective(None, [psnr]) == []

    curve = [{"psnr": 20.0, "swd": 7.0, "output": "mean"}, {"psnr": 21.5, "swd": 9.0, "output": "mean"}]
    best = SimpleNamespace(curve=curve)
    assert objective([psnr], best) == 21.5 and objective([psnr, swd], best) == [21.5, 7.0]
    assert objective([], best) is None


def test_summaries_of_a_sweep_are_each_of_their_own_seed(tmp_path, folder):
    assert run_here(tmp_path, "train", "-m", *folder, *SHORT, "seed=3,4") == 0
    sweep = sweep_of(tmp_path)
    seeds = [json.loads((sweep / f"{i}_inpaint" / "summary.json").read_text())["seed"] for i in (0, 1)]
    assert seeds == [3, 4] and not (sweep / "failed.txt").exists() and not list(Path(sweep).glob(".failed*"))
