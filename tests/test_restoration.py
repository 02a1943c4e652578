"""Restoration of files: isolated failures, masks and kernels, formats, and the table of results."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refused
from PIL import Image, ImageCms
from test_freeform import restorer as mask_restorer

from diracdiff.apps import Batch, RestoreOptions, SourceImage, prepare
from diracdiff.data.image_io import read_image, write_image
from diracdiff.data.inputs import RESTORED_CSV, find_inputs
from diracdiff.degradations import GaussianBlur, Identity, KernelBlur, LinearSeverity, MultiScaleSuperResolution
from diracdiff.degradations.super_resolution import downscale, upscale
from diracdiff.models import Denoiser, NCSNpp, OperatorPreconditioning
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler
from diracdiff.utils.files import read_rows

FAST = ["target=t:1", "device=cpu", "sigma=0.05"]


def blur_restorer():
    torch.manual_seed(0)
    process = StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 3.0), 16), GeometricNoise())
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0))
    for parameter in denoiser.parameters():  # including those initialised to zero
        torch.nn.init.normal_(parameter, 0, 0.05)
    return Restorer(process, denoiser, ReverseSampler(3), name="deblur")


@pytest.fixture
def blur(tmp_path):
    blur_restorer().save(tmp_path / "blur.ckpt")
    return ["checkpoint=blur.ckpt", *FAST]


@pytest.fixture
def masks_model(tmp_path):
    mask_restorer().save(tmp_path / "masks.ckpt")
    return ["checkpoint=masks.ckpt", *FAST]


@pytest.fixture
def kernels_model(tmp_path):
    torch.manual_seed(0)
    process = StochasticDegradation(KernelBlur(LinearSeverity(0.0, 1.0), 24), GeometricNoise(0.005, 0.02))
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1]))
    Restorer(process, denoiser, ReverseSampler(3), name="deblur_kernel").save(tmp_path / "kernels.ckpt")
    return ["checkpoint=kernels.ckpt", *FAST]


def factor_restorer():
    """Return a super-resolution restorer with an untrained network, which is the Wiener filter."""
    process = StochasticDegradation(
        MultiScaleSuperResolution(LinearSeverity(0.0, 1.0), 24), GeometricNoise(0.005, 0.02)
    )
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1]), "log_sigma", preconditioning=OperatorPreconditioning(3.0))
    return Restorer(process, denoiser, ReverseSampler(3), name="super_resolution_multiscale")


def noise_restorer():
    """Return a denoiser with an untrained network, which scales images towards grey by the noise level."""
    process = StochasticDegradation(Identity(image_size=24), GeometricNoise(0.005, 0.2))
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1]), "log_sigma", preconditioning="edm")
    return Restorer(process, denoiser, ReverseSampler(3), name="denoise")


def picture(path, seed=0, size=(24, 24), mode="RGB"):
    """Write a noise image in the format of the suffix."""
    path = Path(os.fsdecode(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*reversed(size), 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path)
    return path


def pixels(path):
    return np.asarray(Image.open(path))


def table(folder):
    numbers = ("nfe", "sigma", "chi_square", "residual_over_sigma")
    return read_rows(folder / RESTORED_CSV, dict.fromkeys(numbers, float))


# isolated failures


def test_unusable_files_are_named_and_others_are_restored(blur, tmp_path, call):
    photos = tmp_path / "photos"
    for name in ("a.png", "deep/b.jpg", "z.tif"):
        picture(photos / name)
    picture(photos / ("n" * 250 + ".jpg"))  # the name of the result is shortened
    picture(os.fsencode(photos) + b"/caf\xe9.png", 1)
    os.mkfifo(photos / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(photos / "socket.png"))
    (photos / "itself.png").symlink_to("itself.png")
    (photos / "none.png").write_bytes(b"")
    (photos / "loop").symlink_to(".")
    status, lines = call("restore", *blur, "input=photos", "output=out")
    assert status == 2 and lines[-1].startswith("error: 4 of 9 images not restored")
    paths = {line.split(": ")[1] for line in lines[:-1]}
    assert paths == {f"photos/{name}" for name in ("pipe.jpg", "socket.png", "itself.png", "none.png")}
    assert all(line.startswith("warning: photos/") and line.endswith(". Skipped.") for line in lines[:-1])
    out = os.fsencode(tmp_path / "out")
    names = {b"a.png", b"deep", b"z.tif", b"n" * 250 + b".png", b"caf\xe9.png", RESTORED_CSV.encode()}
    assert set(os.listdir(out)) == names and (tmp_path / "out" / "deep" / "b.png").is_file()


def test_changed_or_removed_files_do_not_stop_the_command(blur, tmp_path, call, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "photos" / name)

    def plan_then_change(*arguments):
        inputs = find_inputs(*arguments)
        picture(tmp_path / "photos" / "a.png", 5, (40, 28))  # another size than when the header was read
        (tmp_path / "photos" / "b.png").unlink()
        return inputs

    monkeypatch.setattr("diracdiff.data.inputs.find_inputs", plan_then_change)
    status, lines = call("restore", *blur, "input=photos", "output=out")
    assert status == 2 and len(lines) == 2 and "photos/b.png: does not exist" in lines[0]
    assert {row["result"] for row in table(tmp_path / "out")} == {"a.png", "c.png"}
    assert pixels(tmp_path / "out" / "a.png").shape == (28, 40, 3)


def test_an_exception_in_one_file_does_not_affect_others(blur, tmp_path, call, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "photos" / name)
    before = Batch.restore

    def defect(self):
        if any(image.name == "b.png" for image in self.images):
            raise ZeroDivisionError("of ours")
        return before(self)

    monkeypatch.setattr(Batch, "restore", defect)
    with pytest.raises(ZeroDivisionError, match="of ours"):
        call("restore", *blur, "input=photos", "output=out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "c.png", RESTORED_CSV}


# formats of results


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_grey_image_stays_grey_in_its_mode(blur, tmp_path, call, mode):
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8))
    (tmp_path / "photos").mkdir()
    grey.convert(mode).save(tmp_path / "photos" / "grey.png")
    options = ["input=photos", "output=out", "target=t:0.5", "samples=2", "sampler.eta=1"]
    assert call("restore", *blur, *options)[0] == 0
    for name in ("grey.png", "grey_mean.png"):
        result = Image.open(tmp_path / "out" / name)
        assert result.mode == mode
        assert mode == "L" or (np.ptp(np.asarray(result)[..., :3], axis=-1) == 0).all()
    (row,) = table(tmp_path / "out")
    assert row["chi_square"] / row["residual_over_sigma"] ** 2 == pytest.approx(24 * 24, rel=1e-3)  # counts one channel


def test_depth_transparency_and_profile_are_kept(blur, tmp_path, call):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "photos").mkdir()
    values = np.random.default_rng(0).integers(0, 65536, (24, 24, 3), dtype=np.uint16)
    attributes = {"alpha": np.full((24, 24), 30000, np.uint16), "icc": profile}
    write_image(tmp_path / "photos" / "deep.png", values, **attributes)
    write_image(tmp_path / "photos" / "deep.tif", values)
    assert call("restore", *blur, "input=photos", "output=auto") == (0, [])
    deep, tiff = (read_image(tmp_path / "auto" / name) for name in ("deep.png.png", "deep.tif.tif"))
    assert deep.info.bits == tiff.info.bits == 16 and len(np.unique(deep.pixels)) > 256
    assert (deep.alpha == 30000).all() and deep.icc == profile and tiff.alpha is None
    status, lines = call("restore", *blur, "input=photos", "output=jpg", "format=jpg")
    assert status == 2 and "deep.png: has transparency, which JPEG does not support. Use format=png" in lines[0]
    assert Image.open(tmp_path / "jpg" / "deep.tif.jpg").format == "JPEG"


def test_python_and_command_give_equal_results(blur, tmp_path, call):
    path = picture(tmp_path / "photo.png")
    assert call("restore", *blur, "input=photo.png", "output=out")[0] == 0
    batch = prepare(
        blur_restorer(), [SourceImage.from_decoded(read_image(path), "photo.png")], RestoreOptions(target="t:1")
    )
    restored = batch.restore()
    result = (255 * restored.samples[0, 0]).round().byte().permute(1, 2, 0)
    assert np.array_equal(result, pixels(tmp_path / "out" / "photo.png"))
    (row,) = table(tmp_path / "out")
    assert batch.test_consistency(0, restored.x_hat[0])["chi_square"] == pytest.approx(row["chi_square"], rel=1e-5)
    assert (row["image"], row["checkpoint"], row["target"]) == ("photo.png", "blur.ckpt", "t:1")


# masks and kernels


def box_mask(path, box):
    """Write a mask with a white box, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((24, 24), dtype=np.uint8)
    mask[box] = 255
    Image.fromarray(mask).save(path)
    return mask > 0


