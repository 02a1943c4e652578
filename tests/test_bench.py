"""The benchmark: a small run, its comparison with a saved run, and the number of operations."""

import json

import pytest
import torch
from conftest import ROOT
from test_models import network_of

SMALL = [
    "model.network.channels=8",
    "model.network.multipliers=[1,2]",
    "model.network.attention_levels=[1]",
    "data.image_size=32",
    "lpips=null",
    "sampler.num_steps=3",
]


@pytest.fixture(scope="module")
def bench():
    """The benchmark module. Its function `bench` runs the command in this process with small settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks import run

        def main(*args):
            quick = ["--device=cpu", "--batch=2", "--rounds=2", "--seconds=0.001", "--variants", "bf16"]
            patch.setattr("sys.argv", ["benchmarks.run", *args, *quick, "--", *SMALL])
            threads = torch.get_num_threads()
            try:
                run.main()
            finally:
                torch.set_num_threads(threads)

        run.bench = main
        yield run


@pytest.fixture(scope="module")
def saved(tmp_path_factory, bench):
    path = tmp_path_factory.mktemp("bench") / "saved.json"
    bench.bench("--output", str(path))
    return path


def test_every_group_is_measured(saved):
    content = json.loads(saved.read_text())
    groups = {row["name"].split(",")[0] for row in content["rows"]}
    assert groups == {"reference", "network", "training", "sampling", "metrics", "loading"}
    assert all(row["seconds"][0] > 0 for row in content["rows"])
    assert content["settings"]["image_size"] == 32 and content["settings"]["task"] == "deblur"


@pytest.mark.parametrize(
    ("factor", "size", "status", "message"),
    [
        (0.01, 32, 1, "slower: metrics"),
        (100, 32, 0, "nothing is slower"),
        (1, 64, 2, "has another image_size"),
    ],
)
def test_a_run_is_compared_with_a_saved_one(bench, saved, tmp_path, capsys, factor, size, status, message):
    content = json.loads(saved.read_text())
    content["settings"]["image_size"] = size
    for row in content["rows"]:
        row["relative"] = [factor * value for value in row["relative"]]
    (tmp_path / "before.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as error:
        bench.bench("--measure", "metrics", "--compare", str(tmp_path / "before.json"))
    assert error.value.code == status and message in "".join(capsys.readouterr())


def test_network_of_the_paper_needs_542_gflop_per_image(bench):
    """The backward pass needs twice as many operations as the forward pass."""
    with torch.device("meta"):
        network = network_of("base")
    forward, both = bench.flops(network, 256)
    assert forward == pytest.approx(542e9, rel=1e-3) and both == pytest.approx(3 * forward, rel=2e-3)
