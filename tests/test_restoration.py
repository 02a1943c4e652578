"""Restoration of files: each is isolated, matched with its mask or kernel, and logged by content."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import begin, clean_environment, command, refused
from PIL import Image
from test_export import restorer as blur_restorer
from test_freeform import restorer as mask_restorer

from diracdiff.data.image_io import read_image
from diracdiff.data.inputs import LOG, plan, read_log
from diracdiff.degradations import KernelBlur, LinearSeverity
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restoration import RestoreOptions, SourceImage, prepare
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler
from diracdiff.utils.files import append_line

FAST = ["target=t:1", "device=cpu", "sigma=0.05"]


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


def picture(path, seed=0, size=(24, 24), mode="RGB"):
    """Write an image of noise as PNG, or in the format of its suffix."""
    path = Path(os.fsdecode(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*reversed(size), 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def pixels(path):
    return np.asarray(Image.open(path))


# every file is isolated


def test_every_unusable_file_is_named_and_the_rest_is_restored(blur, tmp_path, call):
    photos = tmp_path / "photos"
    for name in ("a.png", "deep/b.jpg", "z.tif"):
        picture(photos / name)
    picture(photos / ("n" * 250 + ".jpg"))  # its result has an allowed name
    picture(photos / ("m" * 251 + ".tif"))
    os.rename(photos / ("m" * 251 + ".tif"), photos / ("m" * 250 + ".webp"))
    os.mkfifo(photos / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(photos / "socket.png"))
    (photos / "broken.png").symlink_to("nowhere.png")
    (photos / "itself.png").symlink_to("itself.png")
    (photos / "null.jpg").symlink_to("/dev/null")
    (photos / "none.png").write_bytes(b"")
    (photos / "loop").symlink_to(".")
    (photos / "deep" / "up").symlink_to("../..", target_is_directory=True)
    status, lines = call("restore", *blur, "input=photos", "output=out")
    assert status == 2 and lines[-1].startswith("error: 6 of 11 images not restored")
    named = {line.split(": ")[1] for line in lines[:-1]}
    bad = {"pipe.jpg", "socket.png", "broken.png", "itself.png", "null.jpg", "none.png"}
    assert {f"photos/{name}" for name in bad} < named and {"photos/loop", "photos/deep/up"} < named
    assert all(line.startswith("warning: photos/") and line.endswith(". Skipped.") for line in lines[:-1])
    results = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert results == {"a.png", "deep/b.png", "z.tif", "n" * 250 + ".png", "m" * 250 + ".tif", LOG}


def test_a_name_whose_result_is_too_long_is_named(blur, tmp_path, call):
    picture(tmp_path / "photos" / "a.png")
    picture(tmp_path / "photos" / ("é" * 125 + ".png"))
    asked = ["input=photos", "output=out", "degrade=true"]
    status, lines = call("restore", *blur, *asked)
    assert status == 2 and len(lines) == 2
    assert "the name of its result has more than 255 bytes. Shorten its name. Skipped." in lines[0]
    assert (tmp_path / "out" / "a_measurement.png").is_file()


def test_names_that_are_not_utf8_keep_their_bytes(blur, tmp_path, call):
    picture(os.fsencode(tmp_path / "photos") + b"/caf\xe9.png", 1)
    picture(os.fsencode(tmp_path / "photos") + b"/\xff\xfe.jpg", 2)
    arguments = ["input=photos", "output=out", "samples=2", "sampler.stochasticity=1"]
    assert call("restore", *blur, *arguments) == (0, [])
    names = {name for name in os.listdir(os.fsencode(tmp_path / "out")) if b"_" not in name}
    assert names == {b"caf\xe9.png", b"\xff\xfe.png", b"uncertainty.csv", LOG.encode()}
    assert call("restore", *blur, *arguments, "existing=skip") == (0, [])
    assert len(read_log(tmp_path / "out")) == 2


def test_a_file_that_changes_or_vanishes_ends_nothing(blur, tmp_path, call, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "photos" / name)

    def changed(*arguments):
        found = plan(*arguments)
        picture(tmp_path / "photos" / "a.png", 5, (40, 28))  # another size than its header had
        (tmp_path / "photos" / "b.png").unlink()
        return found

    monkeypatch.setattr("diracdiff.data.inputs.plan", changed)
    status, lines = call("restore", *blur, "input=photos", "output=out")
    assert status == 2 and len(lines) == 2 and "photos/b.png: the file does not exist" in lines[0]
    rows = {row["result"]: row for row in read_log(tmp_path / "out")}
    assert set(rows) == {"a.png", "c.png"} and pixels(tmp_path / "out" / "a.png").shape == (28, 40, 3)
    assert rows["a.png"]["sha256"] == read_image(tmp_path / "photos" / "a.png").sha256


def test_a_defect_in_one_file_ends_no_other_and_shows_its_traceback(blur, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "photos" / name)
    (tmp_path / "sitecustomize.py").write_text(
        "import builtins\n"
        "from diracdiff.restoration import service\n"
        "before = service.Batch.restore\n"
        "def restore(self):\n"
        "    if any(image.name == 'b.png' for image in self.images):\n"
        "        raise ZeroDivisionError('of ours')\n"
        "    return before(self)\n"
        "service.Batch.restore = restore\n"
    )
    done = command("restore", *blur, "input=photos", "output=out", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and "warning: photos/b.png: ZeroDivisionError: of ours. Skipped." in done.stderr
    assert "Traceback" in done.stderr and done.stderr.strip().endswith("ZeroDivisionError: of ours")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "c.png", LOG}


def test_exif_that_a_jpeg_cannot_hold_is_left_out_with_a_warning(blur, tmp_path, call):
    picture(tmp_path / "photos" / "b.png")
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    Image.open(tmp_path / "photos" / "b.png").save(tmp_path / "photos" / "a.png", exif=exif)
    status, lines = call("restore", *blur, "input=photos", "output=out", "format=jpg")
    assert status == 0 and len(lines) == 1 and "out/a.jpg: written without its EXIF of 70" in lines[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.jpg", "b.jpg", LOG}


def test_few_file_handles_are_enough(blur, tmp_path):
    for i in range(70):
        picture(tmp_path / "photos" / f"{i}.png", i)
    script = f'ulimit -n 64; exec "{sys.executable}" -m diracdiff restore "$@"'
    asked = ["bash", "-c", script, "restore", *blur, "input=photos", "output=out"]
    done = subprocess.run(asked, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(read_log(tmp_path / "out")) == 70


# grey


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_grey_image_comes_back_exactly_grey_in_the_channels_of_its_file(blur, tmp_path, call, mode):
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8))
    (tmp_path / "photos").mkdir()
    grey.convert(mode).save(tmp_path / "photos" / "grey.png")
    asked = ["input=photos", "output=out", "samples=2", "sampler.stochasticity=1"]
    assert call("restore", *blur, *asked)[0] == 0
    for name in ("grey.png", "grey_mean.png"):
        result = Image.open(tmp_path / "out" / name)
        assert result.mode == mode
        assert mode == "L" or (np.ptp(np.asarray(result)[..., :3], axis=-1) == 0).all()
    (row,) = read_log(tmp_path / "out")
    assert row["values"] == 24 * 24  # of one channel
    assert call("restore", *blur, "input=photos", "output=simulated", "degrade=true")[0] == 0
    assert mode == "RGBA" or Image.open(tmp_path / "simulated" / "grey_measurement.png").mode == "RGB"
    assert read_log(tmp_path / "simulated")[0]["values"] == 3 * 24 * 24


# masks and kernels


def hole(path, box, mode="L"):
    """Write a mask that is white in a box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((24, 24), dtype=np.uint8)
    mask[box] = 255
    Image.fromarray(mask).convert(mode).save(path)
    return mask > 0


