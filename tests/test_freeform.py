"""Inpainting with per-image masks: the degradation, its training, and masks from files."""

import json

import numpy as np
import pytest
import torch
from conftest import BRIEF, SMALL, run_here
from PIL import Image

from diracdiff.degradations import FreeformInpainting, LinearSeverity
from diracdiff.models import Denoiser, NCSNpp, OperatorPreconditioning
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler
from diracdiff.utils.files import read_rows
from diracdiff.utils.seeds import image_seed

SIZE = 24


def degradation(size=SIZE):
    return FreeformInpainting(LinearSeverity(0.0, 1.0), size)


def restorer():
    torch.manual_seed(0)
    process = StochasticDegradation(degradation(), GeometricNoise(0.005, 0.02))
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1], images=2), preconditioning=OperatorPreconditioning())
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    return Restorer(process, denoiser.eval(), ReverseSampler(3, eta=0), name="inpaint_freeform")


def cross(size=SIZE):
    hidden = torch.zeros(2, size, size, dtype=torch.bool)
    hidden[0, 10:14, 3:20] = hidden[0, 3:20, 10:14] = True
    hidden[1, :5, :7] = True
    return hidden


# the degradation


def test_masks_hide_their_pixels_at_t_1():
    hidden, x = cross(), torch.rand(2, 3, SIZE, SIZE)
    operator = degradation().bind(degradation().signed_distance(hidden))
    assert torch.equal(operator(x, 0.0), x)
    assert torch.equal(operator(x, 1.0), x * ~hidden.unsqueeze(1))


def test_a_mask_grows_from_its_interior():
    operator, one = degradation().bind(degradation().signed_distance(cross())), torch.ones(2, 1, SIZE, SIZE)
    masks = torch.stack([operator(one, t) for t in torch.linspace(0, 1, 11)])
    assert (masks.diff(dim=0) <= 0).all()
    half = 1 - masks[5, 0, 0]
    assert half[11:13, 11:13].min() > 0.9 and half[10, 4:9].max() == 0 < half[11, 4:9].min()


def test_seeds_determine_random_masks_of_many_sizes():
    operator, like = degradation(64), torch.zeros(3, 3, 64, 64)
    sampled = operator.sample_params(range(400), like)
    assert sampled.shape == (400, 1, 64, 64)
    assert torch.equal(operator.sample_params([6], like)[0], sampled[6]) and not torch.equal(sampled[0], sampled[1])
    fractions = (sampled > 0).flatten(1).float().mean(1)
    assert fractions.min() > 0 and fractions.max() < 0.6
    assert (fractions < 0.05).float().mean() > 0.1 and (fractions > 0.2).float().mean() > 0.1


def test_binding_does_not_change_the_original():
    process, x = StochasticDegradation(degradation(), GeometricNoise()), torch.rand(1, 3, SIZE, SIZE)
    outside, masks = process.mean(x, 1.0), degradation().signed_distance(cross())
    first, second = process.bind(masks[:1]), process.bind(masks[1:])
    assert first.degradation.is_bound and not process.degradation.is_bound
    assert not torch.equal(first.mean(x, 1.0), second.mean(x, 1.0))
    assert torch.equal(process.mean(x, 1.0), outside) and torch.equal(process.bind_images([0], x).mean(x, 1.0), outside)
    assert first.bind_images([0], x) is first and torch.equal(first.bind(masks[1:]).mean(x, 1.0), second.mean(x, 1.0))


def test_invalid_masks_are_refused():
    operator = degradation()
    with pytest.raises(ValueError, match="mask 1: must hide some pixels and not all, hides 100%"):
        operator.signed_distance(torch.stack([cross()[0], torch.ones(SIZE, SIZE, dtype=torch.bool)]))
    with pytest.raises(ValueError, match="params: must have 1 or 3 entries for images of"):
        operator.bind(operator.signed_distance(cross()))(torch.rand(3, 3, SIZE, SIZE), 1.0)


# restorers


def test_a_batch_is_restored_as_single_images():
    model, hidden, y = restorer(), cross(), torch.rand(2, 3, SIZE, SIZE)
    masks = model.process.degradation.signed_distance(hidden)
    together = model.bind(masks).restore(y, "t=0", names=["a", "b"])
    for i, name in enumerate("ab"):
        alone = model.bind(masks[i : i + 1]).restore(y[i : i + 1], "t=0", names=[name])[0]
        assert torch.allclose(alone, together[i], atol=1e-5)


def test_a_mask_must_be_bound():
    with pytest.raises(ValueError, match="must be bound"):
        restorer().restore(torch.rand(1, 3, SIZE, SIZE), "t=0")


def test_names_determine_the_masks_of_measurements():
    model, x = restorer(), torch.rand(2, 3, SIZE, SIZE)
    y = model.measure(x, ["a", "b"]).y
    sampled = model.process.degradation.sample_params([image_seed(0, "a"), image_seed(0, "b")], x) > 0.5
    assert y[sampled.expand_as(y)].abs().max() < 6 * 0.02 and not torch.equal(sampled[0], sampled[1])


