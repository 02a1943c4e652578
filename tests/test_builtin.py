"""Bundled models: recipes, training photographs and model files."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from diracdiff import load
from diracdiff.checkpoints.locations import BUILTIN, CARD, bundled_models, resolve_path, weights_file
from diracdiff.commands.build import build_restorer
from diracdiff.commands.overrides import CONF
from diracdiff.data import Photos
from diracdiff.degradations import FreeformInpainting, Identity, KernelBlur, MultiScaleSuperResolution
from diracdiff.degradations.super_resolution import downscale, upscale

DEGRADATIONS = {
    "denoise": Identity,
    "deblur": KernelBlur,
    "inpaint": FreeformInpainting,
    "super_resolution": MultiScaleSuperResolution,
}
LARGEST = 2_500_000
"""Bytes of the weights of a bundled model."""

make = pytest.importorskip("experiments.models.make")
measure = pytest.importorskip("experiments.models.measure")
photographs = pytest.importorskip("experiments.models.photographs")


def restorer_of(name):
    """Return an untrained restorer of a recipe."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build_restorer(compose("train", make.MODELS[name][1]))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_recipe_has_a_small_local_network_and_its_degradation(name):
    assert list(make.MODELS) == list(DEGRADATIONS) and make.LARGEST == LARGEST
    restorer = restorer_of(name)
    assert isinstance(restorer.process.degradation, DEGRADATIONS[name])
    assert restorer.denoiser.network.local
    assert 2 * sum(parameter.numel() for parameter in restorer.denoiser.parameters()) < LARGEST


@pytest.mark.parametrize("name", bundled_models())
def test_a_bundled_model_is_small_and_reduces_the_error(name):
    restorer, folder = load(name), resolve_path(name)
    degradation = restorer.process.degradation
    assert weights_file(name).stat().st_size <= LARGEST
    assert isinstance(degradation, DEGRADATIONS[name.removeprefix(BUILTIN)])
    assert "scikit-image" in (folder / CARD).read_text()
    x = Photos(64).split("test")[0]["x"][None]
    bound = restorer.bind_images(["x"], x)
    y = bound.measure(x, ["x"]).y
    errors = [(image - x).square().mean().item() for image in (y.clamp(0, 1), bound.restore(y, names=["x"]))]
    assert errors[1] < 0.8 * errors[0]


def test_only_photographs_of_the_list_are_collected(tmp_path, monkeypatch):
    rows = photographs.read_rows(photographs.LIST, {})
    assert {row["licence"] for row in rows} == {
        *("public domain", "no known copyright restrictions"),
        *("CC0 1.0", "CC BY 4.0"),
    }
    chosen = [row for row in rows if row["file"] in ("astronaut.png", "chelsea.png", "sunset_by_Aitzol_Berasategi.jpg")]
    monkeypatch.setattr(photographs, "read_rows", lambda path, types: chosen)
    wallpapers, flowers = tmp_path / "wallpapers", tmp_path / "flowers"
    for split in ("train", "val", "test"):
        (flowers / split).mkdir(parents=True)
        Image.new("RGB", (90, 70)).save(flowers / split / "1.jpg")
    wallpapers.mkdir()
    for name in ("sunset_by_Aitzol_Berasategi", "other"):
        Image.new("RGB", (640, 300)).save(wallpapers / f"{name}.jpg")
    credits = photographs.collect(tmp_path / "all", flowers, wallpapers)
    assert [line.partition(":")[0] for line in credits] == [
        *("scikit-image", "lomiri-wallpapers-16.04", "flower_photos of TensorFlow")
    ]
    assert "sunset_by_Aitzol_Berasategi (Aitzol Berasategi, CC BY 4.0)" in credits[1]
    files = {split: sorted(path.name for path in (tmp_path / "all" / split).iterdir()) for split in ("train", "val")}
    assert not any("other" in name for name in files["train"])
    assert sum("astronaut-512" in name for name in files["train"]) == 9  # 3 x 3 squares of 256, 128 apart
    assert sum("sunset" in name for name in files["train"]) == 3  # 546 x 256 pixels
    assert files["val"] == ["flowers-1.jpg", "scikit-image-chelsea-256-0-0.png"]
    again = photographs.collect(tmp_path / "all", None, None)
    assert len(again) == 1 and len(list((tmp_path / "all" / "train").iterdir())) == len(files["train"])


def test_bicubic_and_wiener_estimate_the_image_from_its_measurement():
    restorer = restorer_of("super_resolution")
    x = Photos(64).split("test")[0]["x"][None]
    problem = measure.enlarging(4)
    bound = measure.bound(restorer, problem, x, "x")
    y = bound.measure(x, ["x"]).y
    scores = {"measurement": measure.psnr(y, x)}
    scores |= {name: measure.psnr(m(bound, y, "x"), x) for name, m in (("b", measure.bicubic), ("w", measure.wiener))}
    assert scores["w"] > scores["b"] > scores["measurement"]
    assert torch.allclose(bound.process.mean(x, 1.0), upscale(downscale(bound.process.mean(x, 1.0), 4), 4), atol=1e-4)
    level = measure.bound(restorer_of("denoise"), measure.denoising(25 / 255, "sigma 25"), x, "x")
    noisy = level.measure(x, ["x"]).y
    assert (noisy - x).std().item() == pytest.approx(25 / 255, rel=0.03)