def test_masks_are_matched_by_relative_path(masks_model, tmp_path, call):
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    for name in ("a/x.jpg", "b/x.png", "c/x.png", "x.png", "two.png"):
        picture(photos / name)
    hidden = {
        "a/x": box_mask(masks / "a" / "x.png", np.s_[2:9, 2:9]),
        "b/x": box_mask(masks / "b" / "x.tif", np.s_[12:20, 4:9]),
        "x": box_mask(masks / "x.png", np.s_[1:4, 1:20]),
    }
    box_mask(masks / "two.png", np.s_[2:9, 2:9])
    box_mask(masks / "two.jpg", np.s_[2:9, 2:9])
    status, lines = call("restore", *masks_model, "input=photos", "mask=masks", "output=out")
    assert status == 2 and len(lines) == 3
    assert "warning: photos/c/x.png: mask=masks has no file for this image. Add masks/c/x.png. Skipped." in lines
    assert "warning: photos/two.png: mask=masks has 2 files for this image. Add masks/two.png. Skipped." in lines
    for name, mask in hidden.items():
        source = next(photos.glob(f"{name}.*"))
        changed = (read_image(source).pixels != pixels(tmp_path / "out" / f"{name}.png")).any(-1)
        assert not changed[~mask].any() and changed[mask].mean() > 0.9, name


