"""`python -m diracdiff compare`: measurements, budget, tables and errors."""

import contextlib
import csv
import io
import json
import math
import os
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import BRIEF, SMALL, TORCH_HOME, needs_lpips, refused, run_here
from pages import Lower
from test_checkpoints import restorer

from diracdiff.comparison.checks import check_same_images, check_same_problem, file_digests
from diracdiff.comparison.comparison import best, grid
from diracdiff.comparison.measurements import load_or_measure
from diracdiff.comparison.methods import DiracMethod
from diracdiff.comparison.table import Table
from diracdiff.degradations import GaussianBlur, LinearSeverity
from diracdiff.metrics import PSNR
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation

BUDGET = ["tune_images=2", "test_images=3", "batch_size=2", "device=cpu", "dirac.search.num_steps=[4]"]

PLAIN = ["lpips=null", "tune_for=psnr"]


def train(cwd, folder, *overrides, output_dir):
    assert run_here(cwd, "train", *folder, *SMALL, *BRIEF, f"hydra.run.dir={output_dir}", *overrides) == 0
    return cwd / output_dir / "best.ckpt"


@pytest.fixture(scope="module")
def networks(tmp_path_factory, folder, run):
    """Checkpoints of Dirac, a prior and a regression network after short training runs on the same images."""
    cwd = tmp_path_factory.mktemp("networks")
    prior = train(cwd, folder, "task=prior", output_dir="prior")
    regression = train(cwd, folder, "experiment=regression", "task=inpaint", output_dir="regression")
    return {"checkpoint": run[1] / "best.ckpt", "prior": prior, "regression": regression}


@pytest.fixture(scope="module")
def arguments(networks, folder):
    return [f"{key}={path}" for key, path in networks.items()] + folder[:2] + folder[3:] + BUDGET


@pytest.fixture(scope="module")
def compared(tmp_path_factory, arguments):
    """A comparison: (working directory, output folder, output on stdout)."""
    cwd, printed = tmp_path_factory.mktemp("compared"), io.StringIO()
    extra = ["baseline=[measurement,regression]", "output=all", "fid=squeezenet", "picture_rows=2"]
    with mock.patch.dict(os.environ, TORCH_HOME=str(TORCH_HOME)), contextlib.redirect_stdout(printed):
        assert run_here(cwd, "compare", *arguments, *extra) == 0
    return cwd, cwd / "all", printed.getvalue()


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def rows_in(folder):
    return json.loads((folder / "comparison.json").read_text())["rows"]


@needs_lpips
def test_tables_and_pictures_are_written(compared):
    _, folder, printed = compared
    content = json.loads((folder / "comparison.json").read_text())
    methods = [row["method"] for row in content["rows"]]
    assert methods == ["measurement", "regression", "dirac_do", "dirac_po"]
    assert content["conditions"]["n"] == 3 and content["conditions"]["sigma"] == pytest.approx(0.05)
    for row in content["rows"]:
        assert row["interval"]["psnr"] is None and row["n"] == 3  # no interval for three images
    assert [row["calls"] for row in content["rows"][:2]] == [0, 1]
    assert len(rows_of(folder / "images.csv")) == 4 * 3
    for name in ("table.md", "table.tex", "paired.md", "paired.tex", "tuning.csv", "images.png", "plane.png"):
        assert (folder / name).stat().st_size > 0 and name in printed
    for method in methods:
        assert f"| {method} |" in (folder / "table.md").read_text() and method in printed
    psnr = {(row["method"], row["name"]): float(row["psnr"]) for row in rows_of(folder / "images.csv")}
    means = {method: sum(psnr[m, name] for m, name in psnr if m == method) / 3 for method in methods}
    assert {row["method"]: row["psnr"] for row in content["rows"]} == pytest.approx(means)
    (paired,) = [row for row in content["paired"] if (row["method"], row["minus"]) == ("regression", "dirac_po")]
    assert paired["psnr"] == pytest.approx(means["regression"] - means["dirac_po"])
    assert paired["interval"]["psnr"] is None and " [–]" in (folder / "paired.md").read_text()


@needs_lpips
def test_dirac_has_the_values_of_evaluate(torch_home, compared, networks, folder):
    """Measurements and reverse process are equal, and so are all metrics."""
    cwd, out, _ = compared
    row, before = rows_in(out)[3], rows_in(out)[0]
    setting = [f"sampler.{key}={value}" for key, value in row["setting"].items()]
    data = [*folder[:2], *folder[3:], "data.test_images=3", "output=evaluated"]
    assert run_here(cwd, "evaluate", f"checkpoint={networks['checkpoint']}", *data, *setting) == 0
    output, t = row["stop"].split(" t=")
    curve = {(r["output"], float(r["t"])): r for r in rows_of(cwd / "evaluated" / "curve.csv")}
    for column in ("psnr", "ssim", "lpips_squeeze", "consistency"):
        assert float(curve[output, float(t)][column]) == pytest.approx(row[column], abs=1e-5)
    assert int(curve[output, float(t)]["nfe"]) == row["calls"]
    assert float(curve["iterate", 1.0]["psnr"]) == pytest.approx(before["psnr"], abs=1e-5)


