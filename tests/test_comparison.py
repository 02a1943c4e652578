"""`python -m diracdiff compare`: the same measurements, the same budget, like rows only."""

import csv
import json
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import BRIEF, SMALL, TORCH_HOME, clean_environment, command, needs_lpips, refused, run_here
from matplotlib.text import Text

from diracdiff.comparison import pictures
from diracdiff.comparison.checks import files_in
from diracdiff.comparison.contenders import Dirac
from diracdiff.comparison.measurements import Batch
from diracdiff.comparison.table import Table, check_alike
from diracdiff.comparison.tuning import best, grid
from diracdiff.metrics import LPIPS, PSNR, Missing
from diracdiff.restorer import load
from diracdiff.utils.errors import UserError

FEW = ["tune_images=2", "test_images=3", "batch_size=2", "device=cpu", "dirac.search.steps=[4]"]

PLAIN = ["lpips=null", "tune_for=psnr"]


def train(cwd, folder, *overrides, run_dir):
    assert run_here(cwd, "train", *folder, *SMALL, *BRIEF, f"hydra.run.dir={run_dir}", *overrides) == 0
    return cwd / run_dir / "best.ckpt"


@pytest.fixture(scope="module")
def networks(tmp_path_factory, folder, run):
    """Checkpoints of Dirac, a prior and a regression network of the same images, all hardly trained."""
    cwd = tmp_path_factory.mktemp("networks")
    prior = train(cwd, folder, "task=prior", run_dir="prior")
    regression = train(cwd, folder, "experiment=regression", "task=inpaint", run_dir="regression")
    return {"checkpoint": run[1] / "best.ckpt", "prior": prior, "regression": regression}


@pytest.fixture(scope="module")
def arguments(networks, folder):
    return [f"{key}={path}" for key, path in networks.items()] + folder[:2] + folder[3:] + FEW


@pytest.fixture(scope="module")
def compared(tmp_path_factory, arguments):
    """A real comparison from the shell: (working directory, its folder, what it printed)."""
    cwd = tmp_path_factory.mktemp("compared")
    extra = ["baseline=[measurement,regression]", "output=all", "fid=squeezenet", "picture_rows=2"]
    done = command("compare", *arguments, *extra, cwd=cwd, TORCH_HOME=str(TORCH_HOME))
    assert done.returncode == 0, done.stderr
    return cwd, cwd / "all", done.stdout


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
    assert content["conditions"]["lpips"] == "lpips_squeeze" and content["conditions"]["fid"] == "fid_squeezenet"
    for row in content["rows"]:
        assert row["interval"]["psnr"] is None and row["n"] == 3  # too few images
        assert row["memory"] is None or row["memory"] > 100
    assert [row["calls"] for row in content["rows"][:2]] == [0, 1]
    assert len(rows_of(folder / "images.csv")) == 4 * 3
    for name in ("table.md", "table.tex", "paired.md", "paired.tex", "tuning.csv", "images.png", "plane.png"):
        assert (folder / name).stat().st_size > 0 and name in printed
    for method in methods:
        assert f"| {method} |" in (folder / "table.md").read_text() and method in printed


@needs_lpips
def test_rows_are_means_of_the_images_and_differences_are_paired(compared):
    _, folder, _ = compared
    content, images = json.loads((folder / "comparison.json").read_text()), rows_of(folder / "images.csv")
    values = {
        method: {row["name"]: float(row["psnr"]) for row in images if row["method"] == method}
        for method in ("regression", "dirac_po")
    }
    row = next(row for row in content["rows"] if row["method"] == "regression")
    assert row["psnr"] == pytest.approx(sum(values["regression"].values()) / 3)
    paired = next(r for r in content["paired"] if (r["method"], r["minus"]) == ("regression", "dirac_po"))
    differences = [values["regression"][name] - values["dirac_po"][name] for name in values["dirac_po"]]
    assert paired["psnr"] == pytest.approx(sum(differences) / 3)
    assert paired["psnr_low"] is None and " [–]" in (folder / "paired.md").read_text()