def test_masks_are_matched_by_their_relative_paths(masks_model, tmp_path, call):
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    for name in ("a/x.jpg", "b/x.png", "c/x.png", "x.png", "two.png"):
        picture(photos / name)
    hidden = {
        "a/x": hole(masks / "a" / "x.png", np.s_[2:9, 2:9]),
        "b/x": hole(masks / "b" / "x.tif", np.s_[12:20, 4:9]),
        "x": hole(masks / "x.png", np.s_[1:4, 1:20]),
    }
    hole(masks / "two.png", np.s_[2:9, 2:9])
    hole(masks / "two.jpg", np.s_[2:9, 2:9])
    status, lines = call("restore", *masks_model, "input=photos", "mask=masks", "output=out")
    assert status == 2 and len(lines) == 3
    assert "warning: photos/c/x.png: mask=masks has no file for it. Give masks/c/x.png. Skipped." in lines
    assert "warning: photos/two.png: mask=masks has 2 files for it. Give masks/two.png. Skipped." in lines
    for name, mask in hidden.items():
        source = next(photos.glob(f"{name}.*"))
        changed = (read_image(source).pixels != pixels(tmp_path / "out" / f"{name}.png")).any(-1)
        assert not changed[~mask].any() and changed[mask].mean() > 0.9, name


