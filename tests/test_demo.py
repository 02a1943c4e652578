"""The demo: photographs that are bounded, walks that are kept, and the page in Chromium."""

import contextlib
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from conftest import begin, refused
from PIL import Image
from test_export import restorer
from test_freeform import restorer as of_holes

from diracdiff.degradations import KernelBlur, LinearSeverity
from diracdiff.degradations.kernels import told
from diracdiff.evaluation.data_consistency import evaluate_residuals, standardise
from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.restoration.service import cropped
from diracdiff.studio import photograph
from diracdiff.studio.studio import Studio
from diracdiff.studio.trajectory import sample_frames
from diracdiff.utils.errors import UserError
from diracdiff.utils.pixels import from_pixels, to_pixels
from diracdiff.utils.seeds import image_seed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FAITHFUL, GOOD = StoppingPoint(1.0, "mean"), StoppingPoint(0.0, "iterate")


def model(**stops):
    found = restorer()
    found.denoiser.eval()
    found.stops |= {"psnr": FAITHFUL, "swd": GOOD} | stops
    return found


def freeform():
    found = of_holes()
    found.stops |= {"psnr": FAITHFUL, "swd": GOOD}
    return found


def pixels_of(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


@pytest.fixture
def photo(tmp_path):
    columns, rows = np.meshgrid(np.arange(48), np.arange(40))
    pixels = np.stack([4 * columns, 5 * rows, 100 + 50 * ((rows // 8 + columns // 8) % 2)], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


# photographs


def test_a_photograph_keeps_its_pixels_unless_it_is_larger_than_asked_for(photo):
    whole, small = photograph.read(photo, 48), photograph.read(photo, 24)
    assert torch.equal(to_pixels(whole.image), pixels_of(photo))
    assert (whole.step, whole.shrunk, whole.lossy, whole.grey) == (1 / 255, False, False, False)
    assert small.image.shape == (3, 20, 24) and small.shrunk and small.step == 0 and small.size == (40, 48)
    mean = whole.image.unflatten(1, (20, 2)).unflatten(3, (24, 2)).mean((2, 4))
    assert (small.image - mean).abs().mean() < 0.02


def test_photographs_are_bounded_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    (tmp_path / "fat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40_000_001))
    (tmp_path / "no.png").write_text("words")
    Image.new("RGB", (8, 60)).save(tmp_path / "thin.png")
    reasons = {
        "huge": "huge.png: 9000x9000 pixels, more than 60000000",
        "fat": "fat.png: 40000009 bytes, more than 40000000",
        "no": "no.png: not an image of a supported format",
        "thin": "thin.png: 8x60 pixels here, needs 16 a side",
    }
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=f"^{reason}"):
            photograph.read(tmp_path / f"{name}.png", 48)


# walks


def test_the_frames_of_a_walk_are_what_its_stops_give():
    found, told = model(), []
    y = torch.rand(3, 16, 16)
    frames = sample_frames(found, y, "a", advance=told.append)
    assert [(frame.t, frame.output, frame.nfe) for frame in frames] == [
        (1.0, "mean", 1),
        (pytest.approx(2 / 3), "mean", 2),
        (pytest.approx(1 / 3), "mean", 3),
        (0.0, "iterate", 3),
    ]
    for frame, target in zip(frames, ("psnr", "t=0.66", "t=0.33", "swd"), strict=True):
        assert torch.equal(frame.pixels, to_pixels(found.restore(y[None], target, names=["a"])[0])), target
    assert told == sorted(told) and told[-1] == 1


@pytest.mark.parametrize(
    "stops, wanted",
    [
        ({"swd": StoppingPoint(0.4, "mean")}, [1.0, 2 / 3]),
        ({"psnr": StoppingPoint(0.66, "mean")}, [2 / 3, 1 / 3, 0.0]),
        ({"swd": FAITHFUL}, [1.0, 2 / 3, 1 / 3, 0.0]),
        ({"psnr": StoppingPoint(0.66, "mean"), "lpips": FAITHFUL, "swd": StoppingPoint(0.33, "mean")}, [2 / 3, 1 / 3]),
        ({"swd": None}, [1.0, 2 / 3, 1 / 3, 0.0]),
    ],
    ids=["good-looking before the end", "faithful after the start", "one stop", "LPIPS before", "no good-looking stop"],
)
def test_frames_lie_between_the_stops(stops, wanted):
    frames = sample_frames(model(**stops), torch.rand(3, 16, 16), "a")
    assert [frame.t for frame in frames] == pytest.approx(wanted)


def test_a_grey_photograph_stays_grey_and_is_certified_as_one_channel(photo, tmp_path):
    Image.open(photo).convert("L").save(tmp_path / "grey.png")
    studio = Studio({"a": model})
    restored = studio.restore("a", tmp_path / "grey.png", degrade=False, longest=48)
    assert all((frame.pixels == frame.pixels[:1]).all() for frame in restored.frames)
    assert restored.test(0).certificate.values == 40 * 48


# the studio


def test_a_photograph_that_is_degraded_first_is_compared_with_itself(photo):
    studio = Studio({"a": model})
    restored = studio.restore("a", photo, degrade=True, longest=48)
    found, clean = studio.restorer("a"), restored.photograph.image
    y = found.measure(clean[None], ["measurement/photo.png"]).y[0]
    assert torch.equal(restored.batch.y[0], y)
    image = from_pixels(restored.frames[1].pixels)
    psnr = -10 * (image - clean).square().mean().log10().item()
    told = studio.describe(restored, 1)
    assert told.startswith("Denoised image at t = 0.67, 2 network calls.") and f"PSNR {psnr:.2f} dB" in told
    sure = evaluate_residuals(standardise(y, found.process.mean(image[None], 1.0)[0], 0.05))
    assert f"is {sure.ratio:.3g} of its noise" in told
    assert told.count("Not consistent") == (not sure.consistent)


def test_another_stop_needs_no_network(photo, monkeypatch):
    studio = Studio({"a": model})
    restored = studio.restore("a", photo, degrade=True, longest=48)
    monkeypatch.setattr(studio.restorer("a").denoiser.network, "forward", lambda *_: pytest.fail("called"))
    assert len({studio.describe(restored, place) for place in range(4)}) == 4


def test_the_noise_of_a_file_is_the_model_s_given_or_estimated(photo):
    studio = Studio({"a": model})
    sigmas = [studio.restore("a", photo, False, 48, given).test(0).noise.sigma for given in (None, 0.07, "auto")]
    assert sigmas[:2] == [pytest.approx(0.05), 0.07] and sigmas[2] < 0.02
    assert "less than the 0.05" in " ".join(studio.restore("a", photo, False, 48).notes)


def test_notes_say_what_was_done_to_a_photograph(photo, tmp_path):
    Image.open(photo).save(tmp_path / "photo.jpg")
    studio = Studio({"a": lambda: model(swd=FAITHFUL)})
    notes = studio.restore("a", tmp_path / "photo.jpg", False, 24).notes
    assert any("Shrunk from 48 x 40 to 24 x 20 pixels" in note for note in notes)
    assert any("no perception-optimised stopping time" in note for note in notes)
    assert any("format is lossy" in note for note in notes)


def test_samples_differ_and_leave_the_model_as_it_was(photo):
    studio = Studio({"a": model})
    restored = studio.restore("a", photo, True, 48)
    before = studio.restorer("a").sampler
    heat, samples = studio.samples(restored, 3)
    assert heat.shape == (3, 40, 48) and heat.dtype == torch.uint8
    assert len(samples) == 3 and not torch.equal(samples[0], samples[1])
    assert studio.restorer("a").sampler is before


def test_a_painted_hole_is_filled_and_nothing_else_is_changed(photo):
    studio = Studio({"a": freeform})
    hole = torch.zeros(80, 96, dtype=torch.bool)
    hole[20:40, 30:60] = True
    restored = studio.restore("a", photo, degrade=True, longest=48, painted=hole)
    within, before = torch.zeros(40, 48, dtype=torch.bool), pixels_of(photo)
    within[10:20, 15:30] = True
    for picture in map(restored.picture, range(len(restored.frames))):
        assert torch.equal(picture[:, ~within], before[:, ~within])
        assert (picture != before)[:, within].float().mean() > 0.5
    assert "all other pixels are unchanged" in studio.describe(restored, 0)
    _, samples = studio.samples(restored, 2)
    assert torch.equal(samples[0][:, ~within], before[:, ~within]) and not torch.equal(*samples)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (232, 89, 12)])
def test_paint_of_any_colour_marks_the_region_to_fill(tmp_path, colour):
    pytest.importorskip("gradio", reason="needs Gradio: pip install 'diracdiff[demo]'")
    from diracdiff.studio.page import painted_region
    from diracdiff.studio.sessions import Session

    layer = np.zeros((40, 48, 4), np.uint8)
    layer[10:20, 10:30] = (*colour, 255)
    session = Session(tmp_path)
    Image.fromarray(layer).save(path := session.new_path("layer.png"))
    region = painted_region(session, {"layers": [{"path": session.add(path)}]})
    assert torch.equal(region, torch.from_numpy(layer[..., 3] > 0)) and region.sum() == 200


def test_a_grey_photograph_is_filled_with_grey(photo, tmp_path):
    Image.open(photo).convert("L").save(tmp_path / "grey.png")
    hole = torch.zeros(40, 48, dtype=torch.bool)
    hole[10:20, 10:20] = True
    restored = Studio({"a": freeform}).restore("a", tmp_path / "grey.png", degrade=True, longest=48, painted=hole)
    assert all((frame.pixels == frame.pixels[:1]).all() for frame in restored.frames)


def test_without_paint_a_clean_photograph_gets_a_hole_and_a_degraded_one_none(photo):
    studio, empty = Studio({"a": freeform}), torch.zeros(40, 48, dtype=torch.bool)
    restored = studio.restore("a", photo, True, 48, painted=empty)
    assert restored.batch.images[0].mask is None
    assert restored.batch.y[0][:, restored.batch.params[0, 0] > 0.5].abs().max() < 0.2
    assert "PSNR" in studio.describe(restored, 1) and len(studio.samples(restored, 2)[1]) == 2
    with pytest.raises(UserError, match="Paint the region to fill first"):
        studio.restore("a", photo, False, 48, painted=empty)
    with pytest.raises(UserError, match="covers the whole photograph"):
        studio.restore("a", photo, False, 48, painted=~empty)


def of_kernels():
    found = model()
    found.process.degradation = KernelBlur(LinearSeverity(0.0, 1.0), 16)
    return found


def test_a_blurred_photograph_is_restored_with_a_kernel_in_words(photo):
    studio, before = Studio({"a": of_kernels}), pixels_of(photo)
    restored = studio.restore("a", photo, False, 48, kernel="line:5:0")
    assert torch.equal(restored.measured, before) and restored.batch.margin > 0
    assert all(restored.picture(i).shape == before.shape for i in range(len(restored.frames)))
    assert "with the degraded photograph" in studio.describe(restored, 0)
    other = studio.restore("a", photo, False, 48, kernel="line:5:90")
    assert not torch.equal(restored.picture(-1), other.picture(-1))
    heat, samples = studio.samples(restored, 2)
    assert heat.shape == samples[0].shape == before.shape
    assert studio.restore("a", photo, True, 48, kernel="line:5:0").batch.params.shape == (1, 1, 25, 25)


def test_the_certificate_of_a_kernel_is_that_of_what_it_was_restored_with(photo):
    studio = Studio({"a": of_kernels})
    restored = studio.restore("a", photo, False, 48, kernel="gaussian:1")
    batch, kernel = restored.batch, told("gaussian:1")
    reach = len(kernel) // 2
    x_hat = from_pixels(restored.frames[0].pixels)[:, None]
    blurred = torch.nn.functional.conv2d(x_hat, kernel[None, None].to(x_hat))[:, 0]
    mean = cropped(blurred, batch.margin - reach)
    seed = image_seed(batch.restorer.seed, "certificate/photo.png")
    z = standardise(batch.measurement(0), mean, 0.05, 1 / 255, seed)
    found = restored.test(0).certificate
    assert found.ratio == pytest.approx(evaluate_residuals(z, 0.0).ratio, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [(None, "Choose what blurred"), ("disc", "a kernel in words is"), ("disc:20", "too large for an image of")],
)
def test_kernels_that_are_none_are_refused(photo, words, message):
    with pytest.raises(UserError, match=message):
        Studio({"a": of_kernels}).restore("a", photo, False, 48, kernel=words)


# the page


@contextlib.contextmanager
def serving(folder, made):
    """The command itself, with a model: its address."""
    pytest.importorskip("gradio", reason="needs Gradio: pip install 'diracdiff[demo]'")
    made.save(folder / "model.ckpt")
    words = ["-m", "diracdiff", "demo", "checkpoint=model.ckpt", "device=cpu", "browser=false"]
    kept = folder / "temporary"
    kept.mkdir()
    process = begin(*words, cwd=folder, TMPDIR=str(kept))
    address = process.stdout.readline().split()
    assert address and address[0].startswith("http://127.0.0.1:"), process.stderr.read()
    yield address[0]
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and said.strip() == "the page is closed" and errors == ""
    assert not [path for path in kept.iterdir() if not path.name.startswith("torchinductor")]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("demo"), model()) as address:
        yield address


@pytest.fixture
def page(served):
    with opened(served) as page:
        yield page


@contextlib.contextmanager
def opened(address):
    """The page in Chromium, with what it asked for and its faults."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'diracdiff[dev]'")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 950})
        page.asked, page.faults = [], []
        page.set_default_timeout(120_000)  # a busy machine starts Chromium and networks slowly
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.goto(address)
        page.get_by_text("Upload a photograph, and press Restore.").wait_for()
        yield page
        browser.close()


def test_two_browsers_get_their_own_results_of_the_same_file_name(served, photo, tmp_path):
    Image.open(photo).rotate(180).save(tmp_path / "turned.png")
    names = {"upright": photo, "turned": tmp_path / "turned.png"}
    with opened(served) as first:
        pages = {"upright": first, "turned": first.context.browser.new_context().new_page()}
        pages["turned"].set_default_timeout(120_000)
        pages["turned"].goto(served)
        for name, page in pages.items():
            content = names[name].read_bytes()
            page.set_input_files("input[type=file]", {"name": "image.png", "mimeType": "image/png", "buffer": content})
            page.get_by_role("button", name="Restore").click()
        got = {}
        for name, page in pages.items():
            page.get_by_text("PSNR").wait_for()
            with page.expect_download() as download:
                page.locator("button", has_text="Download").click()
            download.value.save_as(tmp_path / f"got_{name}.png")
            got[name] = pixels_of(tmp_path / f"got_{name}.png"), download.value.url
        own = Studio({"a": model})
        for name, (pixels, url) in got.items():
            path = tmp_path / name / "image.png"
            path.parent.mkdir()
            path.write_bytes(names[name].read_bytes())
            assert torch.equal(pixels, own.restore("a", path, True, 512).picture(0)), name
            stranger = pages["turned" if name == "upright" else "upright"]
            assert stranger.request.get(url).status == 403 and pages[name].request.get(url).status == 200


def restored_picture(page):
    """The picture right of the wipe."""
    return page.locator("img[src*='/file=']").last.get_attribute("src")


def test_a_photograph_is_restored_in_the_browser(page, photo, tmp_path):
    page.set_input_files("input[type=file]", str(photo))
    page.get_by_role("button", name="Restore").click()
    told = page.get_by_text(re.compile(r"Denoised image at t = 1\.00, 1 network call\. PSNR"))
    told.wait_for()
    before = restored_picture(page)
    dial = page.get_by_role("slider", name=re.compile("accurate ↔ sharp"))
    dial.focus()
    dial.press("End")
    page.get_by_text("Iterate at t = 0.00, 3 network calls.").wait_for()
    assert restored_picture(page) != before
    with page.expect_download() as download:
        page.locator("button", has_text="Download").click()
    download.value.save_as(tmp_path / "got.png")
    assert Image.open(tmp_path / "got.png").size == (48, 40)
    page.get_by_text("Uncertainty").click()
    page.get_by_role("button", name="Draw samples").click()
    page.get_by_text("Standard deviation of the samples").wait_for()
    assert page.faults == []
    assert [url for url in page.asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


def test_a_hole_is_painted_and_filled(photo, tmp_path):
    with serving(tmp_path, freeform()) as address, opened(address) as page:
        page.set_input_files("input[type=file]", str(photo))
        canvas = page.locator("canvas").first
        canvas.wait_for()
        page.get_by_label("It is degraded").click()
        page.get_by_role("button", name="Restore").click()
        page.get_by_text("Paint the region to fill first.").wait_for()
        page.wait_for_timeout(1000)  # until the editor has drawn the photograph
        box = canvas.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] + 12, middle[1] + 6, steps=4)
        page.mouse.up()
        page.get_by_role("button", name="Restore").click()
        page.get_by_text("The painted region is filled; all other pixels are unchanged.").wait_for()
        with page.expect_download() as download:
            page.locator("button", has_text="Download").click()
        download.value.save_as(tmp_path / "got.png")
        changed = (pixels_of(tmp_path / "got.png") != pixels_of(photo)).any(0)
        assert 0 < changed.sum() < 0.5 * changed.numel()
        assert page.faults == []


def test_the_page_says_what_is_no_photograph(page, tmp_path):
    (tmp_path / "no.png").write_text("words")
    page.get_by_role("button", name="Restore").click()
    page.get_by_text("Upload a photograph first.").wait_for()
    page.set_input_files("input[type=file]", str(tmp_path / "no.png"))
    page.get_by_role("button", name="Restore").click()
    page.get_by_text("no.png: not an image of a supported format").wait_for()


# the command


def test_the_command_refuses_what_it_cannot_serve(call):
    refused(call("demo", "checkpoint=none.ckpt"), "none.ckpt does not exist")
    refused(call("demo", "port=0"), "port must be an integer from 1 to 65535, got 0")
    refused(call("demo", "browser=maybe"), "browser must be true or false, got maybe")


def test_a_blur_is_told_and_undone(photo, tmp_path):
    with serving(tmp_path, of_kernels()) as address, opened(address) as page:
        page.set_input_files("input[type=file]", str(photo))
        page.wait_for_timeout(3000)  # the page shows the photograph: an event during an event may be lost by Gradio
        page.get_by_label("It is degraded").click()
        page.get_by_label("Blur").click()
        page.get_by_role("option", name="The camera moved").click()
        page.get_by_label("Its length, in pixels").first.wait_for()
        page.get_by_label("Its angle, in degrees").first.wait_for()
        page.get_by_role("button", name="Restore").click()
        page.get_by_text(re.compile("onsistent with the degraded photograph")).wait_for()
        with page.expect_download() as download:
            page.locator("button", has_text="Download").click()
        download.value.save_as(tmp_path / "got.png")
        assert Image.open(tmp_path / "got.png").size == (48, 40) and page.faults == []
