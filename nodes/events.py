"""The one stream of events that feeds the console, the timeline, the report and the tests."""

from __future__ import annotations

import time
from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, at one moment, in one place.

    ``time_ns`` is CLOCK_MONOTONIC in nanoseconds, which all nodes of a run share because they share
    a kernel. ``node`` is a node's name, or ``""`` for the testbed itself. ``kind`` is a dotted term of
    the field, such as ``child-sa.rekeyed``; ``data`` holds JSON values only.
    """

    time_ns: int
    node: str
    kind: str
    data: dict[str, Any] = {}


def event(kind: str, *, node: str = "", time_ns: int | None = None, **data: Any) -> Event:
    """Make an event of this moment, or of ``time_ns``."""
    return Event(time_ns=time.monotonic_ns() if time_ns is None else time_ns, node=node, kind=kind, data=data)
