"""Which event an interruption is put down to. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from nodes.events import Event
from orchestrator.continuity.result import Interruption

IMPOSED = ("fault.applied", "address.", "link.", "charon.died", "node.died", "runtime.died")
"""What was done to the service: kinds of events, by how they begin. SA changes may be their consequences."""
SA_CHANGES = ("child-sa.", "ike-sa.")
"""What the daemons did about it, or by themselves."""

BEFORE_NS = 1_000_000_000
"""How long before an interruption its cause may be, if there may be several."""
LATE_NS = 100_000_000
"""How long after the beginning of an interruption the event of its cause may be. A daemon says what it did
once it is done, over VICI, and a fault is applied to the message that it sends after it used its new SA."""
FAULT_BEFORE_NS = 10_000_000_000
"""How long before an interruption a fault may be its cause where nothing else may: what a lost message has
brought about may show with a retransmission, charon's first ones after 4.0 and 7.2 s."""


def cause_of(interruption: Interruption, events: Iterable[Event]) -> Event | None:
    """The event that an interruption is put down to, or None where no event explains it.

    The first of these that there is:

    1. of what was imposed on the service, the nearest to the beginning, from a second before it to a tenth
       after it;
    2. of the changes of SAs, the same;
    3. the last fault within the ten seconds before it;
    4. the first fault within it, which then prolonged it.
    """
    start_ns = interruption.start_ns
    suspects = [event for event in events if event.kind.startswith((*IMPOSED, *SA_CHANGES))]
    near = [one for one in suspects if start_ns - BEFORE_NS <= one.time_ns <= start_ns + LATE_NS]
    for kinds in (IMPOSED, SA_CHANGES):
        if of_kind := [one for one in near if one.kind.startswith(kinds)]:
            return min(of_kind, key=lambda one: abs(one.time_ns - start_ns))
    faults = [one for one in suspects if one.kind.startswith(IMPOSED[0])]
    if earlier := [one for one in faults if start_ns - FAULT_BEFORE_NS <= one.time_ns <= start_ns]:
        return max(earlier, key=lambda one: one.time_ns)
    within = [one for one in faults if start_ns < one.time_ns <= interruption.end_ns]
    return min(within, key=lambda one: one.time_ns, default=None)


def describe(cause: Event) -> str:
    """The event in words: its kind, its node, and, of a fault, the rule."""
    words = f"{cause.kind} {cause.node}".strip()
    rule = cause.data.get("rule") or cause.data.get("fault")
    return f"{words}: {rule}" if isinstance(rule, str) else words
