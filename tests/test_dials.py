"""What a user may ask for between the faithful and the good-looking stop."""

import csv
import json

import pytest
import torch
from conftest import refused, renamed_copies

from diracdiff.evaluation import Blend, Evaluation, StoppingPoint, find_stopping_points, make_blends, stopping_point_for
from diracdiff.evaluation.results import image_at, results
from diracdiff.metrics import PSNR, SWD, Reference
from diracdiff.restorer import load
from diracdiff.samplers import State
from diracdiff.utils.errors import UserError

DO, PO = StoppingPoint(0.75, "mean"), StoppingPoint(0.25, "iterate")
STOPS = {"psnr": DO, "lpips": PO, "swd": StoppingPoint(0.0, "iterate"), "fid": None}
X = torch.rand(2, 3, 32, 32)


def row(t, output, nfe, psnr, lpips):
    return {"t": t, "output": output, "nfe": nfe, "n": 2, "psnr": psnr, "lpips_squeeze": lpips, "swd": 3.0}


CURVE = [
    row(1.0, "mean", 1, 29.5, 0.2),
    row(0.75, "mean", 2, 30.0, 0.18),
    row(0.5, "mean", 3, 29.2, 0.12),
    row(0.25, "iterate", 3, 27.0, 0.05),
    row(0.25, "blend=0.5", 3, 29.1, 0.09),
]


def states():
    """A walk of known images: x_hat is t above x, and y is t below it."""
    for nfe, t in enumerate((1.0, 0.75, 0.5, 0.25, 0.0), start=1):
        yield State(t, X - t, X + t, min(nfe, 4), fresh=t > 0)


def test_a_blend_is_mixed_of_two_stops_of_one_walk():
    blend = stopping_point_for("blend=0.25", STOPS, CURVE)
    assert blend == Blend(DO, PO, 0.25) and (blend.t, blend.output, blend.last_output) == (
        0.25,
        "blend=0.25",
        "iterate",
    )
    expected = 0.75 * (X + 0.75) + 0.25 * (X - 0.25)
    assert torch.allclose(image_at(blend, states())[0], expected)
    *_, last = results(states(), X, [blend])
    assert torch.allclose(last.images, expected) and (last.t, last.output, last.nfe) == (0.25, "blend=0.25", 3)
    assert torch.equal(image_at(DO, states())[0], X + 0.75) and torch.equal(image_at(PO, states())[0], X - 0.25)
    assert Blend(DO, StoppingPoint(0.25, "mean"), 0.5).last_output == "mean"
    assert torch.equal(image_at(StoppingPoint(1.0, "iterate"), [State(0.5, X, X, 1, True)])[0], X)


def test_without_lpips_the_other_end_is_swd_s():
    assert stopping_point_for("blend=1", STOPS | {"lpips": None}, CURVE) == Blend(DO, STOPS["swd"], 1.0)
    assert make_blends({"psnr": DO, "lpips": DO}, []) == make_blends({"psnr": DO}, []) == []
    with pytest.raises(ValueError, match="are the same: there is nothing to blend"):
        make_blends({"psnr": DO, "lpips": DO}, [0.5])
    with pytest.raises(ValueError, match=r"does not know both a DO and a PO point to blend: find them with .*tuned=…"):
        make_blends({"psnr": DO}, [0.5])
    with pytest.raises(UserError, match="there is nothing to blend, or use target=psnr"):
        stopping_point_for("blend=0.5", {"psnr": DO, "lpips": DO}, CURVE)


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
    assert stopping_point_for(target, STOPS, CURVE) == expected


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
    with pytest.raises(UserError, match=message):
        stopping_point_for(target, STOPS, CURVE)
    assert stopping_point_for("nfe=3", STOPS, CURVE) == StoppingPoint(0.5, "mean")


def test_conditions_need_a_curve():
    with pytest.raises(UserError, match="needs a validation's curve"):
        stopping_point_for("lpips,psnr>=29", STOPS, [])


def test_stops_are_found_on_the_walk_alone():
    assert find_stopping_points([*CURVE, row(0.25, "blend=0.9", 3, 40.0, 0.01)], [PSNR()])["psnr"] == DO
    with pytest.raises(ValueError, match=r"fraction of x_PO must be in \[0, 1\], got 2"):
        Blend(DO, PO, 2.0)


def test_the_excess_says_whether_a_blend_is_nearer():
    """MSE(a) = (1 - a)^2 P + 2 a (1 - a) c + a^2 Q: its slope at 0 is -2 (P - c)."""
    evaluation = Evaluation([PSNR(), SWD()], do_and_po=(DO, PO), blends=[Blend(DO, PO, 0.5)])
    evaluation.add(["a", "b"], [1, 2], states(), Reference(X))
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
    assert call("restore", *image, "target=swd,psnr>=0", "output=within") == (0, [])
    refused(call("restore", *image, "target=swd,psnr>=90", "output=x"), "no stopping point has psnr>=90")
    assert call("restore", *image, "target=blend:0.3", "output=blend") == (0, [])
    moved = call("evaluate", *again, "sampler.steps=3", "tuned=three.ckpt", "output=three")
    assert moved[0] == 0 and "blends are left out" in moved[1][0]
    assert {r["output"] for r in load(tmp_path / "three.ckpt").curve} == {"mean", "iterate"}
    refused(call("evaluate", "checkpoint=one.ckpt", *data, "blends=[2]", "output=y"), "blends: the fraction of x_PO")
