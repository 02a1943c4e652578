"""The page of results as a file: what is in it, how large it is, and what cannot break it."""

import base64
import io
import json
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files

import numpy as np
import pytest
import torch
from conftest import clean_environment, refused
from pages import DO, EVIL, GOOD, NAMES, TIMES, page_of, walked
from PIL import Image
from test_recipe import restorer

from diracdiff.evaluation import Calibration, Evaluation
from diracdiff.evaluation.calibration import Walked
from diracdiff.evaluation.pictures import HEAT_MAP_TOP
from diracdiff.metrics import PSNR
from diracdiff.report.page import LARGEST, page
from diracdiff.report.pictures import BUDGET, Album, data_uri
from diracdiff.report.samples import add_uncertainty, intervals
from diracdiff.restorer import load
from diracdiff.utils.files import read_rows


def content_of(made):
    (text,) = re.findall(rb'<script type="application/json" id="data">(.*?)</script>', made, re.DOTALL)
    return json.loads(text)


def pixels(uri):
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return torch.from_numpy(np.array(image))


@pytest.fixture(scope="module")
def evaluation():
    return walked()


@pytest.fixture(scope="module")
def made(evaluation):
    return page_of(evaluation, restorer())


def test_pictures_and_figures_are_those_of_the_evaluation(evaluation, made):
    content = content_of(made)
    assert content["times"] == list(TIMES) and [image["name"] for image in content["images"]] == NAMES
    rows = {(row["t"], row["output"]): row for row in content["curve"]}
    for row in evaluation.curve:
        for name in ("psnr", "ssim", "swd"):
            assert rows[row["t"], row["output"]][name] == pytest.approx(row[name], rel=1e-6)
    for i, image in enumerate(content["images"]):
        for output in ("mean", "iterate"):
            for t, uri, values in zip(TIMES, image["pictures"][output], image["values"][output], strict=True):
                if (t, output) == (0.0, "mean"):  # the walk makes none there
                    assert uri is None and values is None
                    continue
                assert torch.equal(pixels(uri).permute(2, 0, 1), evaluation.gallery[t, output][i])
                (own,) = [row for row in evaluation.records.at(t, output) if row["name"] == image["name"]]
                assert values["psnr"] == pytest.approx(own["psnr"], rel=1e-5)
        assert torch.equal(pixels(image["measurement"]).permute(2, 0, 1), evaluation.gallery["measurement"][i])
        (blend,) = image["pictures"]["blend=0.5"]
        mixed = evaluation.gallery[GOOD.t, "blend=0.5"][i]
        assert torch.equal(pixels(blend).permute(2, 0, 1), mixed)


def test_stops_and_notes_say_what_was_measured(made):
    content = content_of(made)
    found = {stop["name"]: (stop["t"], stop["output"]) for stop in content["stops"]}
    assert found == {
        "measurement": (1.0, "iterate"),
        "one-shot": (1.0, "mean"),
        "DO": (DO.t, "mean"),
        "SWD": (GOOD.t, "iterate"),
    }
    notes = " ".join(content["notes"])
    assert "LPIPS was not measured" in notes and "no t_PO" in notes and "SWD" in notes and "exact (PNG)" in notes
    assert {metric["name"]: metric["higher"] for metric in content["metrics"]} == {
        "psnr": True,
        "ssim": True,
        "swd": False,
    }
    assert content["origin"]["versions"]["torch"] == version("torch")
    assert content["origin"]["command"].startswith("python -m diracdiff evaluate") and content["origin"]["seed"] == 3


def test_names_of_files_do_not_break_out(made):
    text = made.decode()
    assert text.count("<script") == 2 and text.count("</script") == 2 and "<!--" not in text
    assert content_of(made)["images"][0]["name"] == EVIL


def test_the_page_names_no_address_and_forbids_all_of_them(made):
    text = made.decode()
    addresses = set(
        re.findall(r"\w+://[^\s\"']+", text.partition('id="data"')[0] + text.rpartition("</script>")[0][-60000:])
    )
    assert addresses <= {"http://www.w3.org/2000/svg"}
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy and "img-src data:" in policy and "unsafe" not in policy


