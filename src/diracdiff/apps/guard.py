"""ASGI middleware of the demo: it accepts only requests of this machine, and serves only files of the demo.

Gradio accepts all hosts and origins, serves URLs as files, and does not limit uploads or the total size of files.
"""

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS, API = ("127.0.0.1", "localhost"), "/gradio_api"
MAX_UPLOAD, MAX_STORED = 40_000_000, 200_000_000
"""Maximum bytes of an upload, and of all stored files before an upload."""


class Guard:
    """ASGI middleware that refuses requests from other machines, large uploads, and files outside a folder.

    Args:
        app: application that receives the accepted requests.
        folder: temporary folder of Gradio.
    """

    def __init__(self, app: ASGIApp, folder: Path):
        self.app, self.folder = app, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (status := self._refused(Request(scope))):
            await JSONResponse({"detail": "The demo does not answer this request."}, status)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refused(self, request: Request) -> int | None:
        """Return the HTTP status of a refused request; None: accepted."""
        host, path, length = request.headers.get("host", ""), request.url.path, request.headers.get("content-length")
        if host.rpartition(":")[0].lower() not in HOSTS:  # for example after DNS rebinding
            return 421
        if request.headers.get("origin", f"http://{host}").lower() != f"http://{host.lower()}":
            return 403
        if path.startswith(f"{API}/file=") and not is_inside(self.folder, path.partition("=")[2]):
            return 403
        if path == f"{API}/upload":
            if not (length or "").isdecimal() or int(length or 0) > MAX_UPLOAD:
                return 413
            remove_oldest(self.folder, MAX_STORED)
        return None


def is_inside(folder: Path, path: str) -> bool:
    """Return True if a path, existing or not, is inside a folder."""
    return "\0" not in path and Path(os.path.realpath(path)).is_relative_to(folder.resolve())


def remove_oldest(folder: Path, max_bytes: int) -> None:
    """Remove the oldest files of a folder until the total size is at most `max_bytes`."""
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_mtime_ns)
    for path in files:
        max_bytes -= path.stat().st_size
        if max_bytes < 0:
            path.unlink()
