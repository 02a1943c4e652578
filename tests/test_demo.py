"""The demo: its page in Chromium, raw requests to its server, and temporary files."""

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
from conftest import begin, refused
from PIL import Image
from test_restoration import blur_restorer

from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.utils.pixels import from_pixels, to_pixels

pytest.importorskip("gradio", reason="needs Gradio: pip install 'diracdiff[demo]'")

from diracdiff.apps.demo import restore, serve
from diracdiff.apps.guard import remove_oldest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
API = "/gradio_api"


def model():
    restorer = blur_restorer()
    restorer.denoiser.eval()
    restorer.stopping_points |= {"psnr": StoppingPoint(1.0, "x_hat"), "swd": StoppingPoint(0.0, "iterate")}
    return restorer


def picture(seed=0, size=(48, 40)):
    """Bytes of a PNG file with random pixels."""
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


class Client:
    """HTTP client for raw requests to a port of this machine."""

    def __init__(self, port):
        self.port = int(port)

    def send(self, method, path, headers=(), body=b""):
        """Send a request and return status and body of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        fields = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body))} | dict(headers)
        for key, value in fields.items():
            if value is not None:
                connection.putheader(key, value)
        connection.endheaders(body)
        answer, read = connection.getresponse(), b""
        while chunk := answer.read1(1 << 16):
            read += chunk
            if b"close_stream" in read:
                break
        connection.close()
        return answer.status, read

    def upload(self, name, content):
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        return json.loads(self.send("POST", f"{API}/upload", headers, head + content + b"\r\n--x--\r\n")[1])[0]

    def join(self, path, longest=64, **meta):
        """Queue the restoration of an uploaded file and return the HTTP status."""
        sent = {"data": [{"path": path} | meta, True, longest], "fn_index": 0, "session_hash": "page"}
        sent = json.dumps(sent).encode()
        return self.send("POST", f"{API}/queue/join", {"Content-Type": "application/json"}, sent)[0]

    def restore(self, path, **meta):
        """Restore an uploaded file and return the final message."""
        assert self.join(path, **meta) == 200
        lines = self.send("GET", f"{API}/queue/data?session_hash=page")[1].decode().splitlines()
        return next(json.loads(line[6:]) for line in lines if "process_completed" in line)["output"]

    def download(self, path):
        return self.send("GET", f"{API}/file={quote(path, safe='/:=')}")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Address of a demo served by this process."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        with serve(model(), folder) as address:
            yield address


@pytest.fixture(scope="module")
def client(demo):
    return Client(demo.rstrip("/").rpartition(":")[2])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_frames_equal_restorations_at_the_stopping_times(tmp_path, mode):
    Image.open(io.BytesIO(picture())).convert(mode).save(tmp_path / "photo.png")
    restorer, fractions = model(), []
    restored = restore(restorer, tmp_path / "photo.png", False, on_progress=fractions.append)
    frames = [(round(frame.t, 2), frame.output, frame.nfe) for frame in restored.frames]
    assert frames == [(1.0, "x_hat", 1), (0.67, "x_hat", 2), (0.33, "x_hat", 3), (0.0, "iterate", 3)]
    assert restored.index == 0 and fractions == sorted(fractions) and fractions[-1] == 1
    y = restored.batch.y
    for index, target in enumerate(("psnr", "t:0.66", "t:0.33", "swd")):
        expected = restorer.restore(y, target, names=["photo.png"])[0]
        expected = expected if mode == "RGB" else expected.mean(0, keepdim=True).expand(3, -1, -1)
        assert torch.equal(restored.picture(index), to_pixels(expected)), target


def test_a_large_photograph_is_shrunk_and_a_clean_one_degraded(tmp_path):
    (tmp_path / "photo.png").write_bytes(picture())
    restorer = model()
    small = restore(restorer, tmp_path / "photo.png", True, longest=24)
    image = small.batch.images[0]
    assert image.pixels.shape == (3, 20, 24) and image.step == 0
    assert torch.equal(small.batch.y, restorer.measure(image.pixels[None], ["measurement/photo.png"]).y)
    psnr = -10 * (from_pixels(small.frames[1].images) - image.pixels).square().mean().log10().item()
    assert f"t = 0.67, NFE 2. PSNR {psnr:.2f} dB" in small.describe(1)


def test_photograph_size_is_limited_before_decoding(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match=r"^huge.png: has 9000x9000 pixels, more than 60000000"):
        restore(model(), tmp_path / "huge.png", False)


def test_a_photograph_is_restored_in_the_browser(demo, tmp_path):
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'diracdiff[dev]'")
    (tmp_path / "photo.png").write_bytes(picture())
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, requested, faults = browser.new_page(viewport={"width": 1280, "height": 950}), [], []
        page.set_default_timeout(120_000)  # Chromium and networks start slowly under load
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(demo)
        page.get_by_role("button", name="Restore").click()
        page.get_by_text("Upload a photograph first.").wait_for()
        page.set_input_files("input[type=file]", str(tmp_path / "photo.png"))
        page.get_by_role("button", name="Restore").click()
        page.get_by_text(re.compile(r"Denoised image at t = 1\.00, NFE 1\. PSNR")).wait_for()
        slider = page.get_by_role("slider", name=re.compile("stopping time: t = 1 ↔ t = 0"))
        slider.focus()
        slider.press("End")
        page.get_by_text("Iterate at t = 0.00, NFE 3.").wait_for()
        with page.expect_download() as download:
            page.locator("button", has_text="Download").last.click()
        download.value.save_as(tmp_path / "got.png")
        assert Image.open(tmp_path / "got.png").size == (48, 40)
        assert faults == []
        assert [url for url in requested if not url.startswith((demo, "data:", "blob:"))] == []
        browser.close()


def test_results_of_one_file_name_have_unguessable_paths(client):
    photos = [client.upload("image.png", picture(seed)) for seed in (7, 8)]
    results = [each["path"] for photo in photos for each in client.restore(photo)["data"][2]]
    assert len({client.download(path)[1] for path in results}) == 4
    assert all(len(Path(path).parent.name) == 32 for path in results)


def test_other_paths_get_the_same_response_if_they_exist_or_not(client, demo, tmp_path):
    (tmp_path / "secret.png").write_bytes(picture(7))
    paths = [str(tmp_path / "secret.png"), "/etc/passwd", "pyproject.toml", "/dev/zero", demo, f"file://{tmp_path}"]
    paths += [f"{path}x" for path in paths] + [f"{client.upload('a.png', picture())}/../../../secret.png"]
    assert {client.download(path) for path in paths} == {(403, b'{"detail":"The demo does not answer this request."}')}
    for path in (paths[0], paths[6]):
        assert client.restore(path)["error"] == "This file is not available. Upload it again."
        assert client.restore(path, meta={"_type": "gradio.FileData"})["error"] is None  # refused by Gradio


def test_other_hosts_and_origins_are_refused(client):
    port = client.port
    for host in (f"evil.example:{port}", "evil.example", "", f"127.0.0.1.evil:{port}", None):
        assert client.send("GET", "/", {"Host": host})[0] in (400, 421), host
    assert client.send("GET", "/", {"Host": f"LOCALHOST:{port}"})[0] == 200
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}", ""):
        assert client.send("POST", f"{API}/upload", {"Origin": origin})[0] == 403, origin


def test_uploads_and_stored_files_are_limited(client, tmp_path):
    assert client.send("POST", f"{API}/upload", {"Content-Length": "41000000"})[0] == 413
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": None}
    assert client.send("POST", f"{API}/upload", chunked, b"0\r\n\r\n")[0] == 413
    paths = [tmp_path / f"{i}" / "a.png" for i in range(4)]
    for i, path in enumerate(paths):
        path.parent.mkdir()
        path.write_bytes(bytes(10))
        time.sleep(0.01 * (i < 3))  # distinct modification times
    remove_oldest(tmp_path, 25)
    assert [path.exists() for path in paths] == [False, False, True, True]


def test_a_signal_during_a_restoration_removes_temporary_files(tmp_path, client, call):
    model().save(tmp_path / "model.ckpt")
    (tmp_path / "temporary").mkdir()
    args = ["-m", "diracdiff", "demo", "checkpoint=model.ckpt", "device=cpu", "browser=false"]
    process = begin(*args, cwd=tmp_path, TMPDIR=str(tmp_path / "temporary"))
    address = (process.stdout.readline().split() or [""])[0]
    assert address.startswith("http://127.0.0.1:"), process.communicate()
    served = Client(address.rstrip("/").rpartition(":")[2])
    assert served.join(served.upload("a.png", picture(5, (640, 480))), 640) == 200
    time.sleep(0.5)  # until the restoration has started
    (folder,) = (tmp_path / "temporary").glob("diracdiff*")
    assert list(folder.rglob("*.png")) and folder.stat().st_mode & 0o777 == 0o700
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP and not folder.exists()
    refused(call("demo", "checkpoint=none.ckpt"), "none.ckpt: does not exist")
    with pytest.raises(ValueError, match=f"port={client.port}: cannot be served"):
        serve(model(), tmp_path, client.port).__enter__()