def test_numbers_that_are_none_become_null():
    found = content_of(page("walk", "<title>", {"a": [float("nan"), float("inf"), 1.5], "b": {"c": -0.0}}))
    assert found == {"a": [None, None, 1.5], "b": {"c": 0.0}}
    assert b"<title>&lt;title&gt;</title>" in page("walk", "<title>", {})
    with pytest.raises(ValueError, match="at most 10000000 bytes"):
        page("walk", "x", {"a": "y" * LARGEST})


def test_all_parts_of_a_page_lie_in_the_package():
    names = {path.name for path in (files("diracdiff.report") / "assets").iterdir()}
    assert names == {
        "page.html",
        "page.css",
        "page.js",
        "charts.js",
        "walk.html",
        "walk.js",
        "comparison.html",
        "comparison.js",
    }


# size


def bytes_of(album):
    return sum(len(uri) for uris in album.pictures.values() for uri in uris)


@pytest.mark.parametrize(
    ("budget", "exact", "every", "images", "shrink"),
    [(1000, True, 1, 4, 1), (90, False, 1, 4, 1), (30, False, 4, 4, 1), (7, False, 32, 2, 1), (1.5, False, 32, 1, 2)],
)
def test_pictures_fit_and_what_is_left_out_is_told(budget, exact, every, images, shrink):
    """The budget is in units of one picture as JPEG; there are 21 times 4, of which 18 times 4 may be left out."""
    noise = (255 * torch.rand(4, 3, 64, 64)).byte()
    budget = int(budget * max(len(data_uri(image, exact=False)) for image in noise))
    sets = {key: noise for key in ("clean", *range(20))}
    album = Album.of(sets, [[i] for i in range(1, 19)], budget)
    assert bytes_of(album) <= budget and {"clean", 0, 19} <= album.pictures.keys()
    assert (album.form.exact, album.form.every, album.form.images, album.form.shrink) == (exact, every, images, shrink)
    told = album.told(4, 18)
    assert ("JPEG" in told) == (not exact) and ("of the 18 times" in told) == (every > 1)
    assert ("of the 4 images" in told) == (images < 4) and ("sides are divided" in told) == (shrink > 1)


def test_a_page_of_many_large_pictures_stays_below_its_size():
    steps = [1 - i / 40 for i in range(41)]
    evaluation = walked(size=128, steps=steps, names=list("abcdef"), blends=(), metrics=[PSNR()])
    made = page_of(evaluation, restorer(), {"psnr": DO})
    content = content_of(made)
    assert BUDGET / 2 < len(made) < LARGEST and len(content["curve"]) == 41 + 40
    assert {1.0, 0.0, DO.t} <= set(content["times"]) and len(content["times"]) < 41
    assert any("have pictures, while the curves have all" in note for note in content["notes"])


def test_grey_pictures_and_narrow_ones():
    grey = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 4)
    assert torch.equal(pixels(data_uri(grey)), grey[0]) and torch.equal(pixels(data_uri(grey[0])), grey[0])
    album = Album.of({"a": (255 * torch.rand(1, 3, 1, 900)).byte()}, budget=2000)
    assert pixels(album.pictures["a"][0]).shape[0] == 1


# uncertainty


def sampling(count):
    """A restorer whose walk adds noise, the evaluation of two images, and the spread of `count` samples of each."""
    model = restorer()
    model.sampler = model.sampler.replace(stochasticity=1.0, steps=3)
    evaluation, clean = Evaluation([PSNR()]), (255 * torch.rand(2, 3, 16, 16)).round() / 255
    measured = model.measure(clean, ["a", "b"])
    with torch.no_grad():
        states = model.sampler.states(model.process, model.denoiser.eval(), measured.y, measured.noise)
        evaluation.add(["a", "b"], measured.seeds, states, model.reference(clean, measured.y))
    evaluation.finish()
    add_uncertainty(evaluation, model, count, "cpu")
    return model, evaluation


def test_uncertainty_is_the_spread_of_samples_of_the_shown_walk():
    model, evaluation = sampling(4)
    assert evaluation.samples == 4 and evaluation.uncertainty.keys() <= evaluation.gallery.keys()
    maps = evaluation.uncertainty[0.0, "iterate"]
    assert maps.shape == (2, 16, 16) and maps.dtype == torch.uint8 and maps.float().mean() > 0
    start = evaluation.uncertainty[1.0, "iterate"]
    assert start.max() <= round(255 / 510 / HEAT_MAP_TOP)  # the measurement is one and the same
    content = content_of(page_of(evaluation, model, {"psnr": None}))
    uri = content["images"][1]["uncertainty"]["iterate"][-1]
    assert torch.equal(pixels(uri), maps[1]) and content["samples"] == 4
    assert any("4 samples of each" in note for note in content["notes"])


