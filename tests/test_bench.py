"""The benchmark: clocks, tables, what is named slower, and the command."""

import copy
import json

import pytest
import torch
from conftest import refused, run_here
from test_models import network_of
from test_training import make, state, trainer

from diracdiff.benchmarks import finished, markdown, peak_tflops, slower, timing
from diracdiff.benchmarks.cost import LiveBytes, cost, flops, predicted
from diracdiff.benchmarks.networks import network_cases
from diracdiff.benchmarks.parts import Parts, rows_of_laps
from diracdiff.benchmarks.profile import kind_of
from diracdiff.benchmarks.timing import YARDSTICK, Case, quartiles, timed
from diracdiff.benchmarks.training import training_step
from diracdiff.models import NCSNpp
from diracdiff.utils.errors import UserError

CPU = torch.device("cpu")
SHORT = [
    "model.network.channels=8",
    "model.network.multipliers=[1,2]",
    "model.network.attention_levels=[1]",
    "dataset.image_size=32",
    "lpips=null",
    "batch=2",
    "batches=[1]",
    "rounds=2",
    "seconds=0",
    "train_steps=3",
    "warm_up=1",
    "walks=1",
    "sampler.steps=3",
    "sizes=[1,1.5]",
    "jpegs=4",
    "jpeg_side=40",
    "device=cpu",
]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but when it is told to go on."""
    now = [0.0]

    def go_on(seconds):
        now[0] += seconds

    monkeypatch.setattr("time.process_time", lambda: now[0])
    monkeypatch.setattr(timing, "yardstick", lambda device: Case(YARDSTICK, YARDSTICK, lambda: go_on(2.0), 1))
    return go_on


def test_cases_are_timed_in_turn_and_compared_within_a_round(clock):
    order, factor = [], iter([1, 1, 1, 1, 1, 1, 10, 10, 10, 10, 1, 1, 1, 1])

    def call(name, seconds):
        def run():
            order.append(name)
            clock(seconds * next(factor))

        return run

    cases = [Case("g", "one", call("one", 1.0), 4), Case("g", "two", call("two", 2.0), 4, "one", 6e9)]
    ruler, one, two = timed(cases, CPU, rounds=3, seconds=0)
    assert order == [*["one"] * 2, *["two"] * 2, "one", "two", "two", "one", "one", "two"]
    assert ruler["case"] == YARDSTICK and one["seconds"][1] == 10 and two["seconds"][1] == 20
    assert "ratio" not in one and two["ratio"] == [2, 2, 2] and two["baseline"] == "one"
    row = finished([two], peak=0.003)[0]
    assert (row["images_per_second"], row["tflops"], row["share_of_peak"]) == pytest.approx((0.2, 0.0003, 0.1))
    assert finished([two], None)[0]["share_of_peak"] is None and "not known" in markdown(finished([two], None))


def test_a_quick_case_is_called_until_the_time_is_over(clock):
    calls = []
    timed([Case("g", "quick", lambda: (calls.append(1), clock(0.25)), 1)], CPU, rounds=2, seconds=1.0)
    assert len(calls) == 1 + 1 + 2 * 4


def test_quartiles():
    assert quartiles([5.0]) == [5.0] * 3 and quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == [2.0, 3.0, 4.0]


def test_time_is_charged_to_the_innermost_part(clock):
    parts = Parts(CPU)
    for extra in (0, 1):
        clock(1)
        with parts.part("network forward"):
            clock(10)
            with parts.part("logging"):
                clock(100 + extra)
            parts.switch("network backward")
            clock(1000)
        parts.lap()
    assert parts.laps[0] == {"rest": 1, "network forward": 10, "logging": 100, "network backward": 1000}
    rows = {row["case"]: row for row in rows_of_laps("step", parts.laps, 8, "a step")}
    assert rows["a step"]["seconds"][1] == pytest.approx(1111.5)
    assert rows["all but the network"]["seconds"][1] == pytest.approx(101.5)
    assert rows["network backward"]["share"][1] == pytest.approx(1000 / 1111.5, rel=1e-3)


def test_the_clock_around_a_training_changes_nothing_and_misses_nothing(tmp_path, image_folder):
    weights = {}
    for name in ("plain", "timed"):
        module, data = make(image_folder, given=True)
        short = trainer(tmp_path / name, epochs=1, limit_train_batches=4, limit_val_batches=0, log_every_n_steps=1)
        if name == "plain":
            short.fit(module, data)
        else:
            rows = training_step(module, data, short, Parts(CPU), warm_up=1)
        weights[name] = [p.detach().clone() for p in module.denoiser.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(*weights.values(), strict=True))
    found = {row["case"]: row["seconds"][1] for row in rows}
    named = {"network forward", "network backward", "preconditioning", "degradation", "loss", "loading"}
    named |= {"optimiser", "average", "clipping", "logging", "rest", "callbacks"}
    assert named == found.keys() - {"a step", "all but the network"} and min(found.values()) > 0
    assert not (tmp_path / "timed" / "last.ckpt").exists() and state(tmp_path / "plain" / "last.ckpt")


def a_row(case, unit, values):
    return {"group": "g", "case": case, "seconds": [1.0] * 3, unit: values}


def test_what_is_slower_beyond_the_spread_is_named():
    before = [
        a_row("a", "yardsticks", [1.0, 1.1, 1.2]),
        a_row("b", "yardsticks", [1.0, 1.1, 1.2]),
        a_row("c", "share", [0.01, 0.02, 0.03]),
        a_row("network forward", "share", [0.2, 0.2, 0.2]),
        a_row(YARDSTICK, "yardsticks", [1.0] * 3),
    ]
    now = [
        a_row("a", "yardsticks", [1.19, 1.4, 1.6]),
        a_row("b", "yardsticks", [1.21, 1.32, 1.6]),
        a_row("c", "share", [0.04, 0.04, 0.05]),
        a_row("network forward", "share", [0.3, 0.3, 0.3]),
        a_row("new", "yardsticks", [9.0] * 3),
    ]
    found = slower(now, before)
    assert [row["case"] for row in found] == ["b", "c"] and found[0]["ratio"] == pytest.approx(1.2)
    assert slower(before, before) == []


def test_the_paper_s_network_takes_542_gflop_an_image():
    """And its gradient twice as much again: what the share of a GPU's peak is computed from."""
    with torch.device("meta"):
        network = network_of("base")
    forward, both = flops(network, 256)
    assert forward == pytest.approx(542e9, rel=1e-3) and both == pytest.approx(3 * forward, rel=2e-3)