@needs_lpips
def test_dirac_is_what_evaluate_measures(torch_home, compared, networks, folder):
    """The same measurements and the same walk: every figure of DO and PO is that of the evaluation's curve."""
    cwd, out, _ = compared
    content = json.loads((out / "comparison.json").read_text())
    for row in content["rows"][2:]:
        setting = [f"sampler.{key}={value}" for key, value in row["setting"].items()]
        data = [*folder[:2], *folder[3:], "loader.test_images=3", "output=evaluated", "overwrite=true"]
        assert run_here(cwd, "evaluate", f"checkpoint={networks['checkpoint']}", *data, *setting) == 0
        output, t = row["stop"].split(" t=")
        curve = rows_of(cwd / "evaluated" / "curve.csv")
        (same,) = [r for r in curve if r["output"] == output and float(r["t"]) == float(t)]
        for column in ("psnr", "ssim", "lpips_squeeze", "consistency"):
            assert float(same[column]) == pytest.approx(row[column], abs=1e-5)
        assert int(same["nfe"]) == row["calls"]
        measured = [r for r in curve if r["output"] == "iterate" and float(r["t"]) == 1]
        assert float(measured[0]["psnr"]) == pytest.approx(content["rows"][0]["psnr"], abs=1e-5)


@needs_lpips
def test_the_choice_is_the_best_trial(compared):
    _, folder, _ = compared
    content, log = json.loads((folder / "comparison.json").read_text()), rows_of(folder / "tuning.csv")
    trials = [row for row in log if row["method"] == "dirac"]
    assert {row["trial"] for row in trials} == {"0", "1"} and {row["n"] for row in trials} == {"2"}
    for row, (metric, choose) in zip(content["rows"][2:], (("psnr", max), ("lpips_squeeze", min)), strict=True):
        assert metric in row["for"].split(", ")
        chosen = choose(trials, key=lambda r: float(r[metric]))
        assert float(chosen[metric]) == pytest.approx(
            float(
                next(
                    r[metric] for r in trials if json.loads(r["setting"]) == row["setting"] and r["stop"] == row["stop"]
                )
            )
        )


@needs_lpips
def test_dials_have_their_points_on_the_plane(torch_home, arguments, networks, folder, tmp_path):
    """Each is what evaluate, or several walks of it, gives; one of nothing turned is the SDE's own."""
    dials = "dirac.dials={blend: [0, 0.5], noise_scale: [1, 0.5], renoise: [0.5], samples: [1, 3]}"
    quick = ["baseline=[measurement]", "dirac.search.stochasticity=[1.0]", "trials=1", dials]
    assert run_here(tmp_path, "compare", *arguments, *quick) == 0
    rows = {(row["dial"], float(row["value"])): row for row in rows_of(tmp_path / "comparison" / "dials.csv")}
    assert list(rows) == [
        *(("blend", share) for share in (0, 0.5)),
        *(("noise_scale", scale) for scale in (1, 0.5)),
        ("renoise", 0.5),
        *(("samples", count) for count in (1, 3)),
    ]
    table = {row["method"]: row for row in rows_in(tmp_path / "comparison")}
    for column in ("psnr", "lpips_squeeze", "ssim", "swd"):
        assert float(rows["blend", 0][column]) == pytest.approx(table["dirac_do"][column])
        for turned in (("noise_scale", 1), ("samples", 1)):
            assert float(rows[turned][column]) == pytest.approx(table["dirac_po"][column])
    for row in rows.values():
        assert row["psnr_low"] == row["psnr_high"] == ""  # of three images
    plain, three = (float(rows["samples", count]["calls"]) for count in (1, 3))
    assert three % 3 == 0 and plain <= three

    stop = rows["noise_scale", 0.5]["stop"].split(" t=")[1]
    given = [f"checkpoint={networks['checkpoint']}", *folder[:2], *folder[3:], "loader.test_images=3"]
    given += ["sampler.steps=4", "sampler.stochasticity=1", "sampler.noise_scale=0.5", f"target=t:{stop}"]
    assert run_here(tmp_path, "evaluate", *given) == 0
    curve = rows_of(tmp_path / "evaluation" / "curve.csv")
    (same,) = [r for r in curve if f"{r['output']} t={float(r['t']):g}" == rows["noise_scale", 0.5]["stop"]]
    assert float(same["psnr"]) == pytest.approx(float(rows["noise_scale", 0.5]["psnr"]), abs=1e-4)


