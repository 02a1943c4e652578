"""HTML reports: content, size, security, and interaction in Chromium."""

import base64
import csv
import io
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from pages import DO, EVIL, NAMES, PO, TIMES, comparison, evaluated, page_of
from PIL import Image
from test_checkpoints import restorer

from diracdiff.metrics import PSNR
from diracdiff.report.page import MAX_BYTES, render
from diracdiff.report.pictures import BUDGET, data_uri, encode_pictures

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def content_of(report):
    (text,) = re.findall(rb'<script type="application/json" id="data">(.*?)</script>', report, re.DOTALL)
    return json.loads(text)


def pixels(uri):
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.fixture(scope="module")
def evaluation():
    return evaluated()


@pytest.fixture(scope="module")
def report(evaluation):
    return page_of(evaluation, restorer())


@pytest.fixture(scope="module")
def paths(report, tmp_path_factory):
    """Paths of a report of an evaluation and of a comparison."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "evaluation.html").write_bytes(report)
    (folder / "comparison.html").write_bytes(comparison())
    return {name: folder / f"{name}.html" for name in ("evaluation", "comparison")}


# content


def test_images_and_metrics_equal_those_of_the_evaluation(evaluation, report):
    content = content_of(report)
    assert content["images"] == NAMES and [line["name"] for line in content["trajectories"]] == ["x̂", "iterate"]
    curve = {(row["t"], row["output"]): row for row in evaluation.curve}
    for output, line in zip(("x_hat", "iterate"), content["trajectories"], strict=True):
        assert [point["row"]["t"] for point in line["points"]] == [t for t in TIMES if (t, output) in curve]
        for point in line["points"]:
            t, row = point["row"]["t"], curve[point["row"]["t"], output]
            assert all(point["row"][name] == pytest.approx(row[name], rel=1e-6) for name in ("psnr", "ssim", "swd"))
            records = {row["name"]: row for row in evaluation.records.at(t, output)}
            for i, name in enumerate(NAMES):
                assert torch.equal(pixels(point["pictures"][i]), evaluation.gallery[t, output][i])
                assert point["values"][i]["psnr"] == pytest.approx(records[name]["psnr"], rel=1e-5)
    clean, measurement = content["entries"]
    for entry, key in ((clean, "clean"), (measurement, "measurement")):
        assert torch.equal(pixels(entry["pictures"][2]), evaluation.gallery[key][2])
    actual = {stop["name"]: (stop["t"], stop["show"]) for stop in content["stops"]}
    expected = {"accurate (DO)": (DO.t, "t0"), "best SWD": (PO.t, "t1")}
    assert actual == {"measurement": (1.0, "t1"), "one-shot": (1.0, "t0"), **expected}
    assert "exact (PNG)" in report.decode()


def test_file_names_are_escaped(report):
    for text in (report.decode(), comparison().decode()):
        markup = text.partition("<style>")[0] + text.partition("</style>")[2]
        assert "<script>document.title" not in markup and "<!-- \"'" not in markup
        assert len(re.findall(r"<script[ >]", markup)) == 3 and EVIL in content_of(text.encode())["images"]
    assert "&lt;script&gt;document.title" in report.decode()


def test_nan_and_infinity_become_null():
    page = render("evaluation", "<title>", "", [], {"a": [float("nan"), float("inf"), 1.5]}, [], None, {})
    assert content_of(page) == {"a": [None, None, 1.5]}
    assert b"<title>&lt;title&gt;: diracdiff evaluation</title>" in page
    with pytest.raises(ValueError, match="at most 10000000 bytes"):
        render("evaluation", "x", "", [], {"a": "y" * MAX_BYTES}, [], None, {})


@pytest.mark.parametrize(
    ("budget", "exact", "every", "shrink"),
    [(1000, True, 1, 1), (90, False, 1, 1), (30, False, 4, 1), (5, False, 32, 2)],
)
def test_images_fit_the_budget_and_the_note_names_omissions(budget, exact, every, shrink):
    """The budget is in units of one JPEG image. There are 21 x 4 images, of which 18 x 4 may be omitted."""
    noise = (255 * torch.rand(4, 3, 64, 64)).byte()
    budget = int(budget * max(len(data_uri(image, exact=False)) for image in noise))
    pictures, note = encode_pictures({key: noise for key in ("clean", *range(20))}, [[i] for i in range(1, 19)], budget)
    assert sum(len(uri) for uris in pictures.values() for uri in uris) <= budget and {"clean", 0, 19} <= pictures.keys()
    assert len(pictures) == 3 + 18 // every and pixels(pictures["clean"][0]).shape == (3, 64 // shrink, 64 // shrink)
    assert ("JPEG" in note) == (not exact) and ("of the 18 times" in note) == (every > 1)
    assert ("sides divided" in note) == (shrink > 1)


def test_a_report_of_many_large_images_stays_below_the_size_limit():
    steps = [1 - i / 40 for i in range(41)]
    evaluation = evaluated(size=128, steps=steps, names=list("abcdef"), metrics=[PSNR()])
    report = page_of(evaluation, restorer(), {"psnr": DO})
    (mean, iterate), size = (line["points"] for line in content_of(report)["trajectories"]), len(report)
    with_pictures = [point["row"]["t"] for point in iterate if point["pictures"]]
    assert 4_800_000 + BUDGET / 2 < size < MAX_BYTES and len(mean) + len(iterate) == 40 + 41
    assert {1.0, 0.0, DO.t} <= set(with_pictures) and len(with_pictures) < 41


# in a browser


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'diracdiff[dev]'")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Return a function that opens a report. Fails if the page logs messages or requests external files."""
    contexts, messages, requests = [], [], []

    def open_page(path, viewport=DESKTOP, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_function("document.getElementById('after').naturalWidth > 0")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    assert sum(url.startswith("file:") for url in requests) == len(contexts)
    assert {url.partition(":")[0] for url in requests} <= {"file", "data"}


def pixel(page, selector):
    """Return the mean grey level of an image element."""
    return page.evaluate(
        """async (selector) => {
            const [image, canvas] = [document.querySelector(selector), document.createElement("canvas")];
            await image.decode();
            canvas.getContext("2d").drawImage(image, 0, 0, 1, 1);
            return canvas.getContext("2d").getImageData(0, 0, 1, 1).data[0];
        }""",
        selector,
    )


def points(page, chart):
    """Return {name: x values} of the traces of a chart."""
    return dict(page.evaluate("(id) => document.getElementById(id).data.map((trace) => [trace.name, trace.x])", chart))


def test_controls_of_an_evaluation(opened, paths, evaluation):
    page = opened(paths["evaluation"])
    names = lambda: (page.inner_text("#before-name"), page.inner_text("#after-name"))  # noqa: E731
    assert page.title() == "restoration: diracdiff evaluation" and EVIL in page.inner_text("#command")
    assert names() == ("measurement", "x̂ at t = 0.75") and page.inner_text("#t-now") == "0.75"
    assert page.locator("#stops [aria-pressed=true]").all_inner_texts() == ["accurate (DO)"]
    before = page.get_attribute("#after", "src")
    page.focus("#t")
    page.keyboard.press("ArrowRight")
    assert names()[1] == "x̂ at t = 0.50" and page.get_attribute("#after", "src") != before
    page.keyboard.press("End")
    assert page.inner_text("#t-now") == "0.00" and names()[1] == "x̂ at t = 0.25"  # x_hat is not computed at t = 0
    page.click("#stops button:has-text('best SWD')")
    (row,) = [row for row in evaluation.curve if (row["t"], row["output"]) == (PO.t, "iterate")]
    assert names()[1] == "iterate at t = 0.25" and f"NFE {row['nfe']}, " in page.inner_text("#cost")
    page.locator("#picker button").nth(1).click()
    (record,) = [row for row in evaluation.records.at(PO.t, "iterate") if row["name"] == NAMES[1]]
    assert page.inner_text("#figures").startswith(f"{NAMES[1]}. measurement: PSNR ")
    assert f"iterate at t = 0.25: PSNR {record['psnr']:.2f} dB" in page.inner_text("#figures")
    page.select_option("#left", label="clean")
    assert names()[0] == "clean"
    assert points(page, "chart-psnr")["x̂"] == [1, 0.75, 0.5, 0.25]
    plane = points(page, "plane")
    assert {"x̂", "iterate", "accurate (DO)", "best SWD"} <= plane.keys()
    assert plane["accurate (DO)"] == pytest.approx([max(row["psnr"] for row in evaluation.curve[:4])], rel=1e-6)
    page.locator("#chart-psnr .scatterlayer .point").nth(2).hover(force=True)
    box = page.locator("#chart-psnr .scatterlayer .point").nth(2).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.inner_text("#t-now") == "0.50"


def test_slider_and_error_map(opened, paths):
    page = opened(paths["evaluation"])
    clip = "getComputedStyle(document.getElementById('before')).clipPath"
    before, frame = page.evaluate(clip), page.locator("#cut").bounding_box()
    page.mouse.move(frame["x"] + 0.5 * frame["width"], frame["y"] + 30)
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.8 * frame["width"], frame["y"] + 30, steps=4)
    page.mouse.up()
    assert page.evaluate(clip) != before and 70 < int(page.input_value("#cut")) < 90
    page.check("#error")
    page.select_option("#right", label="clean")
    page.evaluate(
        "document.getElementById('cut').value = 0; document.getElementById('cut').dispatchEvent(new Event('input'))"
    )
    picture = np.asarray(Image.open(io.BytesIO(page.locator("#frame").screenshot())).convert("L"))
    height, width = picture.shape
    assert picture[height // 6 : height // 3, width // 3 : 2 * width // 3].max() == 0  # no error of the clean image
    page.select_option("#right", label="measurement")
    picture = np.asarray(Image.open(io.BytesIO(page.locator("#frame").screenshot())).convert("L"))
    assert picture[height // 6 : height // 3, width // 3 : 2 * width // 3].mean() > 50


def test_methods_of_a_comparison(opened, paths):
    page = opened(paths["comparison"])
    rows = (
        "[...document.querySelectorAll('table')[0].tBodies[0].rows].map((row) => row.cells[0].firstChild.textContent)"
    )
    assert page.evaluate(rows) == ["measurement", EVIL, "dirac_do", "dirac_po"]
    for heading, first in (("PSNR", "dirac_po"), ("PSNR", "measurement"), ("LPIPS", "dirac_po")):
        page.click(f"thead button:has-text('{heading}') >> nth=0")
        assert page.evaluate(rows)[0] == first
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("LPIPS")
    assert [text.split()[0] for text in page.locator("td.best").all_inner_texts()] == ["24.00", "0.8000", "0.1000"]
    page.click("#stops button:has-text('dirac_do')")
    assert pixel(page, "#after") == 60 and pixel(page, "#before") == 20 and page.inner_text("#after-name") == "dirac_do"
    page.locator("#picker button").nth(1).click()
    assert NAMES[1] in page.inner_text("#figures") and "dirac_do: PSNR 23.00 dB" in page.inner_text("#figures")
    page.select_option("#right", label="Dirac over t (steps 8) at t")
    page.focus("#t")
    page.keyboard.press("End")
    assert page.inner_text("#after-name") == "Dirac over t (steps 8) at t = 0.00" and pixel(page, "#after") == 100
    assert "PSNR 21.00 dB" in page.inner_text("#figures")
    plane = points(page, "plane")
    assert plane["dirac_po"] == [24] and plane["Dirac over t (steps 8)"] == [22, 21.5, 21.25, 21]
    assert EVIL.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in plane
    assert page.locator("#plane script, #plane a").count() == 0
    page.select_option("#up", label="SSIM")
    assert page.evaluate("document.getElementById('plane').data[0].y") == [0.5] * 4
    page.locator("#plane .scatterlayer .trace").last.wait_for()


@pytest.mark.parametrize("kind", ["evaluation", "comparison"])
def test_mobile_layout_dark_mode_and_accessible_names(opened, paths, kind):
    phone = opened(paths[kind], PHONE, is_mobile=True, has_touch=True, color_scheme="dark")
    assert phone.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    paper = (
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b)"
    )
    assert phone.evaluate(paper) < 200
    phone.click("#theme")
    assert phone.evaluate(paper) > 600 and phone.inner_text("#theme") == "Dark"
    unnamed = phone.evaluate(
        """() => [...document.querySelectorAll("button, input, select, img, [role=group]")].filter((e) =>
            !e.closest("[hidden]") && !e.getAttribute("aria-label") && !e.labels?.length && !e.alt
            && !e.textContent.trim() && !e.querySelector("img[alt]:not([alt=''])")
        ).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == [] and phone.locator("h1").count() == 1 and phone.locator("th:not([scope])").count() == 0


def test_the_content_security_policy_blocks_requests_and_scripts(browser, paths):
    requested = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page, address = browser.new_page(), f"http://127.0.0.1:{server.server_port}"
    page.goto(paths["evaluation"].as_uri())
    attempt = """async (where) => {
        const image = Object.assign(new Image(), { src: `${where}/a.png` });
        await new Promise((done) => { image.onload = image.onerror = done; });
        document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = 1" }));
        document.body.style.backgroundImage = `url(${where}/b.png)`;
        return [window.ran || "did not run", await fetch(where).then(() => "went", (error) => error.name)];
    }"""
    assert page.evaluate(attempt, address) == ["did not run", "TypeError"] and requested == []
    page.close()
    server.shutdown()


# commands


def test_training_writes_its_report(run, opened):
    _, latest, printed = run
    page, summary = (latest / "report.html").read_bytes(), json.loads((latest / "summary.json").read_text())
    assert "report.html" in printed and b"<h1>inpaint</h1>" in page and b"seed: 0" in page
    stopping_points = {stop["name"]: stop["t"] for stop in content_of(page)["stops"]}
    assert stopping_points["accurate (DO)"] == pytest.approx(summary["do"]["t"])
    cells = opened(latest / "report.html").locator("tbody tr >> nth=1").locator("td").all_inner_texts()
    assert cells[3].split()[0] == f"{summary['one_shot']['psnr']:.2f}"


def test_evaluate_writes_its_report(run, folder, tmp_path, call):
    options = ["data.test_images=3", "trainer=cpu", "lpips=null", "target=t:0.5"]
    assert call("evaluate", f"checkpoint={run[1]}/best.ckpt", *folder[:2], *folder[3:], *options) == (0, [])
    content = content_of((tmp_path / "evaluation/report.html").read_bytes())
    with open(tmp_path / "evaluation/curve.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["output"] == "iterate"]
    for point, row in zip(content["trajectories"][1]["points"], rows, strict=True):
        assert point["row"]["t"] == float(row["t"]) and point["row"]["psnr"] == pytest.approx(
            float(row["psnr"]), rel=1e-6
        )
    assert content["stops"][-1]["name"] == "target" and content["stops"][-1]["t"] == 0.5
