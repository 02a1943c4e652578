"""Pages of results as a reader uses them: in Chromium, with the mouse and the keyboard."""

import csv
import io
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from pages import EVIL, NAMES, ORIGIN, TIMES, page_of, walked
from PIL import Image
from test_recipe import restorer

from diracdiff.comparison.curve import Curve
from diracdiff.comparison.page import comparison_page
from diracdiff.comparison.runs import Run
from diracdiff.comparison.table import Table
from diracdiff.metrics import LPIPS, PSNR, SSIM, Missing
from diracdiff.metrics.metric import ImageMetric

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'diracdiff[dev]'")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def evaluation():
    found = walked(blends=(0.25, 0.75))
    found.samples = 4
    for (t, output), pictures in [(key, p) for key, p in found.gallery.items() if isinstance(key, tuple)]:
        found.uncertainty[t, output] = torch.full_like(pictures[:, 0], round(200 * t))
    return found


@pytest.fixture(scope="module")
def walk(evaluation, tmp_path_factory):
    path = tmp_path_factory.mktemp("walk") / "report.html"
    path.write_bytes(page_of(evaluation, restorer()))
    return path


class Lower(ImageMetric):
    """A distance."""

    name, title, target, abbreviation, higher_is_better = "lpips_squeeze", "LPIPS", "lpips", "PO", False

    def measure(self, images, reference):
        raise AssertionError


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    metrics = [PSNR(), SSIM(), Lower()]
    methods = ["measurement", EVIL, "dirac_do", "dirac_po"]
    table = Table({"sigma": 0.05}, metrics)
    for i, method in enumerate(methods):
        stop = "mean t=0.25" if method == "dirac_do" else ""
        rows = [
            {"name": name, "stop": stop, "calls": i, "seconds": 0.1, "psnr": 20.0 + i + j, "ssim": 0.5 + 0.1 * i}
            | {"lpips_squeeze": 0.4 - 0.1 * i}
            for j, name in enumerate(NAMES)
        ]
        table.add(method, None, {"steps": 4 * i}, stop, Run(rows, {}, {}, None), 0)
    images = {name: torch.full((2, 3, 16, 16), 20 * i, dtype=torch.uint8) for i, name in enumerate(["clean", *methods])}
    dial = {"dial": "blend", "value": 0.5, **table.rows[2], "method": "dirac blend=0.5"}
    images["dirac blend=0.5"] = torch.full((2, 3, 16, 16), 222, dtype=torch.uint8)
    stops = {f"mean t={t}": t for t in (1, 0.5, 0.25, 0)}
    values = {"ssim": 0.5, "lpips_squeeze": 0.2}
    curve = Curve(
        {"steps": 8},
        [{"stop": stop, "psnr": 21 + t, "ssim": 0.5, "lpips_squeeze": t / 4} for stop, t in stops.items()],
        {stop: torch.full((2, 3, 16, 16), round(100 + 80 * t), dtype=torch.uint8) for stop, t in stops.items()},
        {
            stop: [{"name": name, "psnr": 30.0 + t + i} | values for i, name in enumerate(NAMES)]
            for stop, t in stops.items()
        },
    )
    path = tmp_path_factory.mktemp("compared") / "report.html"
    path.write_bytes(comparison_page(table, "deblur, 3 images", [curve], [dial], images, NAMES, 0, "CPU", ORIGIN))
    return path


@pytest.fixture
def opened(browser):
    """Open a page; at the end nothing may have been said on the console, and nothing asked of the network."""
    contexts, said, asked = [], [], []

    def open_page(path, viewport=DESKTOP, **options):
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_function("document.getElementById('after').naturalWidth > 0")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"} and len(
        [u for u in asked if u[:5] == "file:"]
    ) == len(contexts)


def shown(page):
    """The words beside the picture, the picture itself, and the time."""
    return page.inner_text("#after-name"), page.get_attribute("#after", "src"), page.inner_text("#t-now")


def changed(page, before):
    page.wait_for_function("src => document.getElementById('after').src !== src", arg=before[1])
    return shown(page)


def pixel(page, selector, x, y):
    """Colour of a picture at a place, in shares of its sides."""
    return page.evaluate(
        """async ([selector, x, y]) => {
            const image = document.querySelector(selector);
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return [...canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data];
        }""",
        [selector, x, y],
    )