def test_the_mean_of_samples_takes_the_calls_of_all(networks):
    restorer, x = load(networks["checkpoint"]), torch.rand(2, 3, 32, 32)
    batch = Batch(x, restorer.measure(x).y, ["a", "b"], [1, 2])
    dirac = Dirac("dirac", restorer, {}, None)
    one, three = (list(dirac.results(batch, {"steps": 4, "stochasticity": 1.0, "samples": n})) for n in (1, 3))
    assert [r.stop for r in three] == [r.stop for r in one] and [r.nfe for r in three] == [3 * r.nfe for r in one]
    assert torch.allclose(three[0].images, one[0].images, atol=1e-6) and not torch.equal(
        three[-1].images, one[-1].images
    )


@pytest.mark.parametrize(
    ("dials", "rule"),
    [
        ("{sharpen: [1]}", "dirac.dials knows blend, noise_scale, renoise, samples, got 'sharpen'"),
        ("{blend: 0.5}", r"dirac.dials.blend must be a list of values, \[0.25,0.5\] say, got 0.5"),
        ("{blend: [2]}", "dirac.dials.blend must be numbers from 0 to 1, got 2"),
        ("{blend: [null]}", "dirac.dials.blend must be numbers from 0 to 1, got None"),
        ("{samples: [1.5]}", "dirac.dials.samples must be integers from 1 to 1000, got 1.5"),
        ("{renoise: [one]}", "dirac.dials.renoise must be numbers from 0.001 to 0.999, got one"),
        ("{blend: [0.5]}", "dirac.dials needs PSNR and LPIPS, .*: leave dials out, dirac.dials=null"),
    ],
)
def test_bad_dials_are_refused(arguments, call, tmp_path, dials, rule):
    refused(call("compare", *arguments, *PLAIN, "baseline=[measurement]", f"dirac.dials={dials}"), rule)
    assert not list(tmp_path.iterdir())


@needs_lpips
def test_a_comparison_goes_on_where_it_was_stopped(torch_home, compared, arguments):
    cwd, folder, _ = compared
    before = json.loads((folder / "comparison.json").read_text())
    parts = sorted((folder / "parts").rglob("*.pt"))
    times = {path: path.stat().st_mtime_ns for path in parts}
    lost = next(path for path in parts if "regression" in path.parts)
    lost.unlink()
    extra = ["baseline=[measurement,regression]", "output=all", "fid=squeezenet", "picture_rows=2"]
    assert run_here(cwd, "compare", *arguments, *extra) == 0
    assert {path for path in parts if path.stat().st_mtime_ns != times[path]} == {lost}
    after = json.loads((folder / "comparison.json").read_text())
    for old, new in zip(before["rows"], after["rows"], strict=True):
        changing = ("seconds", "memory")
        assert {k: v for k, v in old.items() if k not in changing} == {
            k: v for k, v in new.items() if k not in changing
        }


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_comparison_says_how_to_go_on(tmp_path, arguments, signum):
    line = [sys.executable, "-m", "diracdiff", "compare", *arguments, "baseline=[measurement]", "lpips=null"]
    line += ["tune_for=psnr", "output=out", "dirac.search.steps=[400]"]
    process = subprocess.Popen(line, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("parts/dirac/*/*.pt")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signum)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signum and "go on with the same command" in printed
    assert not (tmp_path / "out" / "comparison.json").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".0")]


