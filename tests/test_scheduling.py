"""Greedy scheduling and the command schedule."""

import itertools

import pytest
import torch
from conftest import ROOT, SHARED, needs_lpips, needs_shared, refused, run_here
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from diracdiff import metrics
from diracdiff.commands.build import build
from diracdiff.degradations import GaussianBlur, GaussianInpainting, LinearSeverity, TabulatedSeverity
from diracdiff.scheduling import LPIPS, MSE, SSIM, Distance, greedy, tabulate
from diracdiff.scheduling.distance import CACHED_VERSIONS

TINY = ["dissimilarity=mse", "data.image_size=16", "images=3", "candidates=40", "budget=9"]


def curve(candidates, power=1.0):
    """Return a distance that grows with separation, and the list of its calls."""
    position = torch.rand(candidates, dtype=torch.float64).cumsum(0).tolist()
    calls = []

    def distance(i, j):
        calls.append((i, j))
        return (position[j] - position[i]) ** power

    return distance, calls


def exhaustive(distance, candidates, budget):
    """Compute the schedule of Algorithm 2 by exhaustive search."""
    selected = [0, candidates - 1]
    while len(selected) < budget + 2:
        pairs = [(i, j) for i, j in itertools.pairwise(selected) if j > i + 1]
        left, right = max(pairs, key=lambda pair: distance(*pair))
        between = range(left + 1, right)
        selected = sorted([*selected, min(between, key=lambda s: max(distance(left, s), distance(s, right)))])
    return tuple(selected)


# greedy search


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("candidates", "budget"), [(3, 1), (10, 8), (57, 20), (200, 31)])
def test_bisection_equals_exhaustive_search(candidates, budget, power):
    distance, _ = curve(candidates, power)
    *_, last = greedy(distance, candidates, budget)
    assert last.indices == exhaustive(distance, candidates, budget)
    assert last.max_distance == max(distance(*pair) for pair in itertools.pairwise(last.indices))


def test_steps_are_equal_if_the_distance_is_the_separation():
    *_, last = greedy(lambda i, j: j - i, 65, 7)
    assert last.indices == tuple(range(0, 65, 8))


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_distance_never_grows_for_random_distances(seed):
    noise = torch.rand(30, 30, generator=torch.Generator().manual_seed(seed)).tolist()
    noise[0][29] = 1.0
    placements = list(greedy(lambda i, j: noise[i][j], 30, 28))
    recorded = [max(noise[i][j] for i, j in itertools.pairwise(p.indices)) for p in placements]
    assert [p.max_distance for p in placements] == recorded
    assert len(recorded) > 1 and all(b <= a for a, b in itertools.pairwise(recorded))
    for before, after in itertools.pairwise(placements):
        assert set(before.indices) < set(after.indices) and len(after.indices) == len(before.indices) + 1


@pytest.mark.parametrize(
    ("distances", "other", "selected"),
    [
        ({(0, 99): 1.0, (0, 70): 0.5, (70, 99): 0.9}, 2.0, [(0, 99), (0, 70, 99)]),
        ({(0, 99): 0.1}, 1.0, [(0, 99)]),
    ],
    ids=["one", "none"],
)
def test_insertions_do_not_increase_the_largest_distance(distances, other, selected):
    assert [p.indices for p in greedy(lambda i, j: distances.get((i, j), other), 100, 5)] == selected


def test_few_distances_are_computed():
    distance, calls = curve(1000, 2.0)
    *_, last = greedy(distance, 1000, 100)
    assert len(last.indices) == 102 and len(set(calls)) == len(calls)
    candidates_used = {i for pair in calls for i in pair}
    assert len(candidates_used) < 1000 and len(calls) < 2 * 1000


@pytest.mark.parametrize(("candidates", "budget"), [(10, 0), (10, 9), (2, 1)])
def test_an_invalid_budget_is_refused(candidates, budget):
    with pytest.raises(ValueError, match=r"budget=\S+: must lie in \[1, candidates - 2\]"):
        next(greedy(lambda i, j: 1.0, candidates, budget))


