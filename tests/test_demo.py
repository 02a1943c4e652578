"""The demo: its page in Chromium, raw requests to its server, and what it leaves on disk."""

import http.client
import io
import json
import re
import shutil
import signal
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from conftest import begin, command, refused
from PIL import Image
from test_restoration import blur_restorer

from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.utils.pixels import from_pixels, to_pixels

pytest.importorskip("gradio", reason="needs Gradio: pip install 'diracdiff[demo]'")

from diracdiff.apps import guard
from diracdiff.apps.demo import restore

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
API = "/gradio_api"
RESTORE, MOVE = 0, 1
"""Numbers of the page's events."""


def model():
    found = blur_restorer()
    found.denoiser.eval()
    found.stops |= {"psnr": StoppingPoint(1.0, "mean"), "swd": StoppingPoint(0.0, "iterate")}
    return found


def picture(seed=0, size=(48, 40)):
    """The bytes of a PNG file with pixels that no other seed has."""
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


class Demo:
    """The command in a folder, which serves a model."""

    def __init__(self, folder):
        model().save(folder / "model.ckpt")
        self.folder, self.temporary = folder, folder / "temporary"
        self.temporary.mkdir()
        words = ["-m", "diracdiff", "demo", "checkpoint=model.ckpt", "device=cpu", "browser=false"]
        self.process = begin(*words, cwd=folder, TMPDIR=str(self.temporary))
        self.address = (self.process.stdout.readline().split() or [""])[0]
        assert self.address.startswith("http://127.0.0.1:"), self.process.communicate()
        self.port = int(self.address.rstrip("/").rpartition(":")[2])

    def end(self, number):
        """End the demo, and return its status and the files that it left."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode, list(self.temporary.glob("diracdiff*"))


class Client:
    """A client that sends any request, with the cookie of one session."""

    def __init__(self, port):
        self.port, self.cookie = port, ""
        self.cookie = self.send("GET", "/")[1]["set-cookie"].split(";")[0]

    def send(self, method, path, headers=(), body=b"", length=None):
        """Send a request, and return its status, headers and body."""
        given = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie, "Content-Length": str(length or len(body))}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for key, value in (given | dict(headers)).items():
            if value is not None:
                connection.putheader(key, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        read = b""
        while chunk := answer.read1(1 << 16):
            read += chunk
            if b"close_stream" in read:
                break
        connection.close()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, read

    def upload(self, name, content):
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        status, _, body = self.send("POST", f"{API}/upload", headers, head + content + b"\r\n--x--\r\n")
        return json.loads(body)[0] if status == 200 else status

    def event(self, number, data, page):
        """Send an event, and return the status and the answer."""
        sent = json.dumps({"data": data, "fn_index": number, "session_hash": page}).encode()
        status, _, body = self.send("POST", f"{API}/queue/join", {"Content-Type": "application/json"}, sent)
        return status, self.send("GET", f"{API}/queue/data?session_hash={page}")[2] if status == 200 else body

    def restore(self, path, page):
        """Restore an upload, and return the paths of the pictures."""
        body = self.event(RESTORE, [photograph(path), True, 64], page)[1]
        message = next(json.loads(line[6:]) for line in body.decode().splitlines() if "process_completed" in line)
        return [each["path"] for each in message["output"]["data"][2]]

    def download(self, path):
        return self.send("GET", f"{API}/file={quote(path, safe='/:=')}")


def photograph(path):
    """A file's description, as the page sends it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo
    status, left = demo.end(signal.SIGINT)
    assert status == 130 and left == []


@pytest.fixture(scope="module")
def alice(demo):
    return Client(demo.port)


@pytest.fixture(scope="module")
def bob(demo):
    """Another session, with an upload and a result."""
    bob = Client(demo.port)
    bob.content = picture(7)
    bob.photo = bob.upload("image.png", bob.content)
    bob.results = bob.restore(bob.photo, "bobspage")
    return bob


