"""Metrics, trade-off curves and stopping times."""

import math

import numpy as np
import pytest
import torch
from conftest import needs_lpips
from skimage.metrics import structural_similarity

from diracdiff.evaluation import Evaluation, find_stopping_points, key_rows
from diracdiff.evaluation import StoppingPoint as P
from diracdiff.evaluation.stopping import row_at
from diracdiff.metrics import LPIPS, PSNR, SSIM, Missing, Reference
from diracdiff.metrics.lpips import BACKBONES
from diracdiff.metrics.metric import ImageMetric
from diracdiff.samplers import State
from diracdiff.utils.errors import UserError


def test_psnr_is_per_image_and_clipped():
    clean = torch.rand(2, 3, 32, 32) * 0.5
    restored = clean + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1)
    assert PSNR()(restored, Reference(clean)).tolist() == pytest.approx([20, 40], abs=1e-3)
    assert PSNR()(torch.full_like(clean, 7.0), Reference(torch.ones_like(clean))).min() > 80
    beyond = 3 * torch.rand_like(clean) - 1
    assert torch.equal(SSIM()(beyond, Reference(clean)), SSIM()(beyond.clamp(0, 1), Reference(clean)))


def test_ssim_is_wang_s():
    clean, restored = torch.rand(2, 3, 40, 32), torch.rand(2, 3, 40, 32)
    ours = SSIM()(restored, Reference(clean))
    for i in range(2):
        a, b = (np.asarray(v[i].permute(1, 2, 0), dtype=np.float64) for v in (clean, restored))
        options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=2)
        _, full = structural_similarity(a, b, full=True, **options)
        assert ours[i].item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)


@needs_lpips
def test_lpips_is_named_by_its_backbone_and_equals_the_package(torch_home):
    from lpips import LPIPS as Network

    clean, restored = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    metric = LPIPS.if_available("squeeze")
    assert metric.name == "lpips_squeeze"
    with torch.no_grad():
        expected = Network(net="squeeze", verbose=False)(restored * 2 - 1, clean * 2 - 1).flatten()
    assert torch.allclose(metric(restored, Reference(clean)), expected, atol=1e-6)


@needs_lpips
def test_the_smallest_images_of_lpips_are_known(torch_home):
    metric = LPIPS("squeeze")
    metric(torch.rand(1, 3, 17, 17), Reference(torch.rand(1, 3, 17, 17)))
    with pytest.raises(UserError, match="LPIPS needs images of at least 17 pixels a side, got 16"):
        metric(torch.rand(1, 3, 16, 20), Reference(torch.rand(1, 3, 16, 20)))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_take_images_of_the_smallest_side_and_no_smaller(backbone):
    from lpips import LPIPS as Network

    network = Network(net=backbone, pnet_rand=True, pretrained=False, verbose=False)
    fine, small = (torch.rand(1, 3, side, side) for side in (BACKBONES[backbone][2], BACKBONES[backbone][2] - 1))
    network(fine, fine)
    with pytest.raises(RuntimeError, match="too small"):
        network(small, small)


def test_lpips_without_weights_is_left_out_with_one_line(without_weights, capsys):
    metric = LPIPS.if_available("vgg")
    assert LPIPS.if_available(None) is None
    lines = capsys.readouterr().err.splitlines()
    assert isinstance(metric, Missing) and not isinstance(metric, ImageMetric)
    assert (metric.name, metric.target, metric.higher_is_better) == ("lpips_vgg", None, None)
    assert len(lines) == 1 and "vgg16-397923af.pth" in lines[0] and "no t_PO" in lines[0]
    evaluation, image = Evaluation([PSNR(), metric]), torch.rand(1, 3, 16, 16)
    evaluation.add(["a"], [0], [State(1.0, image, image, 1, True)], Reference(image))
    assert "psnr" in evaluation.finish()[0] and "lpips_vgg" not in evaluation.curve[0]


def test_metrics_are_of_full_precision_under_autocast():
    clean, restored = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    for metric in (PSNR(), SSIM()):
        expected = metric(restored, Reference(clean))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(metric(restored, Reference(clean)), expected)


def test_bad_metrics_are_refused():
    with pytest.raises(UserError, match="lpips must be one of"):
        LPIPS.if_available("resnet")
    with pytest.raises(UserError, match="at least 11 pixels"):
        SSIM()(torch.rand(1, 3, 8, 8), Reference(torch.rand(1, 3, 8, 8)))


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