# distances of degradations


def distance_of(images, dissimilarity, candidates=11, **options):
    degradation = GaussianInpainting(LinearSeverity(0.1, 60.0), images.shape[-1])
    return Distance.from_degradation(degradation, images, dissimilarity, candidates, **options)


def test_mse_and_ssim_equal_their_definitions():
    images = torch.rand(3, 3, 20, 24)
    a, b = (GaussianInpainting(LinearSeverity(0.1, 60.0), 24)(images, t) for t in (0.2, 0.7))
    assert distance_of(images, MSE())(2, 7) == pytest.approx((a - b).square().mean().item(), rel=1e-5)
    expected = 1 - metrics.SSIM()(a, metrics.Reference(b)).mean().item()
    assert distance_of(images, SSIM())(2, 7) == pytest.approx(expected, abs=1e-6)


@needs_lpips
@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 3, 17, 40)])
def test_lpips_equals_the_package(torch_home, shape):
    from lpips import LPIPS as Package

    a, b = torch.rand(shape), torch.rand(shape)
    metric = LPIPS("squeeze")
    with torch.no_grad():
        expected = Package(net="squeeze", verbose=False)(2 * a - 1, 2 * b - 1).flatten()
        assert torch.allclose(metric.between(metric.features(a), metric.features(b)), expected, atol=1e-5)
    assert metric.name == "LPIPS (squeeze)" and expected.min() > 0.01


def test_the_mean_does_not_depend_on_the_batch_and_features_are_computed_once():
    images = torch.rand(5, 3, 16, 16)
    whole, parts = (distance_of(images, MSE(), batch_size=size) for size in (5, 2))
    assert parts(1, 8) == pytest.approx(whole(1, 8), rel=1e-6)
    distance, calls = distance_of(images, MSE()), []
    version = distance.version
    distance.version = lambda *args: calls.append(args) or version(*args)
    for i, j in [(0, 5), (0, 5), (0, 9), (5, 9)]:
        distance(i, j)
    assert calls == [(0, 0), (5, 0), (9, 0)] and CACHED_VERSIONS >= 3


def test_values_are_clipped_before_comparison():
    class Bright(GaussianBlur):
        def apply(self, x, severity):
            return x + severity.to(x.dtype)

    bright = Bright(LinearSeverity(0.0, 2.0), 256)
    distance = Distance.from_degradation(bright, torch.full((1, 3, 12, 12), 0.5), MSE(), 3)
    assert distance(0, 1) == distance(0, 2) == pytest.approx(0.25)


def test_a_schedule_equalises_the_distances():
    images = torch.rand(2, 3, 24, 24)
    distance = Distance.from_degradation(GaussianBlur(LinearSeverity(0.3, 20.0), 24), images, MSE(), 400)
    first, *_, last = greedy(distance, 400, 15)
    linear = [round(k * 399 / 16) for k in range(17)]
    assert last.max_distance < max(distance(i, j) for i, j in itertools.pairwise(linear)) / 3 < first.max_distance


def test_greedy_times_equalise_changes_of_a_trajectory():
    """u^3 changes fastest near 1, and greedy times are dense there."""
    u = torch.linspace(0, 1, 400)
    *_, last = greedy(Distance.from_trajectory((u**3).reshape(400, 1, 1, 1, 1), MSE()), 400, 7)
    changes = (u[list(last.indices)] ** 3).diff()
    assert len(last.indices) == 9 and changes.max() / changes.min() < 1.1