# commands


@pytest.fixture(scope="module")
def trained(tmp_path_factory, folder):
    cwd = tmp_path_factory.mktemp("freeform")
    options = [*folder, *SMALL, *BRIEF, "lpips=null", "hydra.run.dir=run"]
    assert run_here(cwd, "train", "task=inpaint_freeform", *options) == 0
    return cwd / "run" / "best.ckpt"


@pytest.fixture
def pictures(tmp_path, image_folder):
    """Two photographs and their masks."""
    for part in ("photos", "masks"):
        (tmp_path / part).mkdir()
    for i, name in enumerate(("00", "01")):
        image = Image.open(image_folder / f"{name}.png").convert("RGB")
        image.save(tmp_path / "photos" / f"{name}.png")
        hidden = np.zeros((image.height, image.width), dtype=np.uint8)
        hidden[5 + i : 15, 8:20] = 255
        Image.fromarray(hidden).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)


def test_only_the_masked_region_is_changed(trained, pictures, call):
    arguments = ["restore", f"checkpoint={trained}", "input=photos", "target=t:0"]
    assert call(*arguments, "mask=masks") == (0, [])
    for name in ("00", "01"):
        before, after = (pixels(pictures / folder / f"{name}.png") for folder in ("photos", "restored"))
        hidden = pixels(pictures / "masks" / f"{name}.png")[..., 0] > 0
        assert (before == after)[~hidden].all() and (before != after)[hidden].any()
        painted = before.astype(np.uint8)
        painted[hidden] = [255, 0, 0]
        Image.fromarray(painted).save(pictures / "photos" / f"{name}.png")
    assert call(*arguments, "mask=masks", "output=again") == (0, [])
    for name in ("00", "01"):  # the content of the masked region does not matter
        assert (pixels(pictures / "again" / f"{name}.png") == pixels(pictures / "restored" / f"{name}.png")).all()


def test_one_mask_can_be_used_for_all_images(trained, pictures, call):
    noisy = ["mask=masks/00.png", "target=t:0", "samples=2", "sampler.eta=1"]
    assert call("restore", f"checkpoint={trained}", "input=photos", *noisy)[0] == 0
    hidden = pixels(pictures / "masks" / "00.png")[..., 0] > 0
    spread = pixels(pictures / "restored" / "01_uncertainty.png")
    assert spread[hidden].mean() > spread[~hidden].mean()


def test_names_determine_the_masks_of_clean_images(trained, pictures, call):
    arguments = ["restore", f"checkpoint={trained}", "input=photos", "degrade=true", "target=t:0", "device=cpu"]
    assert call(*arguments) == (0, []) and call(*arguments, "batch_size=1", "output=alone") == (0, [])
    first, second = (pixels(pictures / "restored" / f"{name}_measurement.png") for name in ("00", "01"))
    assert ((first < 20).all(-1) != (second < 20).all(-1)).any()
    for name in ("00", "01"):
        a, b = (pixels(pictures / folder / f"{name}_measurement.png") for folder in ("restored", "alone"))
        assert (a == b).all()


def test_evaluations_and_comparisons_bind_every_mask(trained, folder, call, tmp_path):
    checkpoint = f"checkpoint={trained}"
    limits = ["data.test_images=3", "trainer=cpu", "lpips=null", "output=evaluated"]
    assert call("evaluate", checkpoint, *folder, *limits)[0] == 0
    measured = json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())["measurement"]["psnr"]
    methods = [
        "baseline=[measurement,admm_tv]",
        "baseline.admm_tv.method.num_steps=100",
        "dirac.search=null",
        "tune_for=psnr",
    ]
    sizes = ["tune_images=1", "test_images=3", "lpips=null", "device=cpu", "output=compared"]
    assert call("compare", checkpoint, *folder, *methods, *sizes)[0] == 0
    psnr: dict[str, list[float]] = {}
    for row in read_rows(tmp_path / "compared" / "images.csv"):
        psnr.setdefault(row["method"], []).append(float(row["psnr"]))
    means = {method: sum(values) / len(values) for method, values in psnr.items()}
    assert means["measurement"] == pytest.approx(measured, abs=1e-4)  # the same masks
    assert means["admm_tv"] > means["measurement"] + 3


def test_schedules_bind_every_mask(call, trained, image_folder, tmp_path):
    folder = ["data=folder", f"data.root={image_folder}", "data.val_fraction=0.125"]
    arguments = ["data.test_fraction=0.125", "dissimilarity=mse", "images=2", "candidates=5", "budget=2"]
    assert call("schedule", f"checkpoint={trained}", *folder, *arguments, "output=times.csv") == (0, [])
    assert len(read_rows(tmp_path / "times.csv")) == 4