def alpha_mask(path, colour, alpha):
    rgba = np.zeros((24, 24, 4), dtype=np.uint8)
    rgba[..., :3], rgba[..., 3] = colour, alpha
    Image.fromarray(rgba).save(path)


def test_a_layer_of_one_colour_marks_its_opaque_pixels(masks_model, tmp_path, call):
    source = picture(tmp_path / "photo.png")
    alpha = np.zeros((24, 24), dtype=np.uint8)
    alpha[4:12, 6:18] = 255
    colour = np.full((24, 24, 3), 255, dtype=np.uint8)
    colour[alpha > 0] = [232, 89, 12]  # a brush on a layer that Photoshop exports: transparent pixels are white
    for i, painted in enumerate((0, 255, colour)):
        alpha_mask(tmp_path / "mask.png", painted, alpha)
        asked = ["input=photo.png", "mask=mask.png", f"output=out{i}"]
        assert call("restore", *masks_model, *asked) == (0, [])
        changed = (pixels(source) != pixels(tmp_path / f"out{i}" / "photo.png")).any(-1)
        assert not changed[alpha == 0].any() and changed[alpha > 0].mean() > 0.9


def test_transparency_without_meaning_and_with_two_meanings(masks_model, tmp_path, call):
    source = picture(tmp_path / "photo.png")
    white = hole(tmp_path / "mask.png", np.s_[3:9, 3:20])
    alpha_mask(tmp_path / "mask.png", white[..., None] * np.uint8(255), 255)
    assert call("restore", *masks_model, "input=photo.png", "mask=mask.png", "output=opaque") == (0, [])
    changed = (pixels(source) != pixels(tmp_path / "opaque" / "photo.png")).any(-1)
    assert not changed[~white].any() and changed[white].mean() > 0.9
    alpha_mask(tmp_path / "mask.png", pixels(source), ~white * np.uint8(255))  # a photograph that was erased
    refused(
        call("restore", *masks_model, "input=photo.png", "mask=mask.png", "output=no"),
        "mask mask.png has several colours and is partly transparent: save it without transparency, white in",
    )


def test_a_white_kernel_on_transparent_ground_is_that_on_black(kernels_model, tmp_path, call):
    picture(tmp_path / "photo.png")
    alpha = np.zeros((5, 5), dtype=np.uint8)
    alpha[2] = [50, 100, 255, 100, 50]
    Image.fromarray(alpha).save(tmp_path / "black.png")
    Image.merge("LA", [Image.new("L", (5, 5), 255), Image.fromarray(alpha)]).save(tmp_path / "white.png")
    Image.fromarray(np.full((5, 5), 255, np.uint8)).save(tmp_path / "flat.png")
    for name in ("black", "white", "flat"):
        asked = ["input=photo.png", f"kernel={name}.png", f"output={name}"]
        assert call("restore", *kernels_model, *asked)[0] == 0
    black, white, flat = (read_log(tmp_path / name)[0]["chi_square"] for name in ("black", "white", "flat"))
    assert black == white != flat