# the photograph


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_frames_are_what_the_stopping_times_give(tmp_path, mode):
    Image.open(io.BytesIO(picture())).convert(mode).save(tmp_path / "photo.png")
    found, fractions = model(), []
    restored = restore(found, tmp_path / "photo.png", False, advance=fractions.append)
    frames = [(round(frame.t, 2), frame.output, frame.nfe) for frame in restored.frames]
    assert frames == [(1.0, "mean", 1), (0.67, "mean", 2), (0.33, "mean", 3), (0.0, "iterate", 3)]
    assert restored.place == 0 and fractions == sorted(fractions) and fractions[-1] == 1
    y = restored.batch.y
    for place, target in enumerate(("psnr", "t:0.66", "t:0.33", "swd")):
        expected = found.restore(y, target, names=["photo.png"])[0]
        expected = expected if mode == "RGB" else expected.mean(0, keepdim=True).expand(3, -1, -1)
        assert torch.equal(restored.picture(place), to_pixels(expected)), target


def test_a_large_photograph_is_shrunk_and_a_clean_one_degraded(tmp_path):
    (tmp_path / "photo.png").write_bytes(picture())
    found = model()
    small = restore(found, tmp_path / "photo.png", True, longest=24)
    image = small.batch.images[0]
    assert image.pixels.shape == (3, 20, 24) and image.step == 0
    assert torch.equal(small.batch.y, found.measure(image.pixels[None], ["measurement/photo.png"]).y)
    psnr = -10 * (from_pixels(small.frames[1].images) - image.pixels).square().mean().log10().item()
    assert f"t = 0.67, NFE 2. PSNR {psnr:.2f} dB" in small.describe(1)


def test_photographs_are_bounded_before_they_are_decoded(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match=r"^huge.png: 9000x9000 pixels, more than 60000000"):
        restore(model(), tmp_path / "huge.png", False)


# the page


def test_a_photograph_is_restored_in_the_browser(demo, tmp_path):
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'diracdiff[dev]'")
    (tmp_path / "photo.png").write_bytes(picture())
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, requested, faults = browser.new_page(viewport={"width": 1280, "height": 950}), [], []
        page.set_default_timeout(120_000)  # a busy machine starts Chromium and networks slowly
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(demo.address)
        page.get_by_role("button", name="Restore").click()
        page.get_by_text("Upload a photograph first.").wait_for()
        page.set_input_files("input[type=file]", str(tmp_path / "photo.png"))
        page.get_by_role("button", name="Restore").click()
        page.get_by_text(re.compile(r"Denoised image at t = 1\.00, NFE 1\. PSNR")).wait_for()
        slider = page.get_by_role("slider", name=re.compile("accurate ↔ sharp"))
        slider.focus()
        slider.press("End")
        page.get_by_text("Iterate at t = 0.00, NFE 3.").wait_for()
        for label, size in (("Download", (48, 40)), ("Save comparison", (96, 40))):
            with page.expect_download() as download:
                page.locator("button", has_text=label).last.click()
            download.value.save_as(tmp_path / "got.png")
            assert Image.open(tmp_path / "got.png").size == size
        assert faults == []
        assert [url for url in requested if not url.startswith((demo.address, "data:", "blob:"))] == []
        browser.close()


# requests


def test_sessions_with_the_same_file_name_get_their_own_results(alice, bob):
    content = picture(8)
    photo = alice.upload("image.png", content)
    results = alice.restore(photo, "alicespage")
    assert alice.download(photo)[2] == content and bob.download(bob.photo)[2] == bob.content
    assert [alice.download(path)[0] for path in results] == [200, 200]
    assert not {alice.download(path)[2] for path in results} & {bob.download(path)[2] for path in bob.results}
    for path in [bob.photo, *bob.results]:
        assert alice.download(path)[0] == 403 and bob.download(path)[0] == 200
    assert len(Path(photo).parent.name) == 32 and Path(photo).parents[2].stat().st_mode & 0o777 == 0o700


def test_paths_of_others_get_one_answer_whether_they_exist_or_not(demo, alice, bob):
    secret, link = demo.folder / "secret.png", demo.folder / "link.png"
    secret.write_bytes(picture(7))
    link.symlink_to(secret)
    existing = [bob.photo, *bob.results, str(secret), str(link), "/etc/passwd", str(demo.folder), "model.ckpt"]
    existing += ["/dev/zero", demo.address, f"file://{secret}", "data:image/png;base64,iVBORw0KGgo="]
    answers, downloads = set(), set()
    for path in [*existing, *(f"{path}x" for path in existing)]:
        for described in (photograph(path), {"path": path}, {"path": path, "url": f"{API}/file={path}"}):
            answers.add(alice.event(RESTORE, [described, True, 64], "alicespage"))
        status, _, body = alice.download(path)
        downloads.add((status, body))
    assert answers == downloads == {(403, b'{"detail":"This file is not available: upload it again."}')}