def test_one_sample_has_no_uncertainty_and_the_page_says_how_to_have_it():
    model, evaluation = sampling(1)
    content = content_of(page_of(evaluation, model, {"psnr": None}))
    assert content["samples"] == 1 and not evaluation.uncertainty
    assert any("samples=8" in note for note in content["notes"])


def test_calibrated_intervals_are_those_of_the_same_samples_and_sampler():
    model = restorer()
    walk = Walked.of(model.sampler, 4, DO)
    other = Walked.of(model.sampler.replace(steps=8), 4, DO)
    factors, errors = {0.8: 1.5, 0.9: 2.0, 0.95: float("inf")}, dict.fromkeys((0.8, 0.9, 0.95), (0.5, 2.0))
    model.calibrations = [Calibration(other, 9, factors, errors), Calibration(walk, 30, factors, errors)]
    assert intervals(model, 3) == []
    found = intervals(model, 4)
    assert [(row["t"], row["output"], row["level"], row["factor"], row["images"]) for row in found] == [
        (0.75, "mean", 0.8, 1.5, 30),
        (0.75, "mean", 0.9, 2.0, 30),
    ]


# commands


def test_a_training_leaves_its_page_and_names_it(run):
    _, latest, printed = run
    content, summary = (
        content_of((latest / "report.html").read_bytes()),
        json.loads((latest / "summary.json").read_text()),
    )
    assert "report.html" in printed and content["words"]["title"] == "inpaint"
    assert content["table"][0]["psnr"] == summary["measurement"]["psnr"]
    found = {stop["name"]: stop["t"] for stop in content["stops"]}
    assert found["DO"] == load(latest / "best.ckpt").stops["psnr"].t
    assert "diracdiff train task=inpaint" in content["origin"]["command"] and "seed: 0" in content["origin"]["settings"]


def test_an_evaluation_leaves_its_page(run, folder, tmp_path, call):
    asked = [
        f"checkpoint={run[1]}/best.ckpt",
        *folder[:2],
        *folder[3:],
        "loader.test_images=3",
        "trainer=cpu",
        "lpips=null",
    ]
    refused(call("evaluate", *asked, "samples=2"), "samples=2 of one measurement .* sampler.stochasticity=1")
    refused(call("evaluate", *asked, "samples=0"), "samples must be .*, got 0")
    assert call("evaluate", *asked, "samples=3", "sampler.stochasticity=1", "target=t=0.5") == (0, [])
    content = content_of((tmp_path / "evaluation/report.html").read_bytes())
    for ours, row in zip(content["curve"], read_rows(tmp_path / "evaluation/curve.csv"), strict=True):
        assert (ours["t"], ours["output"]) == (float(row["t"]), row["output"])
        assert ours["psnr"] == pytest.approx(float(row["psnr"]), rel=1e-6)
    assert content["samples"] == 3 and content["stops"][-1]["name"] == "target" and content["stops"][-1]["t"] == 0.5
    refused(call("evaluate", *asked), "exists: give another output, or overwrite=true")


def test_a_report_is_found_or_it_is_said_that_there_is_none(run, tmp_path):
    kept = clean_environment(BROWSER="")
    kept = {key: value for key, value in kept.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}

    def opened(*words):
        words = [sys.executable, "-m", "diracdiff.report", *words]
        return subprocess.run(words, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=60)

    done = opened(str(run[1]))
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.strip() == f"{run[1]}/report.html"
    for words, said in (([], "runs/latest/report.html does not exist"), (["a", "b"], "takes one folder, got a b")):
        done = opened(*words)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and said in done.stderr


def test_a_browser_is_told_the_address(run, monkeypatch, capsys):
    from diracdiff.report.__main__ import main

    told = []
    monkeypatch.setattr("webbrowser.open", told.append)
    monkeypatch.setenv("BROWSER", "anything")
    monkeypatch.setattr(sys, "argv", ["report", str(run[1])])
    main()
    assert told == [(run[1] / "report.html").resolve().as_uri()] and "report.html" in capsys.readouterr().out
