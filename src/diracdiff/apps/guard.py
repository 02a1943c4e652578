"""ASGI middleware of the demo: only its own page is answered, and each browser reaches only its own files.

Gradio's routes accept any path as a component's file, fetch addresses, and serve the files of one browser to another.
The middleware admits the few routes that the page needs. Files in events and downloads must be uploads or results of
the session; all others get one answer, whether they exist or not, and the disk is not read.
"""

import asyncio
import json
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_SESSIONS, MAX_STORED = 8, 200_000_000
"""Sessions, and bytes of the files that each keeps; the oldest are removed."""

MAX_UPLOAD, MAX_RECEIVED, MAX_EVENT = 40_000_000, 120_000_000, 100_000
"""Bytes of one upload, of all uploads that are received at one time, and of an event."""

API = "/gradio_api"
HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.ASCII | re.IGNORECASE)
STATIC = r"(GET|HEAD) /((theme\.css|favicon\.ico|manifest\.json)?|(assets|static|svelte)(/[\w-][\w.-]*)+)"
PUBLIC = re.compile(rf"{STATIC}|GET {API}/startup-events", re.ASCII)
OWN = re.compile(rf"GET {API}/(queue/data|upload_progress|heartbeat/[a-z0-9]+)", re.ASCII)


class Session:
    """Uploads and results of one browser, in a folder: `files` is {path: bytes}, the oldest first."""

    def __init__(self, folder: Path):
        self.folder, self.files = folder, dict[str, int]()

    def new_path(self, name: str) -> Path:
        """Return an unguessable path for a new file."""
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder / name

    def add(self, path: Path) -> str:
        """Add a file, and remove the oldest ones above the limit; returns its path."""
        self.files[str(path)] = path.stat().st_size
        while len(self.files) > 1 and sum(self.files.values()) > MAX_STORED:
            oldest = next(iter(self.files))
            del self.files[oldest]
            shutil.rmtree(Path(oldest).parent)
        return str(path)

    def check(self, path: object) -> str:
        """Return a path of the session's files; raise HTTPException for any other."""
        if not isinstance(path, str) or path not in self.files:
            raise HTTPException(403, "This file is not available: upload it again.")
        return path

    def checked(self, value: Any) -> Any:
        """Return a value of an event, in which a file is one of the session's."""
        if isinstance(value, dict):
            return {"path": self.check(value["path"]), "meta": {"_type": "gradio.FileData"}}
        if not isinstance(value, str | int | float | None):
            raise TypeError
        return value


class Guard:
    """ASGI middleware, see the module.

    Args:
        app: gets the admitted requests, with `state.session`.
        folder: Gradio's temporary folder.
    """

    def __init__(self, app: ASGIApp, folder: Path):
        self.app, self.folder = app, folder
        self.sessions: dict[str, Session] = {}
        self.receiving, self.uploading = 0, asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            try:
                await self._answer(scope, receive, send)
            except HTTPException as error:
                await JSONResponse({"detail": error.detail}, error.status_code)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, call = Request(scope, receive), f"{scope['method']} {scope['path']}"
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
            raise HTTPException(421, "This page is served to this machine alone.")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            raise HTTPException(403, "Requests of other pages are refused.")
        query = b"" if scope["path"] == "/" else scope["query_string"]
        cookie = f"diracdiff-{hosts[0].rpartition(':')[2]}"  # browsers send a host's cookies to all its ports
        token = request.cookies.get(cookie, "")
        if call == "GET /" and token not in self.sessions:
            header = {"set-cookie": f"{cookie}={self._new_session()}; HttpOnly; SameSite=Strict; Path=/"}
            return await RedirectResponse("/", headers=header)(scope, receive, send)
        session = self.sessions.get(token)
        if session is None and not PUBLIC.fullmatch(call):
            raise HTTPException(403, "There is no such session: reload the page.")
        scope = {**scope, "query_string": query, "state": {"session": session}}
        if session is None or PUBLIC.fullmatch(call):
            return await self.app(scope, receive, send)
        if call == f"POST {API}/upload":
            return await self._upload(scope, request, session, send)
        if call == f"POST {API}/queue/join":
            return await self.app(scope, _replay(await self._event(request, session)), send)
        if call.startswith(f"GET {API}/file="):
            session.check(scope["path"].partition("=")[2])
        elif not OWN.fullmatch(call):
            raise HTTPException(404, "Not found.")
        await self.app(scope, receive, send)

    def _new_session(self) -> str:
        """Begin a session, in place of the oldest one above the limit; returns its secret."""
        if len(self.sessions) >= MAX_SESSIONS:
            shutil.rmtree(self.sessions.pop(next(iter(self.sessions))).folder, ignore_errors=True)
        token = secrets.token_urlsafe(32)
        self.sessions[token] = Session(self.folder / secrets.token_hex(16))
        return token

    async def _body(self, request: Request, limit: int) -> bytes:
        """Receive a body of a given length, which is bounded before anything is received."""
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            raise HTTPException(411, "The length is missing.")
        if int(length) > limit or self.receiving + int(length) > MAX_RECEIVED:
            raise HTTPException(413, f"This is too large: a photograph may have {MAX_UPLOAD // 10**6} MB.")
        self.receiving += int(length)
        try:
            return await request.body()
        except ClientDisconnect:
            raise HTTPException(400, "The body is cut off.") from None
        finally:
            self.receiving -= int(length)

    async def _upload(self, scope: Scope, request: Request, session: Session, send: Send) -> None:
        """Let Gradio parse an upload, and move its files into the session's folder."""
        body, answers = await self._body(request, MAX_UPLOAD), list[Message]()

        async def keep(message: Message) -> None:
            answers.append(message)

        async with self.uploading:
            await self.app(scope, _replay(body), keep)
            found = b"".join(answer.get("body", b"") for answer in answers) if answers[0]["status"] == 200 else b"[]"
            paths = [session.add(path.rename(session.new_path(path.name))) for path in map(Path, json.loads(found))]
            for rest in self.folder.iterdir():  # what a malformed form left
                if rest.is_file():
                    rest.unlink()
        await JSONResponse(paths)(scope, request.receive, send)

    async def _event(self, request: Request, session: Session) -> bytes:
        """Return the body of an event with nothing but values and the session's own files."""
        try:
            event = json.loads(await self._body(request, MAX_EVENT))
            data, number = [session.checked(value) for value in event["data"]], int(event["fn_index"])
            return json.dumps({"data": data, "fn_index": number, "session_hash": str(event["session_hash"])}).encode()
        except (ValueError, TypeError, KeyError, RecursionError):
            raise HTTPException(400, "This is not an event of the page.") from None


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