@needs_lpips
def test_other_comparisons_join_if_they_are_alike(torch_home, compared, arguments, call, tmp_path):
    _, folder, _ = compared
    one = ["baseline=[measurement]", "output=one", "fid=squeezenet", f"include=[{folder}]", "dirac.search=null"]
    result = call("compare", *arguments, *one)
    assert result[0] == 0, result
    methods = [row["method"] for row in json.loads((tmp_path / "one" / "comparison.json").read_text())["rows"]]
    assert methods[:4] == ["measurement", "dirac_do", "dirac_po", "measurement (all)"] and "regression" in methods


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("seed=1", "the measurements y differs"),
        ("test_images=2", "the measurements y differs"),
        ("fid=null", 'the network of FID differs, "fid_squeezenet" instead of null'),
        ("lpips=null", "the backbone of LPIPS differs"),
    ],
)
@needs_lpips
def test_unlike_rows_are_refused(torch_home, compared, arguments, call, change, what):
    _, folder, _ = compared
    extra = ["baseline=[measurement]", "output=one", "fid=squeezenet", f"include=[{folder}]", "dirac.search=null"]
    extra += ["tune_for=psnr"]
    refused(call("compare", *arguments, *extra, change), re.escape(what))


@pytest.mark.parametrize("key", ["measurements", "n", "sigma", "operator", "lpips", "fid"])
def test_every_condition_is_checked(key):
    conditions = {"measurements": "a", "n": 3, "sigma": 0.05, "operator": {}, "lpips": None, "fid": None}
    check_alike(conditions, dict(conditions), "there")
    with pytest.raises(UserError, match=r"^there does not belong in this table: .* differs"):
        check_alike(conditions, conditions | {key: "other"}, "there")


SHORT = ["ddrm", "dps", "diffpir", "pigdm", "pnp_admm", "admm_tv"]


def test_every_method_runs_by_default(arguments, call, tmp_path):
    steps = [f"baseline.{name}.method.steps=3" for name in SHORT]
    status, errors = call("compare", *arguments, *steps, *PLAIN, "trials=1", "output=every", "dirac.search=null")
    assert status == 0, errors
    rows = rows_in(tmp_path / "every")
    assert {row["method"] for row in rows} == {*SHORT, "measurement", "dirac_do"}
    calls = {row["method"]: row["calls"] for row in rows}
    assert all(calls[name] == (0 if name == "admm_tv" else 3) for name in SHORT)
    assert not (tmp_path / "every" / "plane.png").exists()
    assert all(row["for"] == "psnr" for row in rows if row["method"] not in ("measurement",))


def test_optuna_tunes_as_well(arguments, call, tmp_path):
    pytest.importorskip("optuna")
    few = ["baseline=[admm_tv]", "baseline.admm_tv.method.steps=3", *PLAIN, "output=optuna", "dirac.search=null"]
    assert call("compare", *arguments, *few, "tuner=optuna", "trials=3")[0] == 0
    log = [row for row in rows_of(tmp_path / "optuna" / "tuning.csv") if row["method"] == "admm_tv"]
    weights = [json.loads(row["setting"])["weight"] for row in log]
    assert len(set(weights)) == 3 and all(0.0025 <= weight <= 0.08 for weight in weights)
    chosen = next(r for r in rows_in(tmp_path / "optuna") if r["method"] == "admm_tv")
    assert chosen["setting"] == json.loads(max(log, key=lambda row: float(row["psnr"]))["setting"])


# mistakes


def test_a_missing_network_is_named(networks, folder, call):
    base = [f"checkpoint={networks['checkpoint']}", *folder[:2], *folder[3:], *FEW, "lpips=null", "tune_for=psnr"]
    refused(
        call("compare", *base, "baseline=[regression]"),
        "regression network needs its checkpoint.*experiment=regression",
    )
    assert not Path("comparison").exists()


