"""ASGI middleware that admits only what the page of a session does with the session's own files.

Gradio's own routes accept any path as a component's file, fetch addresses, and serve the files of one session to
another. Therefore few of its routes are reached, and in events every file is one that the same session has uploaded.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from diracdiff.studio.sessions import MAX_IN_TRANSIT, MAX_UPLOAD, Session, Sessions

MAX_EVENT = 100_000
"""Bytes of the JSON of one event."""

MAX_FORM = 10_000
"""Bytes of the form around an upload."""

PAGE_NAME = re.compile(r"[a-z0-9]{4,32}", re.ASCII)
API = "/gradio_api"
OWN_CALLS = (f"POST {API}/upload", f"GET {API}/upload_progress")
STATIC = re.compile(r"GET /(theme\.css|favicon\.ico|manifest\.json|(assets|static|svelte)(/[\w-][\w.-]*)+)", re.ASCII)
Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class Guard:
    """ASGI middleware that refuses every request which the page of the same session would not make.

    Args:
        app: gets the other requests, with `state.session`.
        sessions: of the server.
        events: {number of an event of the page: kinds of its inputs}.
        port: of the server.
    """

    def __init__(self, app: App, sessions: Sessions, events: Mapping[int, Sequence[str]], port: int):
        self.app, self.sessions, self.events = app, sessions, events
        names = ("127.0.0.1", "localhost", "[::1]")
        self.hosts = {name if port == 80 else f"{name}:{port}" for name in names}
        self.origins = {f"http://{host}" for host in self.hosts}
        self.cookie = f"diracdiff-{port}"  # browsers send a host's cookies to all its ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        try:
            await self._answer(scope, receive, send)
        except HTTPException as refused:
            await JSONResponse({"detail": refused.detail}, refused.status_code)(scope, receive, send)  # type: ignore[arg-type]
        except Exception:
            traceback.print_exc()  # uvicorn does not log
            raise

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if [host.lower() for host in request.headers.getlist("host")] not in [[host] for host in self.hosts]:
            raise HTTPException(421, "This page is served to this machine alone.")
        if not set(request.headers.getlist("origin")) <= self.origins:
            raise HTTPException(403, "Requests of other pages are refused.")
        headers = [(key, value) for key, value in scope["headers"] if not key.startswith((b"x-", b"forwarded"))]
        scope = {**scope, "headers": headers, "query_string": b""}
        path, call = scope["path"], f"{scope['method']} {scope['path']}"
        if STATIC.fullmatch(call):
            return await self.app(scope, receive, send)
        token = request.cookies.get(self.cookie, "")
        session = self.sessions.find(token)
        if session is None and call == "GET /":
            token = self.sessions.create()
            session = self.sessions.find(token)
        if session is None:
            raise HTTPException(403, "There is no such session: reload the page.")
        scope["state"] = {**scope.get("state", {}), "session": session}
        body = _Body(receive, session, MAX_UPLOAD + MAX_FORM if path == f"{API}/upload" else MAX_EVENT)
        body.check(int(request.headers.get("content-length", 0)))
        with self.sessions.using(session), body:
            if call == "GET /":
                send = self._with_cookie(send, token)
            elif call == f"POST {API}/queue/join":
                scope, event = self._event(scope, session, await Request(scope, body).body())
                return await self.app(scope, event, send)
            elif call == f"GET {API}/queue/data":
                name = request.query_params.get("session_hash", "")
                self._open_page(session, name)
                scope["query_string"] = f"session_hash={name}".encode()
            elif call.startswith(f"GET {API}/heartbeat/"):
                self._open_page(session, path.rpartition("/")[2])
            elif call not in OWN_CALLS and not call.startswith(f"GET {API}/file="):
                raise HTTPException(404, "Not found.")
            await self.app(scope, body, send)

    def _with_cookie(self, send: Send, token: str) -> Send:
        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["set-cookie"] = f"{self.cookie}={token}; HttpOnly; SameSite=Strict; Path=/"
                headers["content-security-policy"] = "frame-ancestors 'none'"
            await send(message)

        return send_with_cookie

    def _open_page(self, session: Session, name: object) -> None:
        if not isinstance(name, str) or not PAGE_NAME.fullmatch(name):
            raise HTTPException(400, "This is not the name of a page.")
        self.sessions.open_page(session, name)

    def _event(self, scope: Scope, session: Session, body: bytes) -> tuple[Scope, Receive]:
        """Build a request with nothing but the parts of an event that the page sends."""
        try:
            event = json.loads(body)
            number, page, values = int(event["fn_index"]), event["session_hash"], event["data"]
            data = [_checked(each, kind, session) for each, kind in zip(values, self.events[number], strict=True)]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise HTTPException(400, "This is not an event of the page.") from None
        self._open_page(session, page)
        body = json.dumps({"data": data, "fn_index": number, "session_hash": page}).encode()
        length = (b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")
        replaced = {key for key, _ in length} | {b"transfer-encoding"}
        kept = [(key, value) for key, value in scope["headers"] if key not in replaced]

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        return {**scope, "headers": [*kept, *length]}, receive


class _Body:
    """ASGI function that receives a body, and refuses one that is too large as soon as that is known."""

    def __init__(self, receive: Receive, session: Session, limit: int):
        self.receive, self.session, self.limit, self.received = receive, session, limit, 0

    def check(self, size: int) -> None:
        if size > self.limit or self.session.in_transit > MAX_IN_TRANSIT:
            raise HTTPException(413, f"This is too large: a photograph may have {MAX_UPLOAD // 10**6} MB.")

    async def __call__(self) -> Message:
        message = await self.receive()
        size = len(message.get("body", b""))
        self.received, self.session.in_transit = self.received + size, self.session.in_transit + size
        self.check(self.received)
        return message

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.session.in_transit -= self.received


def _checked(value: Any, kind: str, session: Session) -> Any:
    """Copy the value of a component, with the descriptions of its files replaced by those of the session's files."""
    if kind == "image" and value is not None:
        path = session.find(value["path"])
        return {"path": path, "orig_name": path.rpartition("/")[2], "meta": {"_type": "gradio.FileData"}}
    if kind == "imageeditor" and value is not None:
        layers = [_checked(each, "image", session) for each in value["layers"]]
        return {"background": None, "layers": layers, "composite": None}
    if not isinstance(value, str | int | float | None):
        raise TypeError
    return value
