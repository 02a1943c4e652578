"""The server of the page, with its uploads and downloads, on this machine alone."""

from __future__ import annotations

import logging
import mimetypes
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from diracdiff.studio.guard import API, Guard
from diracdiff.studio.sessions import MAX_UPLOAD, Sessions
from diracdiff.utils.errors import UserError

SHOWN = {"image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"}
"""Types that browsers show; all others are saved, because they may hold scripts."""

FONTS = ["system-ui", "sans-serif"]


def application(page: gr.Blocks, sessions: Sessions, port: int) -> Guard:
    """Build the ASGI application of a page.

    Args:
        page: whose event handlers find their session in `request.state.session`.
        sessions: of the server.
        port: at which the application is served.
    """
    app = FastAPI(openapi_url=None)

    @app.post(f"{API}/upload")
    async def upload(request: Request) -> list[str]:
        form = await request.form(max_files=4, max_fields=4)
        files = [each for each in form.getlist("files") if isinstance(each, UploadFile)]
        store = request.state.session.store
        return [await run_in_threadpool(store, each.filename or "", each.file) for each in files]

    @app.get(f"{API}/upload_progress")
    def upload_progress() -> Response:
        return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    @app.get(API + "/file={path:path}")
    def download(path: str, request: Request) -> Response:
        path = request.state.session.find(path)
        kind = mimetypes.guess_type(path)[0]
        headers = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
        if kind in SHOWN:
            return FileResponse(path, media_type=kind, headers=headers)
        return FileResponse(path, media_type="application/octet-stream", filename="file", headers=headers)

    config = page.get_config_file()
    kinds = {each["id"]: each["type"] for each in config["components"]}
    events = {each["id"]: [kinds[i] for i in each["inputs"]] for each in config["dependencies"]}
    theme = gr.themes.Default(font=FONTS, font_mono=["monospace"])
    gr.mount_gradio_app(
        app, page, "/", show_error=False, max_file_size=MAX_UPLOAD, footer_links=[], theme=theme, run_history=False
    )
    return Guard(app, sessions, events, port)


def listen(port: int | None) -> socket.socket:
    """Open a port of this machine alone, the first free one from 7860 on by default.

    Raises:
        UserError: if no port is free.
    """
    for each in range(7860, 7960) if port is None else [port]:
        try:
            return socket.create_server(("127.0.0.1", each))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
    raise UserError(f"port={port}: cannot be served ({reason}). Choose another port, or null.")


@contextmanager
def served(page: gr.Blocks, sessions: Sessions, port: int | None) -> Iterator[tuple[str, threading.Thread]]:
    """Serve a page until the context ends, and then end its sessions.

    Yields:
        Its address, and the thread that serves it.
    """
    listening = listen(port)
    address, port = listening.getsockname()
    quiet: dict[str, Any] = {"log_config": None, "log_level": "critical", "server_header": False}
    app = application(page, sessions, port)
    server = uvicorn.Server(uvicorn.Config(app, ws="none", proxy_headers=False, timeout_graceful_shutdown=1, **quiet))
    logging.getLogger("python_multipart").addHandler(logging.NullHandler())  # it logs malformed forms on stderr
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        yield f"http://{address}:{port}/", thread
    finally:
        sessions.closing.set()
        server.should_exit = True
        thread.join()
        sessions.close()