def test_kernels_that_shift_are_named_once(kernels_model, tmp_path, call):
    for name in ("a", "b"):
        picture(tmp_path / "photos" / f"{name}.png")
        kernel = np.zeros((7, 7), dtype=np.uint8)
        kernel[3, 5] = kernel[4, 5] = 255
        (tmp_path / "kernels").mkdir(exist_ok=True)
        Image.fromarray(kernel).save(tmp_path / "kernels" / f"{name}.png")
    status, lines = call("restore", *kernels_model, "input=photos", "kernel=kernels", "output=out")
    assert status == 0 and len(lines) == 1
    assert "kernel kernels/a.png: its centre of mass lies +2.0 pixels right of its middle and +0.5 below it" in lines[0]


# noise


def test_two_images_of_one_name_have_their_own_noise(blur, tmp_path, call):
    for name in ("x.png", "a/x.png", "b/x.png"):
        picture(tmp_path / "photos" / name)
    asked = ["degrade=true", "output=out"]
    assert call("restore", *blur, "input=photos", *asked) == (0, [])
    assert call("restore", *blur, "input=photos/a/x.png", "degrade=true", "output=one") == (0, [])
    flat, a, b = (pixels(tmp_path / "out" / f"{name}_measurement.png") for name in ("x", "a/x", "b/x"))
    assert (flat != a).any() and (a != b).any()
    assert (flat == pixels(tmp_path / "one" / "x_measurement.png")).all()  # its name alone


# the log


def test_lines_name_model_settings_and_source(blur, tmp_path, call):
    picture(tmp_path / "photos" / "a" / "x.jpg")
    assert call("restore", *blur, "input=photos", "output=out")[0] == 0
    (row,) = read_log(tmp_path / "out")
    assert row["relative"] == "a/x.jpg" and row["result"] == "a/x.png"
    assert row["sha256"] == read_image(tmp_path / "photos" / "a" / "x.jpg").sha256
    other = blur_restorer()
    torch.nn.init.ones_(next(other.denoiser.parameters()))
    other.save(tmp_path / "blur.ckpt")
    assert call("restore", *blur, "input=photos", "output=other")[0] == 0
    (again,) = read_log(tmp_path / "other")
    assert again["model"] != row["model"] and again["model"].startswith("deblur-")
    assert again["settings"] == row["settings"]


def test_skip_keeps_only_results_of_this_model_these_settings_and_this_source(blur, tmp_path, call):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for i, name in enumerate(("a.png", "b.png", "c.png")):
        picture(photos / name, i)
    asked = [*blur, "input=photos", "output=out", "existing=skip"]
    assert call("restore", *asked) == (0, [])
    (out / "c.png").unlink()
    before = (out / "a.png").stat().st_mtime_ns
    assert call("restore", *asked) == (0, []) and (out / "c.png").is_file()
    assert (out / "a.png").stat().st_mtime_ns == before
    refused(call("restore", *asked, "target=t:0.5"), r"is of another restoration \(target=t:1, stop=.*existing=replace")
    picture(photos / "a.png", 9)
    picture(out / "d.png")
    picture(photos / "d.png")
    picture(photos / "e.png")
    status, lines = call("restore", *asked)
    assert status == 2 and len(lines) == 3 and (out / "e.png").is_file()
    assert "warning: photos/a.png: it has changed since out/a.png was made. Use existing=replace. Skipped." in lines
    assert any(
        line.startswith("warning: photos/d.png: out/d.png exists, and out/restored.jsonl does not") for line in lines
    )
    other = blur_restorer()
    torch.nn.init.ones_(next(other.denoiser.parameters()))
    other.save(tmp_path / "blur.ckpt")
    refused(call("restore", *asked), r"out/\w.png is of another restoration \(model deblur-\w{16}, this one is deblur-")
    assert call("restore", *asked, "existing=replace")[0] == 0


