"""The benchmark: one small run, its comparison with a saved run, and counted operations."""

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
    """The module, whose command runs in this process with the settings of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks import run

        def main(*words):
            quick = ["--device=cpu", "--batch=2", "--rounds=2", "--seconds=0.001", "--variants", "bf16"]
            patch.setattr("sys.argv", ["benchmarks.run", *words, *quick, "--", *SMALL])
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
    with pytest.raises(SystemExit) as ended:
        bench.bench("--measure", "metrics", "--compare", str(tmp_path / "before.json"))
    assert ended.value.code == status and message in "".join(capsys.readouterr())


def test_the_paper_s_network_takes_542_gflop_an_image(bench):
    """The gradient takes twice as much again."""
    with torch.device("meta"):
        network = network_of("base")
    forward, both = bench.flops(network, 256)
    assert forward == pytest.approx(542e9, rel=1e-3) and both == pytest.approx(3 * forward, rel=2e-3)
