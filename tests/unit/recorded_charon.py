"""What two charons said of negotiations, abnormal ones and good ones, by VICI's ``log`` events (5.9.8).

``a`` began them. Lines stand as VICI delivered them, which is not always as charon wrote them. Lines about
vendor IDs are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "data" / "charon-abnormal"
A, B = "fd68:6f70:6264:1::a2", "fd68:6f70:6264:1::b2"


class Line(NamedTuple):
    at: str
    ike_id: int | None
    text: str


def recorded(name: str) -> list[Line]:
    """The lines of both ends."""
    return [Line(**json.loads(line)) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


def recordings() -> list[str]:
    """Their names."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))
