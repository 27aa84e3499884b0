"""HTML pages of one file: data, style and scripts inside, nothing loaded from anywhere.

Every page is one template with the same style; Python gathers plain data, and the page's script
draws it. Text of files and classes reaches the page only as data (JSON without `<`) and is put
there as text, so no name is markup. The page's own Content-Security-Policy allows only the
scripts that were written into it, and no connection.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from eventkit._write import whole

ASSETS = files(__name__) / "assets"
SHARED = ("page.js", "charts.js")  # run before the script of a page
SCRIPTS: dict[str, tuple[str, ...]] = {
    "viewer": ("events.js", "scene.js", "live.js", "viewer.js"),
    "report": ("events.js", "tiles.js", "report.js"),
    "run": ("events.js", "tiles.js", "network.js", "run.js"),
    "compare": ("network.js", "compare.js"),
    "doctor": ("events.js", "scene.js", "doctor.js"),
}


def write(path: str | Path, kind: str, title: str, data: Mapping[str, Any]) -> Path:
    """Write a page of one of the kinds in SCRIPTS; returns the path.

    `data` holds plain values; NaN and infinite numbers become null, NumPy values plain ones.
    """
    path = Path(path)
    text = build(kind, title, data)
    with whole(path) as temporary:
        temporary.write_bytes(text)
    return path


def build(kind: str, title: str, data: Mapping[str, Any], *, connects: bool = False) -> bytes:
    """The page as UTF-8. With `connects` it may fetch from the server that it came from."""
    script = "\n".join(asset(name) for name in (*SHARED, *SCRIPTS[kind]))
    style = asset("page.css")
    parts = {
        "title": html.escape(title.encode(errors="replace").decode()),
        "policy": "; ".join(
            [
                "default-src 'none'",
                "img-src data: blob:",
                f"style-src {_digest(style)}",
                f"script-src {_digest(script)}",
                f"connect-src {chr(39)}self{chr(39)}" if connects else "connect-src 'none'",
            ]
        ),
        "style": style,
        "data": as_json({"title": title, **data}),
        "script": script,
    }
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], asset("page.html"))
    return text.encode()


def asset(name: str) -> str:
    """The text of a file in assets/."""
    return (ASSETS / name).read_text(encoding="utf-8")


def as_json(value: Any) -> str:
    """JSON that can stand in a script element: ASCII, and no `<` that could end it."""
    text = json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _digest(text: str) -> str:
    """What a Content-Security-Policy calls an inline script or style."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