# the walk


def test_keys_move_through_time_and_the_picture_changes(opened, walk):
    page = opened(walk)
    before = shown(page)
    assert before[0] == "x̂ at t = 0.75" and before[2] == "0.75"
    place = page.get_attribute(".cursor >> nth=0", "x1")
    page.keyboard.press("ArrowRight")
    after = changed(page, before)
    assert after[0] == "x̂ at t = 0.50" and after[2] == "0.50" and page.get_attribute(".cursor >> nth=0", "x1") != place
    page.focus("#t")
    page.keyboard.press("ArrowRight")
    assert changed(page, after)[2] == "0.25"
    page.keyboard.press("Home")
    assert shown(page)[2] == "1.00"
    page.keyboard.press("End")
    page.wait_for_function("document.getElementById('after-name').textContent === 'iterate at t = 0.00'")
    assert page.get_attribute("[data-pane=mean]", "disabled") is not None


def test_dragging_the_slider_and_the_curve(opened, walk):
    page = opened(walk)
    box = page.locator("#t").bounding_box()
    before = shown(page)
    page.mouse.move(box["x"] + 0.27 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    after = changed(page, before)
    assert after[2] == "0.25" and "t = 0.25, PSNR" in page.get_attribute("#t", "aria-valuetext")
    chart = page.locator("[data-metric=ssim] svg").bounding_box()
    page.mouse.click(chart["x"] + 0.15 * chart["width"], chart["y"] + chart["height"] / 2)
    assert changed(page, after)[2] == "1.00"


def test_stops_are_jumped_to(opened, walk):
    page = opened(walk)
    assert page.get_attribute("[data-stop=DO]", "aria-pressed") == "true"
    page.click("[data-stop=SWD]")
    page.wait_for_function("document.getElementById('after-name').textContent === 'iterate at t = 0.25'")
    assert page.get_attribute("[data-stop=SWD]", "aria-pressed") == "true"
    assert page.get_attribute("[data-stop=DO]", "aria-pressed") == "false"
    assert page.inner_text("#table tr.now th") == "best SWD"
    before = shown(page)
    page.keyboard.press("1")
    assert changed(page, before)[0] == "iterate at t = 1.00"
    page.keyboard.press("3")
    page.wait_for_function("document.getElementById('after-name').textContent === 'x̂ at t = 0.75'")


def test_maps_of_error_and_uncertainty(opened, walk):
    page = opened(walk)
    page.keyboard.press("e")
    page.wait_for_function("document.getElementById('after-name').textContent.startsWith('|error| of x̂')")
    assert pixel(page, "#after", 0.25, 0.5)[:3] == [6, 5, 20]  # x_hat is the clean image there
    right = [sum(pixel(page, "#after", x, y)[:3]) for x in (0.6, 0.8) for y in (0.2, 0.5, 0.8)]
    assert max(right) > 100
    page.keyboard.press("u")
    page.wait_for_function("document.getElementById('after-name').textContent.startsWith('uncertainty')")
    bright = sum(pixel(page, "#after", 0.5, 0.5)[:3])
    page.keyboard.press("End")
    page.wait_for_function("document.getElementById('after-name').textContent.includes('t = 0.00')")
    assert pixel(page, "#after", 0.5, 0.5)[:3] == [6, 5, 20] and bright > 200


def test_panes_and_images_and_blends(opened, walk):
    page = opened(walk)
    before = shown(page)
    page.keyboard.press("i")
    after = changed(page, before)
    assert after[0] == "iterate at t = 0.75" and after[2] == "0.75"
    page.keyboard.press("n")
    other = changed(page, after)
    assert (
        other[0] == after[0] and NAMES[1] in page.get_attribute("#after", "alt") and NAMES[1] in page.inner_text("#own")
    )
    page.click("[data-pane=clean]")
    clean = changed(page, other)
    assert clean[0] == "clean image"
    page.focus("#share")
    page.keyboard.press("ArrowRight")
    assert changed(page, clean)[0] == "blend 0.75" and page.inner_text("#share-now") == "0.75"
    assert page.locator(".dot.blend.now").count() == 3


def test_the_wipe_is_dragged_and_takes_keys(opened, walk):
    page = opened(walk)
    assert page.get_attribute("#before", "alt").startswith("measurement of ")
    cut = "getComputedStyle(document.getElementById('before')).clipPath"
    before, frame = page.evaluate(cut), page.locator("#cut").bounding_box()
    page.mouse.move(frame["x"] + 0.5 * frame["width"], frame["y"] + 30)
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.8 * frame["width"], frame["y"] + 30, steps=4)
    page.mouse.up()
    dragged = page.evaluate(cut)
    assert dragged != before and 70 < int(page.input_value("#cut")) < 90
    time = shown(page)[2]
    page.keyboard.press("w")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(cut) != dragged and shown(page)[2] == time


