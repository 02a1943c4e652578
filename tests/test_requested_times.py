"""Evaluation at the requested times only gives bitwise equal values with fewer network calls."""

import json

import pytest
import torch
from conftest import needs_lpips

from diracdiff.evaluation import StoppingPoint as P
from diracdiff.evaluation import snap_to_grid
from diracdiff.metrics import LPIPS, Reference
from diracdiff.metrics.lpips import upscale_to_min_side
from diracdiff.models import NCSNpp
from diracdiff.restorer import load
from diracdiff.utils.files import read_rows


def test_stopping_times_are_on_the_grid():
    stopping_points = [P(1.0), P(0.6), P(0.5), P(0.5, "iterate"), P(0.7), P(0.0, "iterate")]
    expected = [P(1.0), P(0.75), P(0.5), P(0.5, "iterate"), P(0.0, "iterate")]
    assert snap_to_grid(stopping_points, [1.0, 0.75, 0.5, 0.25, 0.0]) == expected
    assert snap_to_grid([P(1.0)], [0.6, 0.3]) == [P(0.6)]


@pytest.fixture
def calls(monkeypatch):
    """List with one entry per network call."""
    calls, forward = [], NCSNpp.forward
    monkeypatch.setattr(NCSNpp, "forward", lambda self, *args: calls.append(1) or forward(self, *args))
    return calls


def test_stopping_times_equal_those_of_the_whole_curve(paper, folder, tmp_path, call, calls):
    data = [*folder[:2], *folder[3:], "data.test_images=3", "trainer=cpu", "lpips=null"]
    arguments = [
        f"checkpoint={paper}",
        *data,
        "sampler.num_steps=6",
        "split=val",
        "save_tuned=tuned.ckpt",
        "output=found",
    ]
    assert call("evaluate", *arguments) == (0, [])
    requested = ["checkpoint=tuned.ckpt", *data, "target=t:0.6"]
    calls.clear()
    assert call("evaluate", *requested, "output=all") == (0, [])
    calls_of_all = len(calls)
    assert call("evaluate", *requested, "output=few", "times=stopping") == (0, [])
    whole, subset = (
        {(r["name"], r["t"], r["output"]): {k: v for k, v in r.items() if k != "seconds"} for r in rows}
        for rows in (read_rows(tmp_path / name / "images.csv") for name in ("all", "few"))
    )
    assert len(subset) < len(whole) and subset.items() <= whole.items()
    assert len(calls) - calls_of_all <= calls_of_all
    one, two = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("all", "few"))
    for entry in (*one.values(), *two.values()):
        if isinstance(entry, dict):
            entry.pop("seconds", None)
    assert one == two and {"target", "do", "swd"} <= set(two)
    assert {p.name for p in (tmp_path / "all").iterdir()} == {p.name for p in (tmp_path / "few").iterdir()}


def test_sampling_ends_at_the_last_stopping_timeping_time(paper, folder, call, calls):
    data = [*folder[:2], *folder[3:], "data.test_images=3", "trainer=cpu", "lpips=null", "sampler.num_steps=6"]
    restorer = load(paper)
    restorer.stopping_points |= dict.fromkeys(restorer.stopping_points, P(1.0))
    restorer.save("early.ckpt")
    assert call("evaluate", "checkpoint=early.ckpt", *data, "times=stopping") == (0, [])
    assert len(calls) == 1


@needs_lpips
@pytest.mark.parametrize("size", [64, 40])
def test_features_of_the_clean_images_are_computed_once(torch_home, size):
    metric = LPIPS("squeeze")
    network, calls = metric._network, []
    network.net.register_forward_hook(lambda *_: calls.append(1))
    clean, trajectory = torch.rand(2, 3, size, size), [torch.rand(2, 3, size, size) * 1.2 for _ in range(3)]
    reference = Reference(clean)
    distances = [metric(images, reference) for images in trajectory]
    assert len(calls) == 4
    for images, values in zip(trajectory, distances, strict=True):
        assert torch.equal(
            values, network(*map(upscale_to_min_side, (images.clamp(0, 1), clean)), normalize=True).flatten().detach()
        )
