"""The benchmark: one small run, its comparison with a saved run, and counted operations."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, clean_environment
from test_models import network_of

SMALL = [
    "model.network.channels=8",
    "model.network.multipliers=[1,2]",
    "model.network.attention_levels=[1]",
    "dataset.image_size=32",
    "lpips=null",
    "sampler.steps=3",
]


def bench(*words):
    quick = ["--device=cpu", "--batch=2", "--rounds=2", "--seconds=0", "--variants", "bf16"]
    asked = [sys.executable, "-m", "benchmarks.run", *words, *quick, "--", *SMALL]
    return subprocess.run(asked, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "saved.json"
    done = bench("--output", str(path))
    assert done.returncode == 0, done.stderr
    return path


def test_every_group_is_measured(saved):
    content = json.loads(saved.read_text())
    groups = {row["name"].split(",")[0] for row in content["rows"]}
    assert groups == {"reference", "network", "training", "sampling", "metrics", "loading"}
    assert all(row["seconds"][0] > 0 for row in content["rows"])
    assert content["settings"]["image_size"] == 32 and content["settings"]["task"] == "deblur"


@pytest.mark.parametrize(("factor", "status", "message"), [(0.01, 1, "slower: metrics"), (100, 0, "nothing is slower")])
def test_a_run_is_compared_with_a_saved_one(saved, tmp_path, factor, status, message):
    content = json.loads(saved.read_text())
    for row in content["rows"]:
        row["relative"] = [factor * value for value in row["relative"]]
    (tmp_path / "before.json").write_text(json.dumps(content))
    done = bench("--measure", "metrics", "--compare", str(tmp_path / "before.json"))
    assert done.returncode == status and message in done.stdout, done.stderr
    content["settings"]["image_size"] = 64
    (tmp_path / "before.json").write_text(json.dumps(content))
    done = bench("--measure", "metrics", "--compare", str(tmp_path / "before.json"))
    assert done.returncode == 2 and "has another image_size" in done.stderr


def test_the_paper_s_network_takes_542_gflop_an_image(monkeypatch):
    """The gradient takes twice as much again."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.run import flops

    with torch.device("meta"):
        network = network_of("base")
    forward, both = flops(network, 256)
    assert forward == pytest.approx(542e9, rel=1e-3) and both == pytest.approx(3 * forward, rel=2e-3)