def test_live_bytes_are_those_of_tensors_that_are_alive():
    with LiveBytes() as live:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b.view(10, 100)
        d = c * 2
    assert live.peak == 8000 and live.now == 8000
    del b, c, d
    assert live.now == 0


def test_costs_grow_with_pixels_and_batch():
    network = NCSNpp(8, [1, 2], 1, [1], 0.0)
    one, batch, large = cost(network, 16, 1), cost(network, 16, 4), cost(network, 32, 1)
    assert batch.forward == 4 * one.forward and 4 < large.forward / one.forward < 16
    assert 3.5 < batch.activations / one.activations <= 4.01 and large.activations > 3.9 * one.activations
    assert one.weights == 5 * 4 * sum(p.numel() for p in network.parameters())
    assert one.sampling < 0.5 * one.activations and 2.5 < one.both / one.forward < 3


def test_a_reference_predicts_in_proportion_to_operations():
    rows = [a_row(case, "share", [1.0] * 3) | {"flops": number} for case, number in (("ref", 10), ("other", 30))]
    assert [row.get("predicted") for row in predicted(rows, "ref")] == [None, 3.0]


@pytest.mark.parametrize(
    ("name", "shapes", "kind"),
    [
        ("aten::mkldnn_convolution", [[8, 16, 64, 64], [16, 16, 3, 3]], "convolution"),
        ("aten::convolution_backward", [[8, 16, 8, 8], [8, 16, 16, 16], [16, 1, 4, 4]], "FIR resampling, gradient"),
        ("aten::native_group_norm_backward", [], "group normalisation, gradient"),
        ("aten::addmm", [], "matrix product"),
        ("aten::add_", [], "sum, product, sum over pixels"),
        ("aten::as_strided", None, "all else"),
    ],
)
def test_operators_are_told_apart(name, shapes, kind):
    assert kind_of(name, shapes) == kind