@needs_lpips
def test_the_best_trial_is_selected(compared):
    _, folder, _ = compared
    content, log = json.loads((folder / "comparison.json").read_text()), rows_of(folder / "tuning.csv")
    trials = [row for row in log if row["method"] == "dirac"]
    assert {row["trial"] for row in trials} == {"0", "1"} and {row["n"] for row in trials} == {"2"}
    for row, (metric, optimum) in zip(content["rows"][2:], (("psnr", max), ("lpips_squeeze", min)), strict=True):
        assert metric in row["for"].split(", ")
        selected = optimum(trials, key=lambda r: float(r[metric]))
        same = [r for r in trials if (json.loads(r["setting"]), r["stop"]) == (row["setting"], row["stop"])]
        assert float(selected[metric]) == pytest.approx(float(same[0][metric]))


@needs_lpips
def test_an_interrupted_comparison_resumes(torch_home, compared, arguments):
    cwd, folder, _ = compared
    before = json.loads((folder / "comparison.json").read_text())
    parts = sorted((folder / "parts").rglob("*.pt"))
    times = {path: path.stat().st_mtime_ns for path in parts}
    removed = next(path for path in parts if "regression" in path.parts)
    removed.unlink()
    extra = ["baseline=[measurement,regression]", "output=all", "fid=squeezenet", "picture_rows=2"]
    assert run_here(cwd, "compare", *arguments, *extra) == 0
    assert {path for path in parts if path.stat().st_mtime_ns != times[path]} == {removed}
    after = json.loads((folder / "comparison.json").read_text())
    for old, new in zip(before["rows"], after["rows"], strict=True):
        assert old | {"seconds": 0} == new | {"seconds": 0}


SHORT = ["ddrm", "dps", "diffpir", "pigdm", "pnp_admm", "admm_tv"]


def test_every_method_runs_by_default(arguments, call, tmp_path):
    steps = [f"baseline.{name}.method.num_steps=3" for name in SHORT]
    status, errors = call("compare", *arguments, *steps, *PLAIN, "trials=1", "output=every", "dirac.search=null")
    assert status == 0, errors
    rows = rows_in(tmp_path / "every")
    assert {row["method"] for row in rows} == {*SHORT, "measurement", "dirac_do"}
    calls = {row["method"]: row["calls"] for row in rows}
    assert all(calls[name] == (0 if name == "admm_tv" else 3) for name in SHORT)
    assert not (tmp_path / "every" / "plane.png").exists()
    assert all(row["for"] == "psnr" for row in rows if row["method"] not in ("measurement",))


def test_samples_add_columns_to_the_table(arguments, call, tmp_path):
    sampled = ["samples=2", "baseline=[measurement,ddrm]", "baseline.ddrm.method.num_steps=3"]
    extra = [*PLAIN, *sampled, "trials=1", "dirac.search.eta=[1.0]", "output=sampled"]
    status, errors = call("compare", *arguments, *extra)
    assert status == 0, errors
    content = json.loads((tmp_path / "sampled/comparison.json").read_text())
    assert content["conditions"]["samples"] == 2
    coverage = {row["method"]: row["coverage_90"] for row in content["rows"]}
    assert coverage["measurement"] < min(coverage["ddrm"], coverage["dirac_do"])  # the measurement has no randomness
    for row in content["rows"]:
        assert row["interval"]["crps"] is None and row["crps"] > 0 and math.isfinite(row["energy_distance"])
    header, *rest = (tmp_path / "sampled/table.md").read_text().splitlines()
    assert all(f"| {name} |" in header for name in ("crps", "coverage_90", "energy_distance"))
    assert "use 2 samples per image" in rest[-1]
    assert "crps" in content["paired"][0] and "crps" in rows_of(tmp_path / "sampled/images.csv")[0]
    assert "energy distance" in (tmp_path / "sampled/report.html").read_text()


# errors


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("baseline=[regression]", "regression=null.*experiment=regression"),
        ("baseline=[dps]", r"needs a prior. Train one with task=prior and set prior="),
        ("baseline=[magic]", "baseline=magic: is not an option"),
        ("prior={checkpoint}", "prior=.*must be a denoiser"),
        ("trials=0", r"trials=0: must be an integer of at least 1"),
        ("samples=1", r"samples=1: must be an integer of at least 2"),
        ("tune_for=fid", r"tune_for=fid: must be psnr, lpips or both"),
        ("tune_for=lpips", r"tune_for=lpips: needs the metric LPIPS"),
        ("data.image_size=48", r"data.image_size=48: the checkpoint was trained with 32"),
        ("checkpoint=nowhere.ckpt", r"nowhere.ckpt: does not exist"),
    ],
)
def test_errors_are_one_line(networks, folder, call, override, message):
    options = [
        f"checkpoint={networks['checkpoint']}",
        *folder[:2],
        *folder[3:],
        *BUDGET,
        *PLAIN,
        "baseline=[measurement]",
    ]
    refused(call("compare", *options, "dirac.search=null", override.format(**networks)), message)
    assert not Path("comparison").exists()


