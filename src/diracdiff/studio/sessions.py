"""Sessions of the page: the files and results of one browser, out of reach of every other one."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from starlette.exceptions import HTTPException

MAX_SESSIONS, MAX_PAGES = 8, 4
"""Sessions of the server, and open pages of one session."""

MAX_UPLOAD, MAX_IN_TRANSIT, MAX_STORED = 40_000_000, 120_000_000, 200_000_000
"""Bytes of one upload, of all uploads that a session sends at one time, and of the files that it keeps."""

MAX_RESULTS = 2_000_000_000
"""Bytes in memory of the results of all pages."""

MAX_IDLE = 600.0
"""Seconds after which a session without an open page ends."""

UNAVAILABLE = "This file is not available: upload it again."
"""Answer for every file that is not the session's, whether it exists or not."""


@dataclass(eq=False)
class Session:
    """One browser.

    Attributes:
        folder: of its files.
        files: {path: bytes}, the least recently used one first.
        results: {page: its last result or None}, the least recently used page first.
        in_transit: bytes of uploads that have not ended.
        users: number of requests and event handlers that use the session now.
        last_used: time at which the last one ended, in seconds.
    """

    folder: Path
    files: OrderedDict[str, int] = field(default_factory=OrderedDict)
    results: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    in_transit: int = 0
    users: int = 0
    last_used: float = field(default_factory=time.monotonic)

    def new_path(self, name: str) -> Path:
        """Return an unguessable path for a file with a name that is safe in paths and headers."""
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir()
        return folder / (re.sub(r"[^\w. ()+-]", "_", re.split(r"[/\\]", name)[-1])[-48:].strip(" .") or "file")

    def add(self, path: Path) -> str:
        """Add a new file, and remove the least recently used ones above the limit; returns its path."""
        self.files[str(path)] = path.stat().st_size
        while len(self.files) > 1 and sum(self.files.values()) > MAX_STORED:
            shutil.rmtree(Path(self.files.popitem(last=False)[0]).parent)
        return str(path)

    def store(self, name: str, content: BinaryIO) -> str:
        """Copy an upload into a new file; returns its path."""
        path = self.new_path(name)
        with path.open("xb") as file:
            shutil.copyfileobj(content, file)
        return self.add(path)

    def find(self, path: object) -> str:
        """Return a path if it is that of one of the session's files; the disk is not consulted.

        Raises:
            HTTPException: otherwise.
        """
        if not isinstance(path, str) or path not in self.files:
            raise HTTPException(403, UNAVAILABLE)
        self.files.move_to_end(path)
        return path


class Sessions:
    """All sessions of a server, for use from several threads.

    Args:
        folder: in which each session gets its own folder.
    """

    def __init__(self, folder: Path):
        self.folder, self.closing = folder, threading.Event()
        self._sessions: dict[str, Session] = {}
        self._lock = threading.RLock()

    def find(self, token: str) -> Session | None:
        """Return the session of a token."""
        return self._sessions.get(token)

    def create(self) -> str:
        """Create a session; returns its token.

        Raises:
            HTTPException: if too many sessions have files or open pages.
        """
        with self._lock:
            self.expire()
            if len(self._sessions) >= MAX_SESSIONS:
                unused = [token for token, session in self._sessions.items() if not session.users and not session.files]
                if not unused:
                    raise HTTPException(429, "Too many sessions: close a page, and try again in ten minutes.")
                self._end(unused[0])
            token, folder = secrets.token_urlsafe(32), self.folder / secrets.token_hex(16)
            folder.mkdir()
            self._sessions[token] = Session(folder)
            return token

    def open_page(self, session: Session, page: str) -> None:
        """Give a page, by the name that its browser made, to a session.

        Raises:
            HTTPException: if it belongs to another session.
        """
        with self._lock:
            if any(page in other.results for other in self._sessions.values() if other is not session):
                raise HTTPException(403, "This page belongs to another session: reload it.")
            session.results.setdefault(page, None)
            session.results.move_to_end(page)
            while len(session.results) > MAX_PAGES:
                session.results.popitem(last=False)

    def keep(self, session: Session, page: str, result: Any) -> None:
        """Keep the last result of a page, and drop those of other pages above the limit.

        Args:
            session: of the page.
            page: whose result is replaced.
            result: has an attribute `nbytes`.
        """
        with self._lock:
            session.results[page] = result
            for other in sorted(self._sessions.values(), key=lambda each: each.last_used):
                for name in other.results:
                    kept = [each for owner in self._sessions.values() for each in owner.results.values() if each]
                    if sum(each.nbytes for each in kept) > MAX_RESULTS and other.results[name] is not result:
                        other.results[name] = None

    @contextmanager
    def using(self, session: Session) -> Iterator[None]:
        """Keep a session from ending."""
        with self._lock:
            session.users += 1
        try:
            yield
        finally:
            with self._lock:
                session.users, session.last_used = session.users - 1, time.monotonic()

    def expire(self, idle: float = MAX_IDLE) -> None:
        """End the sessions that nobody has used for some seconds."""
        with self._lock:
            for token, session in list(self._sessions.items()):
                if not session.users and time.monotonic() - session.last_used >= idle:
                    self._end(token)

    def close(self, patience: float = 30.0) -> None:
        """Ask event handlers to stop, wait for them, and end all sessions."""
        self.closing.set()
        deadline = time.monotonic() + patience
        while any(session.users for session in self._sessions.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for token in list(self._sessions):
            self._end(token)

    def _end(self, token: str) -> None:
        shutil.rmtree(self._sessions.pop(token).folder)