def test_kernels_are_read_from_images_and_text(kernels_model, tmp_path, call):
    picture(tmp_path / "photo.png")
    alpha = np.zeros((5, 5), dtype=np.uint8)
    alpha[2] = [50, 100, 255, 100, 50]
    Image.fromarray(alpha).save(tmp_path / "black.png")
    Image.merge("LA", [Image.new("L", (5, 5), 255), Image.fromarray(alpha)]).save(tmp_path / "white.png")
    for name, kernel in (("black", "black.png"), ("white", "white.png"), ("text", "gaussian:1")):
        options = ["input=photo.png", f"kernel={kernel}", f"output={name}"]
        assert call("restore", *kernels_model, *options)[0] == 0
    black, white, text = (table(tmp_path / name)[0]["chi_square"] for name in ("black", "white", "text"))
    assert black == white != text and pixels(tmp_path / "text" / "photo.png").shape == (24, 24, 3)


def test_small_images_are_enlarged(tmp_path, call):
    """The coarse grid is kept, and missing frequencies get noise of the noise level of the model."""
    factor, small = 3, torch.rand(3, 40, 32)
    batch = prepare(factor_restorer(), [SourceImage("x", small)], RestoreOptions("t:1", factor=factor))
    assert torch.allclose(downscale(batch.y[0], factor), small, atol=1e-5)
    missing = batch.y[0] - upscale(small, factor)
    assert missing.square().mean().item() == pytest.approx(0.02**2 * (1 - 1 / factor**2), rel=0.05)
    factor_restorer().save(tmp_path / "factors.ckpt")
    picture(tmp_path / "photo.png", size=(20, 16), mode="RGBA")
    options = ["checkpoint=factors.ckpt", "input=photo.png", "factor=2", "target=t:1", "device=cpu"]
    assert call("restore", *options) == (0, [])
    assert pixels(tmp_path / "restored" / "photo.png").shape == (32, 40, 4)
    assert table(tmp_path / "restored")[0]["sigma"] == 0.01  # 0.02 on the fine grid


def test_p_values_of_an_enlarged_image_are_uniform_for_the_true_image():
    p_values = []
    for seed in range(60):
        torch.manual_seed(seed)
        x, restorer = torch.rand(1, 3, 32, 32), factor_restorer().bind(torch.tensor([[2.0]]))
        small = downscale(restorer.process.measure(x, torch.randn_like(x)), 2)[0]
        batch = prepare(factor_restorer(), [SourceImage("x", small)], RestoreOptions("t:1", factor=2))
        p_values.append(batch.test_consistency(0, x[0])["p_larger"])
    assert abs(np.mean(p_values) - 0.5) < 0.12 and np.std(p_values) == pytest.approx(12**-0.5, rel=0.25)