@needs_lpips
def test_an_output_of_another_problem_is_not_replaced(compared, arguments, call):
    _, folder, _ = compared
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    extra = ["baseline=[measurement]", f"output={folder}", "lpips=null", "tune_for=psnr", "seed=3"]
    refused(call("compare", *arguments, *extra), "measurements of other images, another seed")
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# functions


def trained_on(root, **changes):
    """Return a restorer with another data set, or another process."""
    module = restorer()
    module.dataset = {"_target_": "diracdiff.data.ImageFolder", "root": str(root)} | changes.pop("dataset", {})
    parts = {"degradation": module.process.degradation, "noise": module.process.noise} | changes
    module.process = StochasticDegradation(**parts)
    return module


def test_networks_of_other_images_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "linked").symlink_to("photos")
    dirac, other = trained_on(tmp_path / "photos"), trained_on(tmp_path / "faces")
    check_same_images(dirac, trained_on(tmp_path / "linked", dataset={"flip": True}), "prior=p.ckpt")
    check_same_images(dirac, other, "prior=p.ckpt", allow_other_data=True)
    with pytest.raises(ValueError, match=r"p.ckpt was trained on ImageFolder .*faces, .* or add allow_other_data=true"):
        check_same_images(dirac, other, "prior=p.ckpt")
    dirac.training = other.training = {"images": {"train": {"count": 3, "sha256": "a"}}}  # copies of the same images
    check_same_images(dirac, other, "prior=p.ckpt")
    other.training = {"images": {"train": {"count": 3, "sha256": "b"}}}
    with pytest.raises(ValueError, match=r"p.ckpt was trained on ImageFolder"):
        check_same_images(dirac, other, "prior=p.ckpt")
    larger = trained_on(tmp_path, degradation=GaussianBlur(LinearSeverity(0.3, 3.0), 32))
    with pytest.raises(ValueError, match=r"images of 32 px, the checkpoint on 16 px: train it with data.image_size"):
        check_same_images(dirac, larger, "prior=p.ckpt", allow_other_data=True)


def test_networks_of_another_problem_are_refused(tmp_path):
    dirac = trained_on(tmp_path)
    check_same_problem(dirac, trained_on(tmp_path), "regression=r.ckpt")
    with pytest.raises(ValueError, match=r"r.ckpt was trained for sigma 0.2, the checkpoint for 0.1"):
        check_same_problem(dirac, trained_on(tmp_path, noise=GeometricNoise(0.02, 0.2)), "regression=r.ckpt")
    blur = GaussianBlur(LinearSeverity(0.3, 2.0), 16)
    with pytest.raises(ValueError, match="undoes another degradation"):
        check_same_problem(dirac, trained_on(tmp_path, degradation=blur), "regression=r.ckpt")


def test_a_limited_grid_covers_all_values():
    search = {"a": [1, 2, 3], "b": [10, 20, 30, 40]}
    assert len(grid(search, 100)) == 12
    selected = grid(search, 4)
    assert len(selected) == 4 and selected[0] == {"a": 1, "b": 10} and {s["a"] for s in selected} == {1, 2, 3}
    assert grid({}, 8) == [{}]


@pytest.mark.parametrize("order", [1, -1])
def test_a_diverging_setting_is_not_selected(order):
    diverged = {"": {"psnr": math.nan, "lpips_squeeze": math.nan, "calls": 1}}
    converged = {"": {"psnr": 20.0, "lpips_squeeze": 0.3, "calls": 2}}
    tried = [({"a": 1}, diverged), ({"a": 2}, converged)][::order]

    for metric in (PSNR(), Lower()):
        assert best(tried, metric).setting == {"a": 2}


def test_a_changed_checkpoint_changes_the_digest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("best.ckpt").write_bytes(b"one")
    before = file_digests({"checkpoint": "best.ckpt", "steps": 3, "others": ["none", None, 300 * "a"]})
    Path("best.ckpt").write_bytes(b"two")
    assert len(before) == 1 and file_digests(["best.ckpt"]) != before
    Path("exported").mkdir()
    Path("exported/model.safetensors").write_bytes(b"one")
    assert file_digests({"checkpoint": "exported"}) == before


def test_dirac_starts_at_the_measurements(tmp_path):
    """The comparison ignores `t_start` of the checkpoint, because all methods restore the same y_1."""
    module, x = restorer(), torch.rand(2, 3, 16, 16)
    (batch,) = load_or_measure(tmp_path / "y.pt", [{"x": x, "name": ["a", "b"]}], module.process, 0).batches(2)
    plain = list(DiracMethod("dirac", {}, None, module).prepare({})(batch))
    module.sampler = module.sampler.replace(t_start=0.5, sigma=0.01)
    late = list(DiracMethod("dirac", {}, None, module).prepare({})(batch))
    assert [result.t for result in late] == [result.t for result in plain] and late[0].t == 1
    assert all(torch.equal(a.images, b.images) for a, b in zip(plain, late, strict=True))


def test_a_table_without_dirac_has_no_differences():
    assert Table().paired(0) == []
