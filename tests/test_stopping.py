"""Trade-off curves, stopping points, blends, targets, and figures of few images."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from conftest import refused, renamed_copies, run_here

from diracdiff.evaluation import (
    Blend,
    Evaluation,
    StoppingPoint,
    find_stopping_points,
    interval,
    key_rows,
    make_blends,
    stopping_point_for,
)
from diracdiff.evaluation import StoppingPoint as P
from diracdiff.evaluation.results import image_at, results
from diracdiff.evaluation.statistics import FEWEST
from diracdiff.evaluation.stopping import row_at
from diracdiff.evaluation.tables import brackets, cautions
from diracdiff.metrics import FID, KID, LPIPS, PSNR, SSIM, SWD, Missing, Reference
from diracdiff.metrics.swd import LEAST_SPREAD, swd
from diracdiff.report.evaluated import conclusion
from diracdiff.restorer import load
from diracdiff.samplers import State


def curve(psnr, lpips=None, iterate=(0.0, 9.0)):
    """Four times; `iterate` is PSNR and LPIPS of the iterate at the last one."""
    rows = []
    for i, t in enumerate((1.0, 0.75, 0.5, 0.25)):
        row = {"t": t, "nfe": i, "output": "iterate", "n": 4, "psnr": 0.0, "ssim": 0.5}
        mean = row | {"nfe": i + 1, "output": "mean", "psnr": psnr[i]}
        if lpips:
            row["lpips_squeeze"], mean["lpips_squeeze"] = 9.0, lpips[i]
        rows += [row, mean]
    last = dict(zip(("psnr", "lpips_squeeze"), iterate, strict=True)) if lpips else {"psnr": iterate[0]}
    rows[-2] |= last
    return rows


class Measured(Missing):
    """LPIPS whose values are given, without its network."""

    higher_is_better, target, abbreviation = False, "lpips", "PO"


MEASURED = [PSNR(), SSIM(), Measured(LPIPS, "lpips_squeeze")]


def test_stopping_points_are_the_best_of_the_curve():
    stops = find_stopping_points(curve([20, 22, 21, 19], [0.5, 0.4, 0.3, 0.35]), MEASURED)
    assert stops == {"psnr": P(0.75, "mean"), "lpips": P(0.5, "mean"), "swd": None, "fid": None}


def test_the_iterate_may_be_the_best_result():
    stops = find_stopping_points(curve([20, 22, 21, 19], [0.5, 0.4, 0.3, 0.35], iterate=(18, 0.2)), MEASURED)
    assert stops == {
        "psnr": P(0.75, "mean"),
        "lpips": P(0.25, "iterate"),
        "swd": None,
        "fid": None,
    }


def test_the_earlier_stop_wins_a_draw():
    stops = find_stopping_points(curve([20, 22, 22, 19], [0.5, 0.3, 0.3, 0.3], iterate=(22, 0.3)), MEASURED)
    assert stops["psnr"] == stops["lpips"] == P(0.75, "mean")


def test_a_value_that_is_not_a_number_is_never_the_best():
    stops = find_stopping_points(curve([math.nan, 22, 21, 19], [math.nan, 0.4, 0.3, 0.35]), MEASURED)
    assert stops["psnr"].t == 0.75 and stops["lpips"].t == 0.5
    with pytest.raises(ValueError, match="has no direction"):
        Missing(LPIPS, "lpips_vgg").best([{"lpips_vgg": 1.0}])


def test_without_lpips_there_is_no_perceptual_stop():
    rows = curve([20, 22, 21, 19])
    stops = find_stopping_points(rows, [PSNR(), SSIM(), Missing(LPIPS, "lpips_squeeze")])
    assert stops == {"psnr": P(0.75, "mean"), "lpips": None, "swd": None, "fid": None}
    summary = key_rows(rows, stops)
    assert summary["po"] is None and summary["do"]["psnr"] == 22
    assert summary["measurement"] == rows[0] and summary["one_shot"] == rows[1]
    assert summary["measurement"]["nfe"] == 0


def test_a_stop_between_times_ends_at_the_one_before():
    rows = curve([20, 22, 21, 19])
    assert row_at(rows, P(0.6, "mean"))["t"] == 0.75
    assert row_at(rows, P(0.0, "mean"))["t"] == 0.25


def test_curves_average_over_images_and_ignore_their_order():
    clean = torch.rand(5, 3, 16, 16)
    states = [
        State(1.0, torch.rand_like(clean), torch.rand_like(clean), 1, True),
        State(0.0, torch.rand_like(clean), torch.rand_like(clean), 1, False),
    ]

    def evaluated(parts):
        evaluation = Evaluation([PSNR(), SSIM()])
        for part in parts:
            sliced = [State(s.t, s.y[part], s.x_hat[part], s.nfe, s.fresh) for s in states]
            evaluation.add([f"image{i}" for i in part], part, sliced, Reference(clean[part]))
        evaluation.finish()
        return evaluation

    def values(evaluation):
        return [{key: value for key, value in row.items() if key != "seconds"} for row in evaluation.records.rows]

    whole, split = evaluated([[0, 1, 2, 3, 4]]), evaluated([[4, 2], [0], [3, 1]])
    assert values(whole) == values(split) and len(values(whole)) == 15
    assert [(r["t"], r["output"], r["n"]) for r in whole.curve] == [
        (1.0, "iterate", 5),
        (1.0, "mean", 5),
        (0.0, "iterate", 5),
    ]
    psnr = -10 * torch.log10((states[1].y - clean).square().flatten(1).mean(1))
    assert whole.curve[2]["psnr"] == pytest.approx(psnr.mean().item(), abs=1e-4)
    assert not any(math.isnan(r["psnr"]) for r in whole.records.rows)


# targets and blends

DO, PO = StoppingPoint(0.75, "mean"), StoppingPoint(0.25, "iterate")
STOPS = {"psnr": DO, "lpips": PO, "swd": StoppingPoint(0.0, "iterate"), "fid": None}
X = torch.rand(2, 3, 32, 32)


def point(t, output, nfe, psnr, lpips):
    return {"t": t, "output": output, "nfe": nfe, "n": 2, "psnr": psnr, "lpips_squeeze": lpips, "swd": 3.0}


POINTS = [
    point(1.0, "mean", 1, 29.5, 0.2),
    point(0.75, "mean", 2, 30.0, 0.18),
    point(0.5, "mean", 3, 29.2, 0.12),
    point(0.25, "iterate", 3, 27.0, 0.05),
    point(0.25, "blend=0.5", 3, 29.1, 0.09),
]


def known_states():
    """A walk of known images: x_hat is t above x, and y is t below it."""
    for nfe, t in enumerate((1.0, 0.75, 0.5, 0.25, 0.0), start=1):
        yield State(t, X - t, X + t, min(nfe, 4), fresh=t > 0)


def test_a_blend_is_mixed_of_two_stops_of_one_walk():
    blend = stopping_point_for("blend=0.25", STOPS, POINTS)
    assert blend == Blend(DO, PO, 0.25) and (blend.t, blend.output, blend.last_output) == (
        0.25,
        "blend=0.25",
        "iterate",
    )
    expected = 0.75 * (X + 0.75) + 0.25 * (X - 0.25)
    assert torch.allclose(image_at(blend, known_states())[0], expected)
    *_, last = results(known_states(), X, [blend])
    assert torch.allclose(last.images, expected) and (last.t, last.output, last.nfe) == (0.25, "blend=0.25", 3)
    assert torch.equal(image_at(DO, known_states())[0], X + 0.75) and torch.equal(
        image_at(PO, known_states())[0], X - 0.25
    )
    assert Blend(DO, StoppingPoint(0.25, "mean"), 0.5).last_output == "mean"
    assert torch.equal(image_at(StoppingPoint(1.0, "iterate"), [State(0.5, X, X, 1, True)])[0], X)


def test_without_lpips_the_other_end_is_swd_s():
    assert stopping_point_for("blend=1", STOPS | {"lpips": None}, POINTS) == Blend(DO, STOPS["swd"], 1.0)
    assert make_blends({"psnr": DO, "lpips": DO}, []) == make_blends({"psnr": DO}, []) == []
    with pytest.raises(ValueError, match="are the same: there is nothing to blend"):
        make_blends({"psnr": DO, "lpips": DO}, [0.5])
    with pytest.raises(ValueError, match=r"does not know both a DO and a PO point to blend: find them with .*tuned=…"):
        make_blends({"psnr": DO}, [0.5])
    with pytest.raises(ValueError, match="there is nothing to blend, or use target=psnr"):
        stopping_point_for("blend=0.5", {"psnr": DO, "lpips": DO}, POINTS)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("lpips,psnr>=29", Blend(DO, PO, 0.5)),
        ("lpips, psnr>=29.15", StoppingPoint(0.5, "mean")),
        ("lpips,psnr>=29.3", DO),
        ("lpips,psnr>=20", PO),
        ("psnr,lpips<=0.1", Blend(DO, PO, 0.5)),
        ("psnr,lpips<=0.19,psnr>=29", DO),
        ("lpips,psnr>=2.9e1", Blend(DO, PO, 0.5)),
    ],
)
def test_the_best_that_meets_the_conditions(target, expected):
    assert stopping_point_for(target, STOPS, POINTS) == expected


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("lpips,psnr>=31", "no stopping point has psnr>=31; 30 is the best"),
        ("psnr,lpips<=0.01", "has lpips<=0.01; 0.05 is the best"),
        ("lpips,psnr>29", r"conditions are METRIC>=NUMBER or METRIC<=NUMBER, got 'lpips,psnr>29'"),
        ("lpips,psnr>=1.2.3", "conditions are METRIC>=NUMBER"),
        ("lpips,kid<=3", r"'kid' is not a metric that the validation of this checkpoint measured"),
        ("lpips,nfe<=3", r"'nfe' is not a metric"),
        ("fid,psnr>=29", r"'fid' is not a metric that the validation"),
        ("ssim,psnr>=29", r"target must be psnr, lpips, swd, fid, .* got 'ssim,psnr>=29'"),
        ("blend=1.5", r"with A in \[0, 1\], got 'blend=1.5'"),
        ("blend=half", r"got 'blend=half'"),
        ("blend", r"got 'blend'"),
    ],
)
def test_what_cannot_be_had_is_said(target, message):
    with pytest.raises(ValueError, match=message):
        stopping_point_for(target, STOPS, POINTS)
    assert stopping_point_for("nfe=3", STOPS, POINTS) == StoppingPoint(0.5, "mean")


def test_conditions_need_a_curve():
    with pytest.raises(ValueError, match="needs a validation's curve"):
        stopping_point_for("lpips,psnr>=29", STOPS, [])


def test_stops_are_found_on_the_walk_alone():
    assert find_stopping_points([*POINTS, point(0.25, "blend=0.9", 3, 40.0, 0.01)], [PSNR()])["psnr"] == DO
    with pytest.raises(ValueError, match=r"fraction of x_PO must be in \[0, 1\], got 2"):
        Blend(DO, PO, 2.0)


def test_the_excess_says_whether_a_blend_is_nearer():
    """MSE(a) = (1 - a)^2 P + 2 a (1 - a) c + a^2 Q: its slope at 0 is -2 (P - c)."""
    evaluation = Evaluation([PSNR(), SWD()], do_and_po=(DO, PO), blends=[Blend(DO, PO, 0.5)])
    evaluation.add(["a", "b"], [1, 2], known_states(), Reference(X))
    curve = evaluation.finish()
    faithful, perceptual = 0.75 * torch.ones_like(X), -0.25 * torch.ones_like(X)
    expected = (faithful.square() - faithful * perceptual).flatten(1).mean(1)
    assert list(evaluation.excess.values()) == pytest.approx(expected.tolist(), rel=1e-5)
    assert [r["output"] for r in curve if r["t"] == 0.25] == ["blend=0.5", "iterate", "mean"]


def test_blends_are_measured_kept_and_asked_for(paper, folder, tmp_path, call, measured_folder, image_folder):
    """On validation images with a new checkpoint, twice: the first time finds the stops."""
    root = renamed_copies(image_folder, tmp_path / "others")
    data = [folder[0], f"dataset.root={root}", *folder[3:], "dataset.val_fraction=0.375", "loader.val_images=8"]
    data += ["trainer=cpu", "lpips=null"]
    first = [f"checkpoint={paper}", "split=val", "sampler.steps=6", *data]
    assert call("evaluate", *first, "tuned=one.ckpt", "output=one") == (0, [])
    restorer = load(tmp_path / "one.ckpt")
    assert restorer.stops["psnr"] != restorer.stops["swd"]
    again = ["checkpoint=one.ckpt", "split=val", *data, "blends=[0.25,0.5,0.75]"]
    assert call("evaluate", *again, "tuned=two.ckpt", "output=two") == (0, [])
    with open(tmp_path / "two" / "curve.csv", newline="") as file:
        outputs = {r["output"] for r in csv.DictReader(file)}
    assert outputs == {"mean", "iterate", "blend=0.25", "blend=0.5", "blend=0.75"}
    summary = json.loads((tmp_path / "two" / "evaluation.json").read_text())
    assert summary["excess"]["interval"][0] <= summary["excess"]["mean"] <= summary["excess"]["interval"][1]
    assert {r["output"] for r in load(tmp_path / "two.ckpt").curve} == outputs
    image = [f"input={measured_folder}/05.png", "checkpoint=two.ckpt"]
    assert call("restore", *image, "target='swd,psnr>=0'", "output=within") == (0, [])
    refused(call("restore", *image, "target='swd,psnr>=90'", "output=x"), "no stopping point has psnr>=90")
    assert call("restore", *image, "target=blend:0.3", "output=blend") == (0, [])
    moved = call("evaluate", *again, "sampler.steps=3", "tuned=three.ckpt", "output=three")
    assert moved[0] == 0 and "blends are left out" in moved[1][0]
    assert {r["output"] for r in load(tmp_path / "three.ckpt").curve} == {"mean", "iterate"}
    refused(call("evaluate", "checkpoint=one.ckpt", *data, "blends=[2]", "output=y"), "blends: the fraction of x_PO")


# few images


def test_a_mean_of_fewer_than_eight_images_has_no_interval():
    assert FEWEST == 8
    for n in range(1, 8):
        assert interval(np.arange(float(n)).tolist()) is None and interval([42.38] * n) is None
    low, high = interval(np.arange(8.0).tolist())
    assert low < 3.5 < high


def test_intervals_of_eight_skewed_values_cover_the_mean_as_documented():
    """86 to 90 % instead of 95 % for PSNR-like values; fewer than half the time for two values."""
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        low, high = interval((28 + 3 * (generator.gamma(4.0, size=8) - 4) / 2).tolist(), trial)
        covered += low <= 28 <= high
    assert 0.83 < covered / 300 < 0.95


def test_a_table_shows_a_dash_where_images_are_too_few():
    assert brackets({"psnr": None}, "psnr", 2) == " [–]"
    assert brackets({"psnr": (1.0, 2.0)}, "psnr", 2, "+") == " [+1.00, +2.00]"
    assert brackets({}, "swd", 2) == ""


def test_nothing_is_concluded_from_too_few_images():
    assert conclusion(None) == "[–]: no conclusion from fewer than 8 images"
    assert conclusion((0.1, 0.2)) == "[0.1, 0.2]: DO is not the posterior mean, a blend with PO is nearer to it"
    assert conclusion((-0.1, 0.2)) == "[-0.1, 0.2]: a blend gains no PSNR"


def test_an_evaluation_of_one_image_has_means_and_no_intervals(paper, folder, tmp_path, capsys):
    data = [*folder, "loader.test_images=1", "lpips=null", "output=one"]
    assert run_here(tmp_path, "evaluate", f"checkpoint={paper}", *data) == 0
    summary = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert summary["n"] == 1 and summary["do"]["psnr"] > 0 and set(summary["do"]["interval"].values()) == {None}
    table = (tmp_path / "one" / "table.md").read_text()
    assert " [–] |" in table and "n = 1" in table and "none of fewer than 8" in table
    assert "no conclusion" in (out := capsys.readouterr().out) or "P - c" not in out


@pytest.mark.parametrize("level", [0.0, 0.37, 1.0])
def test_the_distance_from_constant_images_is_bounded(level):
    """Noise of 0.01 is at most 1000 * 0.01 / LEAST_SPREAD spreads away; without a bound it was over ten million."""
    clean = torch.full((1, 3, 64, 64), level)
    noisy = (clean + 0.01 * torch.randn(clean.shape)).clamp(0, 1)
    value = swd(*(SWD.extractor.features(images) for images in (clean, noisy)))
    assert 0 < value < 1000 * 0.01 / LEAST_SPREAD


def test_metrics_of_sets_warn_of_few_images():
    fid, kid = (object.__new__(metric) for metric in (FID, KID))
    fid.name, fid.fewest, kid.name = "fid_squeezenet", 512, "kid_squeezenet"
    said = cautions([PSNR(), SWD(), fid, kid], 20)
    assert [line.partition(":")[0] for line in said] == [
        f"{name} of 20 images compares only with values of the same images"
        for name in ("fid_squeezenet", "kid_squeezenet")
    ]
    assert cautions([fid, kid], 512) == []