def test_a_denoiser_starts_at_the_noise_level_of_the_image(tmp_path, call):
    smooth = np.linspace(60, 200, 64)[:, None, None] + np.zeros((64, 64, 3))
    noise = np.random.default_rng(0).normal(size=smooth.shape)
    (tmp_path / "photos").mkdir()
    for name, level in (("a", 0.05), ("b", 0.1)):
        noisy = (smooth + 255 * level * noise).round().clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / "photos" / f"{name}.png")
    noise_restorer().save(tmp_path / "noise.ckpt")
    options = ["restore", "checkpoint=noise.ckpt", "input=photos", "target=t:1", "device=cpu"]
    assert call(*options) == (0, [])
    rows = {
        Path(row["image"]).stem: row
        for row in read_rows(tmp_path / "restored" / RESTORED_CSV, {"t": float, "sigma": float})
    }
    for name, level in (("a", 0.05), ("b", 0.1)):
        assert rows[name]["sigma"] == pytest.approx(level, rel=0.08) and rows[name]["sigma_from"] == "estimated"
        assert 0.005 * 40 ** rows[name]["t"] == pytest.approx(rows[name]["sigma"], rel=1e-3)
        shrunk = 0.5 + (pixels(tmp_path / "photos" / f"{name}.png") / 255 - 0.5) / (1 + rows[name]["sigma"] ** 2 * 16)
        assert np.abs(pixels(tmp_path / "restored" / f"{name}.png") / 255 - shrunk).max() < 0.003
    assert call(*options, "sigma=0.05", "output=given") == (0, [])
    rows_given = read_rows(tmp_path / "given" / RESTORED_CSV, {"t": float})
    assert [row["t"] for row in rows_given] == [pytest.approx(np.log(10) / np.log(40), abs=1e-4)] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("checkpoint=masks.ckpt", "mask: a model of task=inpaint_freeform needs one"),
        ("checkpoint=masks.ckpt kernel=disc:3", "kernel: a model of task=inpaint_freeform takes none"),
        ("checkpoint=masks.ckpt mask=no.png", "mask=no.png: does not exist"),
        ("checkpoint=kernels.ckpt", "kernel: a model of task=deblur_kernel needs one"),
        ("checkpoint=kernels.ckpt kernel=disc:20", "must be at most half of an image"),
        ("checkpoint=kernels.ckpt kernel=disc:1 sigma=2", "sigma=2: must be"),
        ("checkpoint=kernels.ckpt kernel=disc:1 format=bmp", "format=bmp: must be one of"),
        ("checkpoint=kernels.ckpt factor=2", "factor: a model of task=deblur_kernel takes none"),
        ("checkpoint=kernels.ckpt kernel=disc:1 factor=2", "mask, kernel and factor: must not be combined"),
        ("checkpoint=factors.ckpt", "factor: a model of task=super_resolution_multiscale needs one"),
        ("checkpoint=factors.ckpt factor=1", "factor=1: must be an integer from 2 to 8"),
        ("checkpoint=noise.ckpt sigma=0.3", "sigma=0.3: must be at most 0.2"),
        ("checkpoint=kernels.ckpt degrade=true samples=2", "samples=2: would all be the same"),
    ],
)
def test_invalid_input_is_refused_in_one_line(masks_model, kernels_model, tmp_path, call, options, message):
    picture(tmp_path / "photo.png")
    factor_restorer().save(tmp_path / "factors.ckpt")
    noise_restorer().save(tmp_path / "noise.ckpt")
    refused(
        call("restore", "input=photo.png", "output=out", "target=t:1", "sampler.eta=0", *options.split()),
        message,
    )


# samples, noise and the table