@pytest.mark.parametrize("name", ["pnp_admm", "ddrm", "dps", "diffpir", "pigdm"])
def test_a_missing_prior_is_named(networks, folder, call, name):
    base = [f"checkpoint={networks['checkpoint']}", *folder[:2], *folder[3:], *FEW, *PLAIN]
    refused(
        call("compare", *base, f"baseline=[{name}]", "output=new"),
        r"needs a prior: train one with task=prior and give prior=",
    )
    assert not Path("new").exists()


def test_an_unknown_method_is_named(arguments, call):
    refused(call("compare", *arguments, "baseline=[magic]"), "baseline/magic")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sigma=0.1", r"sigma=0.1 differs from that of checkpoint=.*, 0.05 in units of the \[0, 1\]"),
        ("sigma=-1", r"sigma must be a number from 0.0 to 100.0, got -1"),
        ("trials=null", r"trials must be given: add trials="),
        ("trials=0", r"trials must be an integer of at least 1, got 0"),
        ("tuner=luck", r"tuner must be one of .*got 'luck'"),
        ("tune_for=fid", r"tune_for must be psnr, lpips or both"),
        ("tune_for=lpips", r"tune_for=lpips needs LPIPS"),
        ("include=[nowhere]", r"include=nowhere holds no comparison.json"),
        ("dataset.image_size=48", r"dataset.image_size=48 differs from the checkpoint's 32"),
        ("checkpoint=nowhere.ckpt", r"nowhere.ckpt does not exist"),
    ],
)
def test_mistakes_are_one_line(arguments, call, override, message):
    usual = ["baseline=[measurement]", "lpips=null", "tune_for=psnr", "dirac.search=null"]
    refused(call("compare", *arguments, *usual, override), message)


def test_a_restorer_is_no_prior(arguments, networks, call):
    refused(
        call("compare", *arguments, "baseline=[measurement]", f"prior={networks['checkpoint']}", *PLAIN),
        "so it is not a denoiser of white noise",
    )


def test_networks_of_other_images_are_refused(tmp_path, arguments, networks, folder, image_folder, call):
    other = train(tmp_path, folder, "task=prior", "dataset.image_size=16", "lpips=null", run_dir="small")
    refused(call("compare", *arguments, f"prior={other}", *PLAIN), "images of 16 px, the checkpoint on 32 px")
    moved = tmp_path / "others"
    moved.symlink_to(image_folder)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in image_folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    for root, fine in ((moved, True), (copy, False)):
        here = [f"dataset.root={root}" if part.startswith("dataset.root") else part for part in folder]
        prior = train(tmp_path, here, "task=prior", run_dir=f"prior_{root.name}")
        status, lines = call(
            "compare", *arguments, "baseline=[]", "lpips=null", "tune_for=psnr", f"prior={prior}", "dirac.search=null"
        )
        assert (status == 0) == fine, lines
        if not fine:
            assert "was trained on ImageFolder" in lines[0] and "allow_other_data=true" in lines[0]


def test_networks_of_another_problem_are_refused(tmp_path, arguments, folder, call):
    for override, message in (("task=deblur", "another degradation"), ("schedule.noise.sigma_max=0.1", "sigma 0.1")):
        task = "task=inpaint" if "sigma" in override else override
        other = train(tmp_path, folder, "experiment=regression", task, override, run_dir=message.split()[0])
        refused(call("compare", *arguments, "baseline=[regression]", f"regression={other}", *PLAIN), message)


@needs_lpips
def test_an_output_of_another_problem_is_kept(compared, arguments, call):
    _, folder, _ = compared
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    extra = ["baseline=[measurement]", f"output={folder}", "lpips=null", "tune_for=psnr", "seed=3"]
    refused(call("compare", *arguments, *extra), "measurements of other images, another seed")
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# pieces


def test_a_grid_is_spread_over_the_combinations():
    search = {"a": [1, 2, 3], "b": [10, 20, 30, 40]}
    assert len(grid(search, 100)) == 12
    few = grid(search, 4)
    assert len(few) == 4 and few[0] == {"a": 1, "b": 10} and {s["a"] for s in few} == {1, 2, 3}
    assert grid({}, 8) == [{}]