def test_figures_are_those_of_the_evaluation_at_every_time(opened, walk, evaluation):
    page = opened(walk)
    page.keyboard.press("Home")
    for t in TIMES[:-1]:
        (row,) = [row for row in evaluation.curve if (row["t"], row["output"]) == (t, "mean")]
        assert page.inner_text("[data-metric=psnr] .value") == f"{row['psnr']:.2f} dB"
        assert page.inner_text("[data-metric=swd] .value") == f"{row['swd']:.1f}"
        assert page.inner_text("#t-now") == f"{t:.2f}" and f"{row['nfe']} network call" in page.inner_text("#cost")
        page.keyboard.press("ArrowRight")
    assert "higher is better" in page.inner_text("[data-metric=psnr]") and "lower is better" in page.inner_text(
        "[data-metric=swd]"
    )


def test_names_are_text(opened, walk):
    page = opened(walk)
    assert page.title() == "restoration: diracdiff evaluation" and page.locator("script").count() == 2
    assert EVIL in page.inner_text("#own") and EVIL in page.inner_text("#command")


def test_the_policy_forbids_the_network_and_other_scripts(browser, walk):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page, where = browser.new_page(), f"http://127.0.0.1:{server.server_port}"
    page.goto(walk.as_uri())
    tried = """async (where) => {
        const image = Object.assign(new Image(), { src: `${where}/a.png` });
        await new Promise((done) => { image.onload = image.onerror = done; });
        document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = 1" }));
        return [window.ran || "did not run", await fetch(where).then(() => "went", (error) => error.name)];
    }"""
    assert page.evaluate(tried, where) == ["did not run", "TypeError"] and asked == []
    page.close()
    server.shutdown()


# both pages


@pytest.mark.parametrize("kind", ["walk", "compared"])
def test_a_phone_does_not_scroll_sideways(opened, request, kind):
    page = opened(request.getfixturevalue(kind), PHONE, is_mobile=True, has_touch=True)
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    box = page.locator(".frame").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390


@pytest.mark.parametrize("kind", ["walk", "compared"])
def test_dark_mode_follows_the_system_and_the_button(opened, request, kind):
    paper = "getComputedStyle(document.body).backgroundColor"
    path = request.getfixturevalue(kind)
    light, dark = opened(path, color_scheme="light"), opened(path, color_scheme="dark")
    colours = [page.evaluate(paper) for page in (light, dark)]
    assert (
        sum(map(int, re.findall(r"\d+", colours[0])[:3]))
        > 600
        > 200
        > sum(map(int, re.findall(r"\d+", colours[1])[:3]))
    )
    light.click("#theme")
    dark.keyboard.press("d")
    assert [page.evaluate(paper) for page in (light, dark)] == colours[::-1]
    assert light.inner_text("#theme") == "Light" and light.get_attribute("#theme", "aria-pressed") == "true"


@pytest.mark.parametrize("kind", ["walk", "compared"])
def test_what_can_be_used_has_a_name(opened, request, kind):
    page = opened(request.getfixturevalue(kind))
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, img, svg[role=img], [role=group]")].filter((e) =>
            !e.closest("[hidden]") && !(e.getAttribute("aria-label") || e.labels?.length || e.alt
            || (e.tagName === "BUTTON" && (e.textContent.trim() || e.querySelector("img[alt]:not([alt=''])"))))
        ).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == [] and page.locator("h1").count() == 1 and page.get_attribute("html", "lang") == "en"
    assert page.locator("th:not([scope])").count() == 0


# comparisons