def test_samples_give_mean_bounds_and_uncertainty_map(blur, tmp_path, call):
    for i, name in enumerate(("a.png", "b.png")):
        picture(tmp_path / "photos" / name, i)
    options = ["input=photos", "output=out", "target=t:0.5", "samples=4", "sampler.eta=1"]
    assert call("restore", *blur, *options) == (0, [])
    low, mean, high = (pixels(tmp_path / "out" / f"a_{name}.png").astype(int) for name in ("low", "mean", "high"))
    assert (low <= mean).all() and (mean <= high).all() and (low < high).any()
    assert pixels(tmp_path / "out" / "a_uncertainty.png").shape == (24, 24, 3)
    rows = table(tmp_path / "out")
    assert [row["image"] for row in rows] == ["photos/a.png", "photos/b.png"]
    assert all(row["nfe"] == 4 * 2 and row["samples"] == "4" and float(row["std"]) > 0 for row in rows)


def test_the_noise_level_has_three_sources_and_the_path_seeds_the_noise(blur, tmp_path, call):
    for name in ("x.png", "a/x.png"):
        picture(tmp_path / "photos" / name)
    for sigma, source in (("null", "model"), ("0.07", "given"), ("auto", "estimated")):
        assert call("restore", *blur, "input=photos", f"sigma={sigma}", f"output={source}") == (0, [])
        assert {row["sigma_from"] for row in table(tmp_path / source)} == {source}
    assert {row["sigma"] for row in table(tmp_path / "given")} == {0.07}
    assert call("restore", *blur, "input=photos", "degrade=true", "output=out") == (0, [])
    assert call("restore", *blur, "input=photos/a/x.png", "degrade=true", "output=one") == (0, [])
    flat, deep = (pixels(tmp_path / "out" / f"{name}_measurement.png") for name in ("x", "a/x"))
    assert (flat != deep).any() and (flat == pixels(tmp_path / "one" / "x_measurement.png")).all()


def test_existing_results_are_kept_or_replaced_with_their_rows(blur, tmp_path, call):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for i, name in enumerate(("a.png", "b.png")):
        picture(photos / name, i)
    options = [*blur, "input=photos", "output=out"]
    assert call("restore", *options) == (0, [])
    refused(call("restore", *options), r"out/[ab].png: exists.*if_exists=overwrite")
    first, before = table(out), pixels(out / "a.png")
    (out / "b.png").unlink()
    picture(photos / "c.png", 5)
    assert call("restore", *options, "if_exists=skip", "target=t:0.5") == (0, [])
    rows = {row["result"]: row for row in table(out)}
    assert {name: row["target"] for name, row in rows.items()} == {"a.png": "t:1", "b.png": "t:0.5", "c.png": "t:0.5"}
    assert rows["a.png"] in first and (pixels(out / "a.png") == before).all()
    picture(photos / "d.png", 6)
    with open(out / RESTORED_CSV, "a") as file:
        file.write("photos/d.png,d")  # of a killed process
    assert call("restore", *options, "if_exists=skip") == (0, [])
    assert sorted(row["result"] for row in table(out)) == ["a.png", "b.png", "c.png", "d.png"]
    (tmp_path / "precious").write_text("text\n")
    (out / RESTORED_CSV).unlink()
    (out / RESTORED_CSV).symlink_to(tmp_path / "precious")
    assert call("restore", *options, "if_exists=overwrite", "target=t:0.5") == (0, [])
    assert len(table(out)) == 4 and (pixels(out / "a.png") != before).any()
    assert (tmp_path / "precious").read_text() == "text\n"
    (out / RESTORED_CSV).write_text("my,table\n1,2\n")
    refused(call("restore", *options, "if_exists=overwrite"), r"out/restored.csv, line 1: cannot be read")


def test_the_output_folder_is_not_an_input(blur, tmp_path, call):
    photos = tmp_path / "photos"
    for name in ("a.png", "b.png"):
        picture(photos / name)
    for _ in range(2):
        assert call("restore", *blur, "input=photos", "output=photos/one", "if_exists=overwrite") == (0, [])
    assert {path.name for path in (photos / "one").iterdir()} == {"a.png", "b.png", RESTORED_CSV}
    refused(call("restore", *blur, "input=photos", "output=photos"), "output=photos: is the input folder")
    inputs, _ = find_inputs(photos / "one", tmp_path / "other", [], "error")  # results of one model as input of another
    assert len(inputs) == 2
