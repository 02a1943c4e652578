"""The demo's server: sessions that reach only their own files, raw requests, limits, and what is left on disk."""

import contextlib
import functools
import http.client
import io
import json
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from conftest import begin, command
from PIL import Image
from test_demo import model

pytest.importorskip("gradio", reason="needs Gradio: pip install 'diracdiff[demo]'")

from diracdiff.signals import closing_signals
from diracdiff.studio import sessions as limits
from diracdiff.studio.sessions import Sessions

COUNT = int(os.environ.get("DIRACDIFF_FUZZ", 60))
"""Number of raw requests."""

API = "/gradio_api"
CLEAN, BLUR = "It is clean: degrade it for me", "A soft lens (Gaussian)"
VALUES = ["model.ckpt", None, CLEAN, 64, "the model's", 0.02, BLUR, 1.5, 0]
"""Inputs of the event that restores, after the photograph."""


class Client:
    """A client that sends any bytes, with the cookie of one session."""

    def __init__(self, port, cookie=None):
        self.port = port
        if cookie is None:
            _, headers, _ = self.send("GET", "/")
            cookie = headers["set-cookie"].split(";")[0]
        self.cookie = cookie

    def send(self, method, path, headers=(), body=b"", chunks=None, patience=20.0, claimed=None):
        """Send a request, and return its status, headers and body; endless answers are cut."""
        given = [name.lower() for name, _ in headers]
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [] if "host" in given else [f"Host: 127.0.0.1:{self.port}"]
        lines += [] if "cookie" in given or not getattr(self, "cookie", None) else [f"Cookie: {self.cookie}"]
        lines += [f"{name}: {value}" for name, value in headers if value is not None]
        lines += ["Transfer-Encoding: chunked"] if chunks else [f"Content-Length: {claimed or len(body)}"]
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as connection:
            connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
            with contextlib.suppress(ConnectionError):  # the answer can come before the body is sent
                for chunk in chunks or [body]:
                    connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunks else chunk)
                if chunks:
                    connection.sendall(b"0\r\n\r\n")
            answer = http.client.HTTPResponse(connection, method=method)
            answer.begin()
            read = b""
            with contextlib.suppress(TimeoutError):
                connection.settimeout(0.5 if "/heartbeat/" in path else patience)
                while chunk := answer.read1(1 << 16):
                    read += chunk
                    if b"close_stream" in read or len(read) > 1 << 22:
                        break
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, read

    def upload(self, name, content):
        status, _, body = self.send("POST", f"{API}/upload", *form(name, content))
        assert status == 200, body
        return json.loads(body)[0]

    def event(self, number, data, page):
        """Send an event, and return the status and what comes of it."""
        sent = json.dumps({"data": data, "fn_index": number, "session_hash": page}).encode()
        status, _, body = self.send("POST", f"{API}/queue/join", [("Content-Type", "application/json")], sent)
        if status == 200:
            body = self.send("GET", f"{API}/queue/data?session_hash={page}")[2]
        return status, body

    def download(self, path):
        return self.send("GET", f"{API}/file={quote(path, safe='/:=')}")


def form(name, content):
    """Headers and body of an upload."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    return [("Content-Type", "multipart/form-data; boundary=x")], head + content + b"\r\n--x--\r\n"


def stream(megabytes):
    """Headers of an upload without a length, and its chunks."""
    headers, body = form("big.png", b"")
    return headers, [body.removesuffix(b"\r\n--x--\r\n"), *[bytes(1_000_000)] * megabytes]


def photograph(path):
    """A file's description, as the page sends it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def results(body):
    """Paths of the pictures that an event returned."""
    message = next(json.loads(line[6:]) for line in body.decode().splitlines() if "process_completed" in line)
    return [each["path"] for each in message["output"]["data"][1]]


def picture(seed, size=(32, 24)):
    """The bytes of a PNG file with pixels that no other file has."""
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


class Demo:
    """A running demo."""

    def __init__(self, folder):
        model().save(folder / "model.ckpt")
        self.folder, self.temporary = folder, folder / "temporary"
        self.temporary.mkdir()
        words = ["-m", "diracdiff", "demo", "checkpoint=model.ckpt", "device=cpu", "browser=false"]
        self.process = begin(*words, cwd=folder, TMPDIR=str(self.temporary))

    @functools.cached_property
    def port(self):
        """The port, once the demo serves."""
        address = self.process.stdout.readline().split()
        assert address, self.process.stderr.read()
        return int(address[0].rstrip("/").rpartition(":")[2])

    def end(self, number=signal.SIGINT):
        """End the demo, and return its status, its output and the files that it left."""
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=60)
        left = [path for path in self.temporary.iterdir() if not path.name.startswith("torchinductor")]
        return self.process.returncode, out.strip(), errors, left


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo
    status, said, errors, left = demo.end()
    assert (status, said, errors, left) == (130, "the page is closed", "", [])


