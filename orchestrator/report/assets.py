"""The files of a page, and what the page may do."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources


@functools.cache
def asset(name: str) -> str:
    """The text of a file of the page."""
    return resources.files(__package__).joinpath("page", name).read_text("utf-8")


def policy(style: str, script: str | None = None) -> str:
    """What a page may do: its own style and script, by their digests; without a script, none."""

    def digest(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    allowed = {
        "default-src": "'none'",
        "style-src": digest(style),
        "script-src": "'none'" if script is None else digest(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())