def test_names_in_the_plane_do_not_cover_one_another(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: figures.append(figure))
    close = {f"method {i} (psnr)": {"psnr": 30 + 0.01 * (i % 2), "lpips": 0.1 + 0.001 * i} for i in range(5)}
    far = {
        "measurement": {"psnr": 10, "lpips": 0.9},
        "measurement (other)": {"psnr": 9, "lpips": 0.9},
        "dirac_do": {"psnr": 20, "lpips": 0.3},
    }
    far["regression"] = {"psnr": 40, "lpips": 0.02}
    metrics = PSNR(), Missing(LPIPS, "lpips")
    dial = [{"dial": "blend", "value": 0.5, "psnr": 21.5, "lpips": 0.19}]
    pictures.draw_plane(tmp_path / "plane.png", close | far, {"Dirac": [{"psnr": 21, "lpips": 0.2}]}, dial, *metrics)
    (axis,) = figures[0].axes
    figures[0].draw_without_rendering()
    names = {text.get_text(): Text.get_window_extent(text) for text in axis.texts}
    assert set(names) == {*close, "dirac_do", "regression", "0.5"}
    for box in names.values():
        assert axis.get_window_extent().count_overlaps([box]) and box.count_overlaps(names.values()) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_a_setting_that_diverges_is_not_chosen(order):
    broken = {"": {"psnr": math.nan, "lpips_squeeze": math.nan, "calls": 1}}
    fine = {"": {"psnr": 20.0, "lpips_squeeze": 0.3, "calls": 2}}
    tried = [({"a": 1}, broken), ({"a": 2}, fine)][::order]

    class Cost(Missing):
        higher_is_better = False

    for metric in (PSNR(), Cost(LPIPS, "lpips_squeeze")):
        assert best(tried, metric).setting == {"a": 2}


def test_a_network_that_is_replaced_makes_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("best.ckpt").write_bytes(b"one")
    before = files_in({"checkpoint": "best.ckpt", "steps": 3, "others": ["none", None, 300 * "a"]})
    Path("best.ckpt").write_bytes(b"two")
    assert len(before) == 1 and files_in(["best.ckpt"]) != before


def test_a_method_that_changes_its_measurements_is_found_out(tmp_path, process):
    from diracdiff.comparison.contenders import Contender
    from diracdiff.comparison.measurements import Measurements
    from diracdiff.comparison.runs import Runner
    from diracdiff.evaluation import Result

    class Vandal(Contender):
        name, search, identity = "vandal", {}, None

        def results(self, batch, setting):
            yield Result(batch.y.mul_(2), 0, 0.0)

    clean = (torch.rand(2, 3, 32, 32) * 255).byte()
    measurements = Measurements(clean, clean / 255, ["a", "b"], [1, 2], 0.05, {})
    runner = Runner(tmp_path, process, [PSNR()], 2)
    with pytest.raises(RuntimeError, match="vandal changed the measurements"):
        runner.run(Vandal(), {}, measurements, lambda stop: True, "")


def test_dirac_walks_from_where_the_measurements_are(tmp_path):
    """Whatever the start of the checkpoint's sampler: the methods of a table restore the same y_1."""
    from test_checkpoints import restorer

    from diracdiff.comparison.contenders import Dirac
    from diracdiff.comparison.measurements import freeze

    module, x = restorer(), torch.rand(2, 3, 16, 16)
    (batch,) = freeze([{"x": x, "name": ["a", "b"]}], module.process, 0).batches(2)
    plain = list(Dirac("dirac", module, {}, None).results(batch, {}))
    module.sampler = module.sampler.replace(start=0.5, sigma=0.01)
    late = list(Dirac("dirac", module, {}, None).results(batch, {}))
    assert [result.t for result in late] == [result.t for result in plain] and late[0].t == 1
    assert all(torch.equal(a.images, b.images) for a, b in zip(plain, late, strict=True))


def test_a_table_without_dirac_has_no_differences():
    table = Table({"lpips": None, "fid": None})
    assert table.paired(0) == []