def test_the_table_interpolates_the_selected_severities():
    severity = tabulate([0, 1, 4, 10], 11, LinearSeverity(1.0, 3.0))
    assert severity.times == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert severity.values == pytest.approx([1.0, 1.2, 1.8, 3.0])
    assert (severity.times[-1], severity.values[0], severity.values[-1]) == (1, 1, 3)


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match=r"1 - SSIM needs at least 11 pixels a side, got .*image_size"):
        distance_of(torch.rand(1, 3, 8, 8), SSIM())(0, 1)


@needs_lpips
@needs_shared
def test_blur_of_photographs_is_scheduled_as_in_the_paper(torch_home):
    photos = composed("data=imagenet", f"data.root={SHARED}/data/imagenet-sample", "output=x.csv").split("train")
    images, blur = photos[len(photos) // 2]["x"][None], LinearSeverity(0.3, 3.0)
    distance = Distance.from_degradation(GaussianBlur(blur, 256), images, LPIPS("squeeze"), 250)
    *_, last = greedy(distance, 250, 15)
    severity = tabulate(last.indices, 250, blur)
    for t, std, tolerance in ((0.13, 0.52, 0.1), (0.5, 1.11, 0.25), (0.89, 2.35, 0.25)):
        assert severity(torch.tensor(t)).item() == pytest.approx(std, abs=tolerance), t


# the command


def composed(*overrides, key="data", name="schedule"):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return build(OmegaConf.select(compose(name, list(overrides)), key))


def test_a_task_can_use_the_table_of_the_command(tmp_path, capsys):
    assert run_here(tmp_path, "schedule", "task=inpaint", *TINY, "output=new/table.csv") == 0
    printed, errors = capsys.readouterr()
    assert "9 of 40 candidates by MSE of 3 images" in printed and errors == ""
    table = tmp_path / "new" / "table.csv"
    lines = table.read_text().splitlines()
    assert lines[0] == "t,value" and len(lines) == 12
    assert {path.name for path in table.parent.iterdir()} == {"table.csv", "table.png"}
    assert min(Image.open(table.with_suffix(".png")).size) > 300
    options = ["task=inpaint", "schedule=tabulated", f"schedule.severity.path={table}", "paths.output_dir=x"]
    severity = composed(*options, key="schedule.severity", name="train")
    assert isinstance(severity, TabulatedSeverity) and (severity.values[0], severity.values[-1]) == (0.1, 50.0)
    steps = [(value - 0.1) / 49.9 * 39 for value in severity.values]
    assert steps == pytest.approx([round(step) for step in steps], abs=1e-4)


def test_the_seed_determines_a_table(call, tmp_path):
    tables = []
    for number, seed in enumerate((0, 0, 1)):
        assert call("schedule", *TINY, f"output={number}.csv", f"seed={seed}") == (0, [])
        tables.append((tmp_path / f"{number}.csv").read_text())
    assert tables[0] == tables[1] != tables[2]
    refused(call("schedule", *TINY, "output=0.csv"), "0.csv: exists. Give another output, or if_exists=overwrite")
    assert call("schedule", *TINY, "output=0.csv", "if_exists=overwrite", "seed=1") == (0, [])
    assert (tmp_path / "0.csv").read_text() == tables[2]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["dissimilarity.net=resnet"], ["dissimilarity.*must be one of", "resnet"]),
        (["dissimilarity.net=vgg"], ["cannot be downloaded", "copy vgg16-397923af.pth into .*/checkpoints"]),
        ([*TINY, "budget=39"], [r"budget=39: must lie in \[1, candidates - 2\], with candidates=40"]),
        ([*TINY, "budget=0"], ["budget=0: must be an integer of at least 1"]),
        ([*TINY, "images=9", "data.crops_per_epoch=8"], ["images=9: must be at most 8, the number of training images"]),
        ([*TINY, "task.severity=[1,2,3]"], ["task=deblur: has no single severity to schedule"]),
    ],
)
def test_errors_are_one_line(call, tmp_path, without_weights, options, parts):
    refused(call("schedule", "output=table.csv", *options), *parts)
    assert not list(tmp_path.glob("table*"))
