"""The hops of a run, each with when it came to which phase, from the events ``hop.*``. No I/O.

``hop.closed`` tells the phases of its hop in ms after the hop's beginning (``phases_ms``);
of a hop that was not closed there are the events of its phases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from nodes.events import Event

PHASES = ("asked", "answered", "prepared", "switched", "acknowledged", "closed")
"""As they follow each other; ``acknowledged``: the partner has switched too."""


@dataclasses.dataclass(kw_only=True)
class HopLine:
    """One hop of one node.

    Attributes:
        node: whose address hops.
        number: of the hop at its node.
        first, second: its addresses.
        start_ns: when it began, CLOCK_MONOTONIC.
        end_ns: when it was closed, or came to nothing; None where neither was told.
        phases_ms: when it came to each of :data:`PHASES`, after its beginning.
        outcomes: how many services had which.
        failed: why it came to nothing; empty where it did not.
    """

    node: str
    number: int
    first: str
    second: str
    start_ns: int
    end_ns: int | None = None
    phases_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    outcomes: dict[str, int] = dataclasses.field(default_factory=dict)
    failed: str = ""


def hop_lines(events: Iterable[Event]) -> list[HopLine]:
    """The hops in the order in which they began; ``events`` in the order of time."""
    lines: dict[tuple[str, int], HopLine] = {}
    for event in events:
        prefix, _, what = event.kind.partition(".")
        number = event.data.get("hop")
        if prefix != "hop" or not isinstance(number, int):
            continue
        key = (event.node, number)
        if what == "started" or (key not in lines and what in ("closed", "failed")):
            lines[key] = HopLine(
                node=event.node,
                number=number,
                first=str(event.data.get("first", "")),
                second=str(event.data.get("second", "")),
                start_ns=event.time_ns,
            )
        if key in lines:
            _take(lines[key], what, event)
    return sorted(lines.values(), key=lambda line: line.start_ns)


def _take(line: HopLine, what: str, event: Event) -> None:
    since_ms = (event.time_ns - line.start_ns) / 1e6
    if what == "closed":
        line.end_ns = event.time_ns
        told = event.data.get("phases_ms")
        phases = told if isinstance(told, Mapping) else {}
        line.phases_ms |= {phase: float(phases[phase]) for phase in PHASES if phase in phases}
        if "closed" in phases:
            line.start_ns = event.time_ns - int(line.phases_ms["closed"] * 1e6)
        outcomes = event.data.get("outcomes")
        line.outcomes = dict(outcomes) if isinstance(outcomes, Mapping) else {}
    elif what == "failed":
        line.end_ns = event.time_ns
        line.failed = str(event.data.get("reason", ""))
    elif what in PHASES:
        line.phases_ms[what] = since_ms  # with several partners the last one counts