def test_variants_are_copies_and_unknown_ones_are_refused():
    network = NCSNpp(8, [1, 2], 1, [1], 0.0)
    before = copy.deepcopy(network.state_dict())
    cases = network_cases(network, 16, CPU, [1], ["contiguous", "bf16", "checkpointed"], 2)
    for case in cases:
        case.call()
    assert len(cases) == 2 * (2 + 3) and not network.checkpoint_activations
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    with pytest.raises(UserError, match=r"variants must be of .* got 'quantised'"):
        network_cases(network, 16, CPU, [1], ["quantised"], 2)


def test_a_card_s_peak_is_known_by_name_or_given(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    card = torch.device("cuda")
    assert peak_tflops(card) == 989 and peak_tflops(card, 500.0) == 500 and peak_tflops(CPU) is None
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Some other card")
    assert peak_tflops(card) is None


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("bench")
    assert run_here(cwd, "bench", *SHORT, "output=saved.json", "markdown=saved.md") == 0
    return cwd


def test_the_command_measures_every_part(benched):
    saved = json.loads((benched / "saved.json").read_text())
    groups = {row["group"] for row in saved["rows"]}
    assert groups >= {"network, forward", "loading", "degradation", "loss and its gradient", "evaluation", "cost"}
    assert {"training step", "sampler step, euler", "sampler step, exponential", "sampler step, multistep"} <= groups
    assert "profile, forward and backward, 32 px, batch 2" in groups
    assert {row["case"] for row in saved["rows"] if row["group"] == "loading"} == {"dataset", "jpeg folder"}
    assert all(len(row["seconds"]) == 3 and row["seconds"][0] > 0 for row in saved["rows"])
    assert saved["machine"]["versions"]["torch"] in torch.__version__ and saved["settings"]["image_size"] == 32
    text = (benched / "saved.md").read_text()
    assert "**training step**" in text and "| all but the network |" in text
    assert sorted(path.name for path in benched.iterdir()) == ["saved.json", "saved.md"]


@pytest.mark.parametrize(("factor", "status", "said"), [(0.01, 1, "slower than in"), (100, 0, "nothing is slower")])
def test_a_run_is_compared_with_a_saved_one(benched, tmp_path, capsys, factor, status, said):
    saved = json.loads((benched / "saved.json").read_text())
    for row in saved["rows"]:
        if "yardsticks" in row:
            row["yardsticks"] = [factor * value for value in row["yardsticks"]]
    (tmp_path / "before.json").write_text(json.dumps(saved))
    asked = ["measure=[degradation]", "compare_with=before.json", "fail_on_slowdown=true"]
    assert run_here(tmp_path, "bench", *SHORT, *asked) == status
    assert said in capsys.readouterr().out


def test_bad_input_is_refused_before_anything_is_measured(call, tmp_path, benched):
    (tmp_path / "there.json").write_text("{}")
    refused(call("bench", *SHORT, "rounds=0"), "rounds must be an integer of at least 1, got 0")
    refused(call("bench", *SHORT, "measure=[speed]"), r"measure must be of .* got 'speed'")
    refused(call("bench", *SHORT, "measure=network"), r"measure must be a list, measure=\[…\], got network")
    refused(call("bench", *SHORT, "batches=[0]"), "batches must be an integer of at least 1, got 0")
    refused(call("bench", *SHORT, "sizes=[big]"), "sizes must be a number from 0.01 to 100.0, got big")
    refused(call("bench", *SHORT, "output=there.json"), "there.json exists: .* overwrite=true")
    refused(
        call("bench", *SHORT, "compare_with=no.json"), "no.json: cannot be read .No such file.*Give as compare_with"
    )
    refused(
        call("bench", *SHORT, "compare_with=there.json"),
        "there.json.* cannot be read .*Give as compare_with a file that diracdiff bench wrote",
    )
    other = [f"compare_with={benched}/saved.json", "dataset.image_size=64"]
    refused(call("bench", *SHORT, *other), "the saved benchmark has image_size 32, this one 64")
    assert (tmp_path / "there.json").read_text() == "{}"