def test_four_processes_append_all_their_lines(tmp_path):
    code = (
        "import sys; from pathlib import Path; from diracdiff.utils.files import append_line\n"
        "for i in range(20): append_line(Path('log.jsonl'), {'of': sys.argv[1], 'i': i, 'text': 'x' * 20000})"
    )
    started = [begin("-c", code, str(process), cwd=tmp_path) for process in range(4)]
    assert [process.wait(120) for process in started] == [0] * 4
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 80 and len({(row["of"], row["i"]) for row in rows}) == 80


def test_commands_share_one_output_folder(blur, tmp_path):
    for part in ("one", "two"):
        for i in range(6):
            picture(tmp_path / part / f"{part}{i}.png", i)
    asked = ["-m", "diracdiff", "restore", *blur, "output=out"]
    started = [begin(*asked, f"input={part}", cwd=tmp_path) for part in ("one", "two")]
    assert [process.wait(200) for process in started] == [0, 0]
    assert len(read_log(tmp_path / "out")) == 12


def test_a_link_in_place_of_the_log_is_refused(blur, tmp_path, call):
    picture(tmp_path / "photos" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("text\n")
    (tmp_path / "out" / LOG).symlink_to(tmp_path / "precious")
    asked = [*blur, "input=photos", "output=out"]
    refused(call("restore", *asked), "out/restored.jsonl .*symbolic link.* remove it")
    refused(call("restore", *asked, "existing=skip"), "out/restored.jsonl .*symbolic link.* remove it")
    assert (tmp_path / "precious").read_text() == "text\n" and not (tmp_path / "out" / "a.png").exists()


DAMAGE = [
    b"3",
    b"null",
    b'"text"',
    b"[1, 2]",
    b"{}",
    b'{"path": 3, "files": 5}',
    b"\0\0\0",
    b"\xff\xfe",
    b"[" * 100_000,
]
DAMAGE += [b'{"image": "a", "path": "a\\u0000b", "result": "x", "files": ["x"]}', b'{"image": "a", "path": ']


def test_damaged_lines_are_counted_and_kept(blur, tmp_path, call):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "photos" / name)
    asked = [*blur, "input=photos", "output=out", "samples=2", "sampler.stochasticity=1"]
    assert call("restore", *asked) == (0, [])
    log = tmp_path / "out" / LOG
    log.write_bytes(log.read_bytes() + b"\n".join(DAMAGE))  # the last line has no end
    (tmp_path / "out" / "uncertainty.csv").write_bytes(b"image,std\n3\0,null\n,,,,,\n\xff")
    (tmp_path / "out" / "b_low.png").unlink()
    status, lines = call("restore", *asked, "existing=skip")
    assert status == 0, lines
    assert lines == [f"warning: out/restored.jsonl: {len(DAMAGE)} damaged lines are ignored, the first is line 3"]
    content = log.read_bytes()
    assert all(line in content for line in DAMAGE) and content.endswith(b"}\n")
    table = (tmp_path / "out" / "uncertainty.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["image", "photos/a.png", "photos/b.png"]
    (tmp_path / "photos" / LOG).write_bytes(b"\n".join(DAMAGE))  # among inputs, too
    assert call("restore", *blur, "input=photos", "output=again")[0] == 0


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    append_line(path, {"a": "ü"})
    with open(path, "a") as file:
        file.write('{"b": 1')
    append_line(path, {"c": "\udcff"})
    assert [json.loads(line) for line in path.read_text().splitlines()[::2]] == [{"a": "ü"}, {"c": "\udcff"}]


# decoded images


def test_decoded_images_are_restored_as_the_command_restores_them(blur, tmp_path, call):
    path = picture(tmp_path / "photo.png")
    assert call("restore", *blur, "input=photo.png", "output=out")[0] == 0
    image = SourceImage.of(read_image(path), "photo.png")
    result = prepare(blur_restorer(), [image], RestoreOptions(target="t=1")).restore()[0]
    assert np.array_equal(
        (255 * result.samples[0]).round().byte().permute(1, 2, 0), pixels(tmp_path / "out" / "photo.png")
    )
    (row,) = read_log(tmp_path / "out")
    assert result.test().certificate.chi_square == pytest.approx(row["chi_square"], rel=1e-5)