def test_only_hosts_and_origins_of_this_server_are_answered(demo, alice):
    port = demo.port
    for host in (f"evil.example:{port}", "evil.example", "", f"127.0.0.1.evil:{port}", f"127.0.0.1:{port}@evil", None):
        assert alice.send("GET", "/", {"Host": host})[0] in (400, 421), host
    assert alice.send("GET", "/", {"Host": f"LOCALHOST:{port}"})[0] == 200
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}", ""):
        assert alice.send("POST", f"{API}/upload", {"Origin": origin})[0] == 403, origin
    headers = Client(port).send("GET", "/", {"Cookie": ""})[1]["set-cookie"]
    assert "HttpOnly; SameSite=Strict; Path=/" in headers and len(headers.split(";")[0].split("=")[1]) >= 43
    assert alice.send("POST", f"{API}/upload", {"Cookie": f"diracdiff-{port}={'A' * 43}"})[0] == 403


ROUTES = """GET /config, GET /monitoring, GET /login_check, GET /gradio_api/info, GET /gradio_api/openapi.json,
    POST /gradio_api/call/on_restore, POST /gradio_api/run/on_restore, POST /gradio_api/component_server,
    GET /gradio_api/proxy=http://127.0.0.1/, GET /gradio_api/file/etc/passwd, POST /gradio_api/cancel,
    GET /static/../../../../etc/passwd, GET /assets/%2e%2e/%2e%2e/config, GET //etc/passwd, GET /gradio_api/runs,
    GET /gradio_api/stream/bobspage/1/1/playlist-file, POST /gradio_api/process_recording, PUT /gradio_api/upload"""


def test_other_routes_and_values_are_refused(alice):
    for call in ROUTES.split(","):
        status, _, body = alice.send(*call.split(), {"Content-Type": "application/json"}, b"{}")
        assert status in (403, 404, 405) and b"root:" not in body, call
    for data in ([["a"]], [{"path": None}], 3, [{"url": "http://127.0.0.1:9/"}], [{"layers": [{"path": "x"}]}]):
        assert alice.event(RESTORE, data, "alicespage")[0] in (400, 403), data
    for body in (b"", b"null", b"[" * 90_000, b"\xff"):
        assert alice.send("POST", f"{API}/queue/join", {"Content-Type": "application/json"}, body)[0] == 400
    assert b"Restore a photograph first." in alice.event(MOVE, [None, 0], "otherpage")[1]


def test_uploads_are_bounded_before_they_are_received(demo):
    client, began = Client(demo.port), time.monotonic()
    assert client.send("POST", f"{API}/upload", length=41_000_000)[0] == 413 and time.monotonic() - began < 5
    assert client.send("POST", f"{API}/queue/join", length=200_000)[0] == 413
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": None}
    assert client.send("POST", f"{API}/upload", chunked, b"0\r\n\r\n")[0] == 411


def test_the_files_of_a_session_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MAX_STORED", 25)
    session = guard.Session(tmp_path)
    paths = [session.new_path("a.png") for _ in range(4)]
    for path in paths:
        path.write_bytes(bytes(10))
        session.add(path)
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert list(session.files) == [str(path) for path in paths[2:]]


# the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_temporary_files_are_removed_when_a_signal_ends_a_restoration(tmp_path, number):
    demo = Demo(tmp_path)
    client = Client(demo.port)
    data = [photograph(client.upload("a.png", picture(5, (640, 480)))), True, 640]
    event = json.dumps({"data": data, "fn_index": RESTORE, "session_hash": "page"}).encode()
    assert client.send("POST", f"{API}/queue/join", {"Content-Type": "application/json"}, event)[0] == 200
    time.sleep(0.5)  # the restoration runs
    assert list(demo.temporary.rglob("*.png"))
    assert demo.end(number) == (128 + number, [])


def test_the_command_refuses_what_it_cannot_serve(call, demo):
    refused(call("demo", "checkpoint=none.ckpt"), "none.ckpt does not exist")
    done = command("demo", "checkpoint=model.ckpt", "browser=false", f"port={demo.port}", cwd=demo.folder)
    assert done.returncode == 2 and done.stderr.startswith(f"error: port={demo.port}: cannot be served")
