"""Which event an interruption is put down to. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from nodes.events import Event
from orchestrator.continuity.result import Interruption

CAUSES = ("fault.", "address.", "child-sa.", "ike-sa.", "charon.died", "node.died", "link.")
"""The kinds of events that can interrupt a flow, by how they begin."""
BEFORE_NS = 1_000_000_000
"""How long before an interruption its cause may be."""


def cause_of(interruption: Interruption, events: Iterable[Event]) -> Event | None:
    """The last event that can interrupt a flow, at most a second before it was; or the first within it."""
    before: Event | None = None
    within: Event | None = None
    for event in events:
        if not event.kind.startswith(CAUSES):
            continue
        if interruption.start_ns - BEFORE_NS <= event.time_ns <= interruption.start_ns:
            if before is None or event.time_ns > before.time_ns:
                before = event
        elif interruption.start_ns < event.time_ns <= interruption.end_ns and (
            within is None or event.time_ns < within.time_ns
        ):
            within = event
    return before or within