def test_the_table_is_sorted_best_first(opened, compared):
    page = opened(compared)
    names = "[...document.querySelectorAll('#table tbody tr')].map((row) => row.dataset.method)"
    assert page.evaluate(names) == ["measurement", EVIL, "dirac_do", "dirac_po"]
    for heading, first in (("PSNR", "dirac_po"), ("PSNR", "measurement"), ("LPIPS", "dirac_po")):
        page.click(f"#table thead button:has-text('{heading}')")
        assert page.evaluate(names)[0] == first
    assert page.locator("#table th[aria-sort=ascending]").inner_text().startswith("LPIPS")
    assert page.locator("td.best").all_inner_texts() == [
        "24.00\n–",  # too few images for an interval
        "0.8000\n–",
        "0.1000\n–",
    ]


def test_pictures_of_the_methods_side_by_side(opened, compared):
    page = opened(compared)
    assert [page.input_value("#left"), page.input_value("#right")] == ["measurement", "dirac_do"]
    assert pixel(page, "#after", 0.5, 0.5)[:3] == [60] * 3 and pixel(page, "#before", 0.5, 0.5)[:3] == [20] * 3
    page.click("#every [data-method='dirac blend=0.5']")
    assert pixel(page, "#after", 0.5, 0.5)[:3] == [222] * 3 and page.input_value("#right") == "dirac blend=0.5"
    page.keyboard.press("2")
    assert (
        page.inner_text("#after-name") == "dirac_do"
        and page.locator("#table tr.now").get_attribute("data-method") == "dirac_do"
    )
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#after-name") == "dirac_po"
    page.select_option("#left", "clean")
    assert pixel(page, "#before", 0.5, 0.5)[:3] == [0] * 3
    page.keyboard.press("n")
    assert NAMES[1] in page.inner_text("#own") and "PSNR 24.00 dB" in page.inner_text("#own")


def test_the_plane_has_every_row_and_dial_and_the_curve(opened, compared):
    page = opened(compared)
    points = page.evaluate("[...document.querySelectorAll('#plane .point')].map((point) => point.dataset.method)")
    assert points == [EVIL, "dirac_do", "dirac_po", "dirac blend=0.5"]
    assert page.locator("#plane path.mean").count() == 1 and page.locator("#plane .dot.mean").count() == 4
    where = (
        "[...document.querySelectorAll('#plane .point circle')].map((c) => [c.cx.baseVal.value, c.cy.baseVal.value])"
    )
    before = page.evaluate(where)
    assert before[0][0] < before[1][0] < before[2][0] and before[0][1] < before[1][1] < before[2][1]  # PSNR, LPIPS
    page.select_option("#up", "ssim")
    assert page.evaluate(where)[0][1] > page.evaluate(where)[2][1]
    page.locator("#plane [data-method=dirac_po] circle").click()
    assert page.inner_text("#after-name") == "dirac_po"


def test_dragging_dirac_s_time_in_a_comparison(opened, compared):
    page = opened(compared)
    assert page.locator("#plane .dot.now").count() == 0
    page.locator("#t").scroll_into_view_if_needed()
    slider = page.locator("#t").bounding_box()
    page.mouse.move(slider["x"] + 11, slider["y"] + slider["height"] / 2)
    page.mouse.down()
    page.mouse.move(slider["x"] + slider["width"] - 11, slider["y"] + slider["height"] / 2, steps=8)
    page.mouse.up()
    assert page.inner_text("#t-now") == "0.00" and page.inner_text("#after-name") == "x̂ at t = 0.00"
    assert (
        pixel(page, "#after", 0.5, 0.5)[:3] == [100] * 3 and page.input_value("#right") == "Dirac over t_stop (steps 8)"
    )
    assert "PSNR 30.00 dB" in page.inner_text("#own")
    page.locator("body").press(",")
    assert page.inner_text("#t-now") == "0.25" and pixel(page, "#after", 0.5, 0.5)[:3] == [120] * 3
    assert page.locator("#stops [aria-pressed=true]").inner_text() == "dirac_do"
    at = "[c.cx.baseVal.value, c.cy.baseVal.value]"
    cursor, dots = (
        page.evaluate(f"[...document.querySelectorAll('{found}')].map((c) => {at})")
        for found in ("#plane .dot.now", "#plane .dot.mean")
    )
    assert cursor == [dots[2]]
    page.click("#every [data-method=dirac_po]")
    assert page.inner_text("#after-name") == "dirac_po" and page.locator("#plane .dot.now").count() == 0
    page.click("#stops button")
    assert page.inner_text("#after-name") == "x̂ at t = 0.25"
    page.keyboard.press("n")
    assert NAMES[1] in page.inner_text("#own") and "PSNR 31.25 dB" in page.inner_text("#own")
    page.locator("#plane .dot.mean").first.click()
    assert page.inner_text("#t-now") == "1.00" and pixel(page, "#after", 0.5, 0.5)[:3] == [180] * 3