@pytest.fixture(scope="module")
def alice(demo):
    return Client(demo.port)


@pytest.fixture(scope="module")
def bob(demo):
    """Another session, with an upload and a result."""
    bob = Client(demo.port)
    bob.content = picture(7)
    bob.photo = bob.upload("image.png", bob.content)
    _, body = bob.event(5, [photograph(bob.photo), *VALUES], "bobspage")
    bob.results = results(body)
    bob.secrets = [bob.content[60:100], *(bob.download(path)[2][60:100] for path in bob.results)]
    return bob


def test_sessions_with_the_same_file_name_get_their_own_results(demo, alice, bob):
    content = picture(8)
    photo = alice.upload("image.png", content)
    _, body = alice.event(5, [photograph(photo), *VALUES], "alicespage")
    assert alice.download(photo)[2] == content and bob.download(bob.photo)[2] == bob.content
    shown = [alice.download(path) for path in results(body)]
    assert [status for status, *_ in shown] == [200, 200]
    assert not any(secret in body for *_, body in shown for secret in bob.secrets)
    for path in [bob.photo, *bob.results]:
        assert alice.download(path) == alice.download(path.replace("e", "f"))
        assert alice.download(path)[0] == 403 and bob.download(path)[0] == 200


def test_an_upload_is_stored_under_an_unguessable_path(demo, alice):
    content = picture(9)
    first, second = alice.upload("../../etc/a b\u00e9<x>.png", content), alice.upload("a.png", content)
    assert Path(first).name == "a bé_x_.png" and Path(first).parents[2] == Path(second).parents[2]
    assert len(Path(first).parent.name) == 32 and Path(first).parent != Path(second).parent
    assert Path(first).parents[2].stat().st_mode & 0o777 == 0o700
    assert Path(first).parents[2].parent == demo.temporary


def paths_of_others(demo, bob):
    """Pairs of a path that exists and one that does not, neither of which is the session's."""
    secret, link = demo.folder / "secret.png", demo.folder / "link.png"
    secret.write_bytes(picture(7))
    if not link.exists():
        link.symlink_to(secret)
    pairs = [
        (bob.photo, bob.photo.replace("image", "imagf")),
        (bob.results[1], bob.results[1] + "x"),
        (str(secret), str(demo.folder / "missing.png")),
        (str(link), str(demo.folder / "lonk.png")),
        ("/etc/passwd", "/etc/passwt"),
        (str(demo.folder / "model.ckpt"), str(demo.folder / "model.ckpd")),
        (str(demo.folder), str(demo.folder) + "x"),
        ("model.ckpt", "model.ckpd"),
        ("/dev/zero", "/dev/zerp"),
        (f"http://127.0.0.1:{demo.port}/", "http://127.0.0.1:9/"),
        (f"file://{secret}", "file:///missing.png"),
        ("data:image/png;base64,iVBORw0KGgo=", "data:image/png;base64,AAAA"),
    ]
    relative = os.path.relpath(secret, Path(bob.photo).parent)
    return [*pairs, (f"{Path(bob.photo).parent}/{relative}", f"{Path(bob.photo).parent}/{relative}x")]


@pytest.mark.parametrize("meta", [True, False])
def test_paths_of_others_are_refused_alike_whether_they_exist_or_not(demo, alice, bob, meta):
    answers = set()
    for path in (path for pair in paths_of_others(demo, bob) for path in pair):
        described = photograph(path) if meta else {"path": path}
        answers.add(alice.event(5, [described, *VALUES], "alicespage"))
        answers.add(alice.event(5, [described | {"url": f"{API}/file={path}"}, *VALUES], "alicespage"))
        layers = {"background": None, "layers": [described], "composite": None}
        answers.add(alice.event(5, [None, "model.ckpt", layers, *VALUES[2:]], "alicespage"))
    assert answers == {(403, b'{"detail":"This file is not available: upload it again."}')}


def test_another_session_s_page_is_refused(demo, alice, bob):
    assert alice.event(6, [0], "bobspage")[0] == 403
    assert alice.send("GET", f"{API}/queue/data?session_hash=bobspage")[0] == 403
    assert alice.send("GET", f"{API}/heartbeat/bobspage")[0] == 403
    assert b"Restore a photograph first." in alice.event(6, [0], "alicespage2")[1]


