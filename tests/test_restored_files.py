"""What a restored file keeps of its original, what is said of it, and which files of a folder are restored."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import refused, run_here
from PIL import ExifTags, Image, ImageCms

from diracdiff.data.image_io import read_image, write_image
from diracdiff.data.images import load_image
from diracdiff.data.inputs import LOG, plan
from diracdiff.evaluation.data_consistency import RULE
from diracdiff.restorer import Restorer
from diracdiff.utils.files import append_line, read_lines
from diracdiff.utils.image_files import save_image
from diracdiff.utils.pixels import from_pixels

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation=None):
    found = Image.Exif()
    found[ExifTags.Base.Make] = "Maker"
    found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01
    if orientation:
        found[ExifTags.Base.Orientation] = orientation
    return found.tobytes().removeprefix(b"Exif\0\0")


# which files


@pytest.fixture
def photos(tmp_path, measured_folder):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        shutil.copy(measured_folder / f"{i:02d}.png", folder)
    return folder


def test_results_of_earlier_commands_are_left_out(photos, tmp_path, run, capsys, call):
    asked = [f"checkpoint={run[1]}/best.ckpt", f"input={photos}", "target=t:1"]
    assert call("restore", *asked, f"output={photos}/one") == (0, [])
    assert call("restore", *asked, f"output={photos}/two") == (0, [])
    assert [path.name for path in sorted((photos / "two").iterdir())] == ["00.png", "01.png", "02.png", LOG]
    (photos / "one" / LOG).unlink()  # of an older version, say: the folder that is written to tells enough
    assert call("restore", *asked, f"output={photos}/one", "existing=replace") == (0, [])
    assert len(list(photos.rglob("*.png"))) == 9
    inputs, _ = plan(photos / "two", tmp_path / "other", [], "refuse")  # results of images that are elsewhere
    assert len(inputs) == 3
    capsys.readouterr()
    plan(photos, photos / "two", [], "replace")
    assert "left out: 00.png, 01.png, 02.png and 3 more, results of earlier commands" in capsys.readouterr().out


def test_results_beside_their_originals_are_left_out(photos):
    for i in range(3):
        Image.open(photos / f"0{i}.png").convert("RGB").save(photos / f"0{i}.jpg")
        (photos / f"0{i}.png").unlink()
    shutil.copy(photos / "00.jpg", photos / "01.png")  # a result
    original = str((photos / "01.jpg").absolute())
    append_line(photos / LOG, {"image": original, "path": original, "result": "01.png", "files": ["01.png"]})
    inputs, _ = plan(photos, photos, [], "replace")
    assert [i.path.name for i in inputs] == ["00.jpg", "01.jpg", "02.jpg"]
    assert inputs[1].targets["restored"] == photos / "01.png"


def test_files_that_are_not_restored_are_named(photos, capsys):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(photos / "moves.gif", save_all=True, append_images=frames[1:])
    frames[0].save(photos / "moves.webp", save_all=True, append_images=frames[1:])
    inputs, unreadable = plan(photos, photos.parent / "out", [], "refuse")
    assert len(inputs) == 4 and not unreadable
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("warning: not restored, ") and "moves.gif: give a GIF by itself" in first
    assert second == "warning: only the first frame is restored of moves.webp"
    plan(photos / "moves.gif", photos.parent / "out", [], "refuse")
    assert capsys.readouterr().err == "warning: only the first frame is restored of moves.gif\n"


# the command


def test_every_image_has_its_line(photos, run, tmp_path, call, capsys):
    asked = [f"checkpoint={run[1]}/best.ckpt", f"input={photos}", "target=t:0.5", "output=out", "residual_map=true"]
    assert call("restore", *asked) == (0, [])
    rows = read_lines(tmp_path / "out" / LOG)
    assert [row["image"] for row in rows] == [str(photos / f"0{i}.png") for i in range(3)]
    for i, row in enumerate(rows):
        assert row["result"] == f"0{i}.png" and row["files"] == [f"0{i}.png", f"0{i}_residual.png"]
        assert row["t"] == 0.5 and row["nfe"] == 3 and row["samples"] == 1 and row["seconds"] > 0
        assert (row["sigma"], row["sigma_from"]) == (0.05, "model") and row["sigma_estimated"] == pytest.approx(
            0.05, rel=0.2
        )
        assert row["values"] == 3 * 40 * 40 and row["hidden"] is True and row["lossy"] is False and row["rule"] == RULE
        assert row["residual_over_sigma"] == pytest.approx(math.sqrt(row["chi_square"] / row["values"]), rel=1e-4)
        assert row["consistent"] == (min(row["p_larger"], row["p_structure"]) >= 0.0125)
        assert Image.open(tmp_path / "out" / row["residual_map"]).size == (40, 40)
    assert call("restore", *asked, "existing=replace", "sigma=0.5") == (0, [])  # more than there is: consistent
    rows = read_lines(tmp_path / "out" / LOG)[3:]
    assert len(rows) == 3 and {row["sigma_from"] for row in rows} == {"given"}
    assert all(row["residual_over_sigma"] < 0.5 for row in rows)
    assert call("restore", *asked, "existing=replace", "sigma=auto")[0] == 0
    rows = read_lines(tmp_path / "out" / LOG)[6:]
    assert all(row["sigma_from"] == "estimated" and row["sigma"] == row["sigma_estimated"] for row in rows)


def test_what_is_consistent_is_said(photos, image_folder, run, tmp_path, capsys, monkeypatch):
    x = torch.stack([from_pixels(load_image(image_folder / f"0{i}.png")) for i in range(3)])
    truth = x.clone()
    truth[1] = 1 - truth[1]  # another image
    monkeypatch.setattr(Restorer, "samples", lambda self, y, *_, **__: truth[None])
    asked = [f"checkpoint={run[1]}/best.ckpt", f"input={photos}", "target=t:1"]
    assert run_here(tmp_path, "restore", *asked, "output=out") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("consistent with your measurement: 2 of 3 (not 01.png: residual ")


def test_the_form_of_results(photos, run, tmp_path, call):
    pixels = load_image(photos / "00.png").permute(1, 2, 0).numpy().astype(np.uint16) * 257
    for path in photos.iterdir():
        path.unlink()
    alpha = np.full((40, 40), 30000, np.uint16)
    write_image(photos / "deep.png", pixels, alpha=alpha, icc=PROFILE, exif=exif(3))
    write_image(photos / "deep.tif", pixels)
    asked = [f"checkpoint={run[1]}/best.ckpt", f"input={photos}", "target=t:1"]
    assert call("restore", *asked, "output=auto") == (0, [])
    assert call("restore", *asked, "output=eight", "depth=8", "format=png") == (0, [])
    deep, tiff = (read_image(tmp_path / "auto" / name) for name in ("deep.png.png", "deep.tif.tif"))
    shallow = read_image(tmp_path / "eight" / "deep.png.png")
    assert deep.info.bits == tiff.info.bits == 16 and shallow.info.bits == 8
    assert (deep.alpha == 30000).all() and deep.icc == PROFILE and b"Maker" in deep.exif and tiff.alpha is None
    assert np.abs(deep.pixels / 65535 - shallow.pixels / 255).max() < 0.01
    assert len(np.unique(deep.pixels)) > 256
    status, lines = call("restore", *asked, "output=jpg", "format=jpg")
    assert status == 2 and "deep.png: it is transparent, which a JPEG cannot be. Use format=png" in lines[0]
    assert Image.open(tmp_path / "jpg" / "deep.tif.jpg").format == "JPEG"
    assert json.loads((tmp_path / "jpg" / LOG).read_text())["result"] == "deep.tif.jpg"


def test_warnings_say_what_to_do(run, image_folder, measured_folder, tmp_path, call):
    asked = [f"checkpoint={run[1]}/best.ckpt", "target=t:1"]
    status, (line,) = call("restore", *asked, f"input={image_folder}", "output=intact")  # once for all 24
    assert status == 0 and "degrade=true if it is clean (named once: see hidden in intact/" in line
    assert {row["hidden"] for row in read_lines(tmp_path / "intact" / LOG)} == {False}
    x = from_pixels(load_image(measured_folder / "03.png"))
    save_image(tmp_path / "noisy.png", x + 0.1 * torch.randn(x.shape))
    status, (line,) = call("restore", *asked, "input=noisy.png", "output=noisy")
    assert "its noise is about 0.1" in line and "trained for 0.05: train with schedule.noise.sigma_max=0.1" in line
    assert call("restore", *asked, "input=noisy.png", "output=given", "sigma=0.11") == (0, [])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("sigma=much", r"sigma must be null \(the model's\), auto or a number above 0 and at most 1, got much"),
        ("sigma=2", "sigma must be .* a number above 0 and at most 1, got 2"),
        ("sigma=0", "sigma must be .* a number above 0 and at most 1, got 0"),
        ("format=bmp", "format must be one of auto, png, jpg, tiff, got bmp"),
        ("depth=12", "depth must be one of auto, 8, 16, in bits of a value, got 12"),
        ("format=jpg depth=16", "depth=16 is more than a JPEG holds: give format=png or tiff"),
        ("residual_map=1", "residual_map must be true or false, got 1"),
    ],
)
def test_mistakes(call, run, measured_folder, asked, said):
    refused(call("restore", f"checkpoint={run[1]}/best.ckpt", f"input={measured_folder}", *asked.split()), said)
