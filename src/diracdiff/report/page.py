"""One HTML file that needs nothing else: template, style, script and data in it, and a policy that forbids the rest.

Names of files and other text of the user's reach the page as JSON, in which `<` cannot end the data's element, and the
script writes them as text, never as HTML. The policy lets the two scripts and styles with these very hashes run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from importlib.resources import files
from string import Template
from typing import Any

from diracdiff.utils.escaping import for_terminal

LARGEST = 10_000_000
"""Bytes that a page may have."""

NAME = "report.html"


def page(kind: str, title: str, content: dict[str, Any]) -> bytes:
    """A page.

    Args:
        kind: "walk" or "comparison": which body and script.
        title: of the window.
        content: what the script shows, in plain containers; numbers that are none become null.

    Raises:
        ValueError: if it is larger than a page may be.
    """
    style, script = _read("page.css"), "\n".join(_read(name) for name in ("page.js", "charts.js", f"{kind}.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hashed(style)}; script-src {_hashed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "style": style, "script": script, "body": _read(f"{kind}.html"), "data": _json(content)}
    made = Template(_read("page.html")).substitute(parts, title=html.escape(for_terminal(title))).encode()
    if len(made) > LARGEST:
        raise ValueError(f"a page must have at most {LARGEST} bytes, got {len(made)}")
    return made


def _read(name: str) -> str:
    return (files("diracdiff.report") / "assets" / name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    """What a policy knows a script or a style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(content: Any) -> str:
    """JSON that may stand inside of an element: no character of it begins or ends one."""
    text = json.dumps(_finite(content), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    """The same without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