# what commands write


def test_a_training_s_page_shows_its_summary(opened, run):
    page = opened(run[1] / "report.html")
    summary = json.loads((run[1] / "summary.json").read_text())
    cells = page.locator("#table tbody tr >> nth=1").locator("td").all_inner_texts()
    assert cells[4].split("\n")[0] == f"{summary['one_shot']['psnr']:.2f}"
    page.keyboard.press("1")
    assert page.inner_text("[data-metric=psnr] .value") == f"{summary['measurement']['psnr']:.2f} dB"


def test_an_evaluation_s_page_agrees_with_its_curve(opened, run, folder, tmp_path, call):
    asked = [
        f"checkpoint={run[1]}/best.ckpt",
        *folder[:2],
        *folder[3:],
        "loader.test_images=3",
        "trainer=cpu",
        "lpips=null",
    ]
    assert call("evaluate", *asked) == (0, [])
    page = opened(tmp_path / "evaluation/report.html")
    with open(tmp_path / "evaluation/curve.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["output"] == "iterate"]
    page.keyboard.press("i")
    page.keyboard.press("Home")
    for row in rows:
        assert page.inner_text("[data-metric=psnr] .value") == f"{float(row['psnr']):.2f} dB"
        assert page.inner_text("[data-metric=consistency] .value") == f"{float(row['consistency']):.2f}"
        page.keyboard.press("ArrowRight")


def test_a_comparison_s_page_is_written(opened, run, folder, tmp_path, call):
    few = ["tune_images=2", "test_images=2", "device=cpu", "lpips=null", "tune_for=psnr", "dirac.search=null"]
    asked = [f"checkpoint={run[1]}/best.ckpt", *folder[:2], *folder[3:], "baseline=[measurement]", *few]
    assert call("compare", *asked, "output=compared") == (0, [])
    page = opened(tmp_path / "compared/report.html")
    rows = json.loads((tmp_path / "compared/comparison.json").read_text())["rows"]
    told = page.locator("#table tbody tr").all_inner_texts()
    assert [text.split("\n")[0].split("\t")[0] for text in told] == [row["method"] for row in rows]
    assert all(f"{row['psnr']:.2f}" in text for row, text in zip(rows, told, strict=True))
    assert "diracdiff compare" in page.inner_text("#command")
    with open(tmp_path / "compared/images.csv", newline="") as file:
        best = {row["name"]: row["psnr"] for row in csv.DictReader(file) if row["method"] == "dirac_do"}
    page.click("#stops button:has-text('dirac_do')")
    name = next(name for name in best if name in page.inner_text("#own"))
    assert page.inner_text("#after-name").startswith("x̂") and f"{float(best[name]):.2f} dB" in page.inner_text("#own")
    page.select_option("#left", "dirac_do")
    assert page.get_attribute("#before", "src") == page.get_attribute("#after", "src")
    picture = page.locator("#wipe").screenshot()
    assert Image.open(io.BytesIO(picture)).width > 300


def test_a_missing_metric_is_named(opened, tmp_path):
    path = tmp_path / "report.html"
    path.write_bytes(
        page_of(
            walked(16, names=["a"], blends=(), metrics=[PSNR(), Missing(LPIPS, "lpips_squeeze")]),
            restorer(),
            {"psnr": None},
        )
    )
    page = opened(path)
    assert "LPIPS was not measured" in page.inner_text("#notes") and page.locator("[data-metric]").count() == 1
    assert page.locator("#picker").is_hidden() and page.locator("#dial").is_hidden()