def test_only_hosts_and_origins_of_this_server_are_answered(demo, alice):
    port = demo.port
    for host in (
        f"evil.example:{port}",
        "evil.example",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        "",
        f"127.0.0.1.evil:{port}",
    ):
        assert alice.send("GET", "/", [("Host", host)])[0] == 421, host
    for host in (f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert alice.send("GET", "/", [("Host", host)])[0] == 200, host
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}", ""):
        assert alice.send("POST", f"{API}/upload", [("Origin", origin)])[0] == 403, origin
    assert alice.send("GET", "/", [("Origin", f"http://localhost:{port}")])[0] == 200


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(demo):
    cookie = Client(demo.port, "").send("GET", "/")[1]["set-cookie"]
    assert "HttpOnly; SameSite=Strict; Path=/" in cookie and len(cookie.split(";")[0].split("=")[1]) >= 43
    forged = Client(demo.port, f"diracdiff-{demo.port}=" + "A" * 43)
    assert forged.send("POST", f"{API}/upload", *form("a.png", b"x"))[0] == 403


# limits


def used(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def test_uploads_are_bounded_while_they_are_received(demo, alice):
    begun = time.monotonic()
    claimed = alice.send("POST", f"{API}/upload", form("a", b"")[0], claimed=41_000_000)
    assert claimed[0] == 413 and time.monotonic() - begun < 5
    head, chunks = stream(45)
    streamed = alice.send("POST", f"{API}/upload", head, chunks=chunks)
    assert streamed[0] == 413 and b"40 MB" in streamed[2]
    assert alice.send("POST", f"{API}/queue/join", chunks=chunks)[0] == 413
    assert used(demo.temporary) < 30_000_000


def test_the_files_of_a_session_are_bounded(demo):
    client, content = Client(demo.port), bytes(39_000_000)
    paths = [client.upload(f"{i}.png", content) for i in range(8)]
    assert used(Path(paths[0]).parents[1]) <= limits.MAX_STORED
    statuses = [client.send("GET", f"{API}/file={path}", [("Range", "bytes=0-9")])[0] for path in paths]
    assert statuses == [403] * 3 + [206] * 5


def test_uploads_of_a_session_at_one_time_are_bounded(demo):
    client, released = Client(demo.port), threading.Event()

    def slowly(chunks):
        yield from chunks
        released.wait(30)

    def upload():
        head, chunks = stream(39)
        client.send("POST", f"{API}/upload", head, chunks=slowly(chunks))

    threads = [threading.Thread(target=upload) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    head, chunks = stream(39)
    status = client.send("POST", f"{API}/upload", head, chunks=chunks)[0]
    released.set()
    for thread in threads:
        thread.join()
    assert status == 413
    assert client.upload("b.png", b"x")


def test_sessions_are_bounded_and_end(tmp_path):
    sessions = Sessions(tmp_path)
    tokens = [sessions.create() for _ in range(limits.MAX_SESSIONS)]
    for token in tokens[1:]:
        session = sessions.find(token)
        path = session.new_path("a.png")
        path.write_bytes(b"x")
        session.add(path)
    newer = sessions.create()
    assert sessions.find(tokens[0]) is None and sessions.find(newer)  # the one without files
    with sessions.using(sessions.find(newer)), pytest.raises(limits.HTTPException, match="429"):
        sessions.create()
    with sessions.using(sessions.find(tokens[1])):
        sessions.expire(0)
    assert [token for token in [*tokens, newer] if sessions.find(token)] == [tokens[1]]
    assert list(tmp_path.iterdir()) == [sessions.find(tokens[1]).folder]


class Result:
    def __init__(self, nbytes):
        self.nbytes = nbytes


def test_results_in_memory_are_bounded(tmp_path):
    sessions = Sessions(tmp_path)
    first, second = (sessions.find(sessions.create()) for _ in range(2))
    for page in ("a", "b", "c", "d", "e"):
        sessions.open_page(first, page)
        sessions.keep(first, page, Result(10))
    assert list(first.results) == ["b", "c", "d", "e"]
    sessions.keep(second, "f", Result(limits.MAX_RESULTS - 15))
    assert [page for page, result in first.results.items() if result] == ["e"] and second.results["f"]


# raw requests


ROUTES = """call/restore run/restore api/restore call/v2/restore component_server cancel reset vibe-edit upload
    process_recording stream/abc queue/join profiling/clear run-history/connect vibe-code"""
API_READS = """config info openapi.json startup-events queue/status deep_link?session_hash=bobspage app_id queue/data
    queue/data?session_hash=bobspage heartbeat/bobspage token stream/bobspage/1/1/playlist-file login_check theme.css
    run-history/buckets dev/reload upload_progress?upload_id=1 custom_component/1/client/js/../../../etc/passwd"""
READS = "/config /monitoring /monitoring/summary /?deep_link=../../etc/passwd /login_check /pwa_icon/9"
PATHS = """/static/../../../../etc/passwd /assets/%2e%2e/%2e%2e/config /static//etc/passwd /svelte/..%2f..%2fx
    /assets/%00 /static/%ff%fe /assets/missing.js //etc/passwd /static /assets/ /static/img/../../x"""


def raw_requests(count, demo, alice, bob, seed=0):
    """Requests that the page would not make: (group, arguments of Client.send, client)."""
    draw = random.Random(seed)
    own = alice.upload("own.png", picture(11))
    pairs, port = paths_of_others(demo, bob), demo.port
    strangers = [Client(port, ""), Client(port, f"diracdiff-{port}={draw.randbytes(32).hex()}")]
    deep, valid = "[" * 90_000, [photograph(own), *VALUES]
    odd = [None, True, -1, 1e999, "x" * 1000, "nan", "", [], {}, [[]], "\ud800", 10**30, {"path": None}]
    odd += [{"url": "http://127.0.0.1:9/"}, {"__type__": "update", "value": 1}, {"layers": 3}, {"layers": [own]}]
    odd += [{"layers": [{"path": own}] * 50}, {"path": own, "url": "data:image/png;base64,AAAA"}]
    reads = [*READS.split(), *(f"{API}/{each}" for each in API_READS.split())]
    hosts = f"evil.example evil.example:{port} 127.0.0.1 127.0.0.1:{port}@evil 0.0.0.0 127.1:{port}".split()
    origins = f"http://evil.example null http://localhost:{port + 1} file:// http://127.0.0.1:{port}.evil".split()
    paths = PATHS.split()
    tails = f"file=%00 file= file file/etc/passwd file={own}/../../../secret.png proxy=http://127.0.0.1:{port}/"
    paths += [f"{API}/{each}" for each in tails.split(" ")]
    join, json_type = ("POST", f"{API}/queue/join"), [("Content-Type", "application/json")]

    def event(data, number=5, page="alicespage", **more):
        return json.dumps({"data": data, "fn_index": number, "session_hash": page} | more).encode()

    def one(kind):
        existing, missing = draw.choice(pairs)
        path = draw.choice([existing, missing])
        if kind == "download":
            prefix = draw.choice([f"{API}/file=", f"{API}/file/", f"{API}/proxy=", f"{API}/file={own}/../"])
            return "GET", prefix + quote(path, safe=draw.choice(["/:=", ""]))
        if kind == "event of a file":
            described = {"path": path} | draw.choice([{}, {"url": path}, {"meta": {"_type": "gradio.FileData"}}])
            return (
                *join,
                json_type,
                event(draw.choice([[described, *VALUES], [*valid[:2], {"layers": [described]}, *valid[3:]]])),
            )
        if kind == "event of odd values":
            kinds_of_values = odd[:7] if draw.random() < 0.7 else odd
            data = [draw.choice(kinds_of_values) if draw.random() < 0.3 else each for each in valid]
            return *join, json_type, event(data, draw.choice([5, 5, 5, 2, 6, 7, 99, -1, True, None, "5", {}]))
        if kind == "JSON":
            whole = event(valid)
            bodies = [
                whole[: draw.randrange(len(whole))],
                draw.randbytes(200),
                deep.encode(),
                b"",
                b"null",
                b"[]",
                b"1",
            ]
            return (
                *join,
                json_type,
                draw.choice([*bodies, event(valid, page=draw.choice(["", "a", "A B", 3, None, "x" * 99]))]),
            )
        if kind == "route":
            body = event([{"path": path}, *VALUES])
            return (
                draw.choice(["POST", "PUT", "GET", "DELETE"]),
                f"{API}/{draw.choice(ROUTES.split())}",
                json_type,
                body,
            )
        if kind == "read":
            return draw.choice(["GET", "HEAD", "OPTIONS"]), draw.choice(reads)
        if kind == "host":
            return "GET", draw.choice(["/", f"{API}/file={own}"]), [("Host", draw.choice([*hosts, "", None]))]
        if kind == "origin":
            return *join, [*json_type, ("Origin", draw.choice(origins))], event(valid)
        if kind == "form":
            head, body = form(draw.choice(["../x", "a" * 5000, "", "\x00"]), draw.randbytes(100))
            cut = [
                body[: draw.randrange(len(body))],
                body.replace(b"files", b"other"),
                body.replace(b"--x--", b""),
                b"--x\r\n" * 50,
            ]
            return "POST", f"{API}/upload", draw.choice([head, [("Content-Type", "text/plain")], []]), draw.choice(cut)
        return draw.choice(["GET", "GET", "POST"]), draw.choice(paths)

    kinds = [
        "download",
        "event of a file",
        "event of odd values",
        "JSON",
        "route",
        "read",
        "host",
        "origin",
        "form",
        "path",
    ]
    for i in range(count):
        kind = kinds[i % len(kinds)]
        client = draw.choice(strangers) if draw.random() < 0.1 else alice
        yield kind, one(kind), client


def test_raw_requests_reveal_nothing(demo, alice, bob):
    statuses, failures = {}, []
    for kind, request, client in raw_requests(COUNT, demo, alice, bob):
        status, _, body = client.send(*request)
        if request[1].endswith("/queue/join") and status == 200:
            page = json.loads(request[3])["session_hash"]
            body += client.send("GET", f"{API}/queue/data?session_hash={page}")[2]
        statuses[kind, status] = statuses.get((kind, status), 0) + 1
        found = [secret for secret in bob.secrets if secret in body]
        names = [
            path
            for path in [bob.photo, *bob.results]
            if Path(path).parent.name.encode() in body and path not in str(request)
        ]
        if status >= 500 or found or names or b"root:" in body or b"Traceback" in body:
            failures.append((kind, status, request, body[:300]))
    print(f"{COUNT} requests, {len(failures)} failures", dict(sorted(statuses.items())))
    assert not failures
    assert all(status in (200, 400, 403, 404, 405, 413, 421) for _, status in statuses)


def test_existing_and_missing_paths_get_the_same_answers(demo, alice, bob):
    def answer(path, prefix):
        status, headers, body = alice.send("GET", prefix + quote(path, safe="/:="))
        return status, body, {name: value for name, value in headers.items() if name != "date"}

    for existing, missing in paths_of_others(demo, bob):
        for prefix in (f"{API}/file=", f"{API}/file/", f"{API}/proxy=", "/static/", "/assets/"):
            assert answer(existing, prefix) == answer(missing, prefix), (existing, prefix)
        assert answer(existing, f"{API}/file=")[0] == 403


# the end


def test_the_queue_is_bounded_and_one_restoration_runs_at_a_time(demo):
    client = Client(demo.port)
    photo = client.upload("a.png", picture(3, (640, 480)))
    data = [photograph(photo), *VALUES[:3], 640, *VALUES[4:]]
    event = json.dumps({"data": data, "fn_index": 5, "session_hash": "queuepage"}).encode()
    statuses = [client.send("POST", f"{API}/queue/join", body=event)[0] for _ in range(12)]
    assert statuses[:8] == [200] * 8 and statuses[-1] == 503
    client.send("GET", f"{API}/queue/data?session_hash=queuepage", patience=0.5)  # leaving empties the queue


def test_temporary_files_are_removed_when_the_demo_cannot_start(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        model().save(tmp_path / "model.ckpt")
        (tmp_path / "temporary").mkdir()
        words = ["checkpoint=model.ckpt", "device=cpu", "browser=false", f"port={port}"]
        done = command("demo", *words, cwd=tmp_path, TMPDIR=str(tmp_path / "temporary"))
    message = f"error: port={port}: cannot be served (Address already in use). Choose another port, or null.\n"
    assert (done.returncode, done.stderr) == (2, message)
    assert not list(tmp_path.glob("temporary/diracdiff*"))


def test_a_hangup_ends_the_demo_unless_it_is_ignored():
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert signal.SIGHUP in closing_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
        assert closing_signals() == (signal.SIGINT, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_temporary_files_are_removed_when_a_signal_ends_a_restoration(tmp_path):
    numbers = signal.SIGTERM, signal.SIGHUP  # the other tests end with SIGINT
    demos = []
    for number in numbers:
        (tmp_path / number.name).mkdir()
        demos.append(Demo(tmp_path / number.name))
    for demo, number in zip(demos, numbers, strict=True):
        client = Client(demo.port)
        photo = client.upload("a.png", picture(5, (640, 480)))
        data = [photograph(photo), *VALUES[:3], 640, *VALUES[4:]]
        event = json.dumps({"data": data, "fn_index": 5, "session_hash": "page"}).encode()
        assert client.send("POST", f"{API}/queue/join", body=event)[0] == 200
        time.sleep(0.5)  # the restoration runs
        assert list(demo.temporary.rglob("*.png"))
        assert demo.end(number) == (128 + number, "the page is closed", "", [])
