"""The state machine of method 2: ACTIVE, or INACTIVE until a time, for each partner and side. No I/O.

::

    ACTIVE ── abnormal negotiation ──▶ INACTIVE until now + T ── the time is over ──▶ ACTIVE
                                            └── configuration changed, operator's word, success ──▶ ACTIVE

The *sender* is the side that began the abnormal negotiation, the *receiver* the one that answered it; a node
is both, towards the same partner, independently. Times are CLOCK_MONOTONIC in ns.

What hostile sources can make it remember is bounded: partners that were made known are always remembered, of
other addresses the last :data:`MOST_STRANGERS`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from nodes.abnormality.timing import Timing

MOST_STRANGERS = 256
MOST_MENDED = 3
"""How often in a row a sender's word, without a success in between, makes a receiver active."""
NS_PER_S = 1_000_000_000


class Side(enum.StrEnum):
    """The part that a node played in a negotiation."""

    SENDER = "sender"
    RECEIVER = "receiver"


class Reason(enum.StrEnum):
    """Why a side became active again; why it became inactive is what was abnormal."""

    EXPIRED = "expired"
    CONFIGURED = "configured"
    OPERATOR = "operator"
    SUCCEEDED = "succeeded"
    MENDED = "mended"
    """The sender says that its configuration has changed."""
    HANDLING_OFF = "handling-off"
    CROWDED_OUT = "crowded-out"
    GUARD_DIED = "guard-died"
    RESTORED = "restored"
    """The one that is of an inactive side: a restarted guard took it up."""


class Change(NamedTuple):
    """A change of state.

    Attributes:
        partner: the partner's address.
        active: what it is now.
        reason: a :class:`Reason`, or, where it became inactive, what was abnormal.
        for_ns: for how long it is inactive from now on; 0 where it is active.
        until_ns: until when; the moment itself where it is active.
        times: abnormal negotiations in a row.
    """

    partner: str
    side: Side
    active: bool
    reason: str
    for_ns: int
    until_ns: int
    times: int

    def said(self) -> dict[str, Any]:
        """The data of its event."""
        said: dict[str, Any] = {
            "partner": self.partner,
            "side": self.side.value,
            "reason": str(self.reason),
            "times": self.times,
        }
        if not self.active:
            said |= {"for_s": round(self.for_ns / NS_PER_S, 3), "until": self.until_ns}
        return said


class Record(Struct, kw_only=True):
    """What is remembered of one partner and side.

    Attributes:
        until_ns: until when it is inactive; 0: it is active.
        reason: what was abnormal the last time.
        times: abnormal negotiations in a row.
        mended: how often in a row the sender's word made it active.
    """

    partner: str
    side: Side
    until_ns: int = 0
    reason: str = ""
    times: int = 0
    mended: int = 0


class Machine:
    """The states of a node towards its partners.

    Args:
        timing: for partners that have none of their own.
    """

    def __init__(self, timing: Timing, *, most_strangers: int = MOST_STRANGERS) -> None:
        self._timing = timing
        self._timings: dict[str, Timing] = {}
        self._known: frozenset[str] = frozenset()
        self._most_strangers = most_strangers
        self._records: dict[tuple[str, Side], Record] = {}

    def timing(self, partner: str) -> Timing:
        """The times in force for a partner."""
        return self._timings.get(partner, self._timing)

    def configure(self, timing: Timing, partner: str | None = None) -> None:
        """Set the times, for one partner or for all that have none of their own; from the next change on."""
        if partner is None:
            self._timing = timing
        else:
            self._timings[partner] = timing

    @property
    def known(self) -> frozenset[str]:
        """The partners that were made known."""
        return self._known

    def know(self, partners: Iterable[str]) -> None:
        """Set which addresses are partners. Times of one that is none any more are forgotten."""
        self._known = frozenset(partners)
        self._timings = {one: timing for one, timing in self._timings.items() if one in self._known}

    def abnormal(self, partner: str, side: Side, what: str, now_ns: int) -> list[Change]:
        """A negotiation was abnormal; nothing changes where the side is inactive already.

        Returns the changes: it became inactive, and perhaps another was crowded out.
        """
        if self.is_inactive(partner, side, now_ns):
            return []
        key = (partner, side)
        record = self._records.pop(key, None) or Record(partner=partner, side=side)
        record.times += 1
        timing = self.timing(partner)
        seconds = (timing.sender if side is Side.SENDER else timing.receiver)(record.times)
        record.until_ns = now_ns + round(seconds * NS_PER_S)
        record.reason = what
        self._records[key] = record  # the newest stands last
        return [_inactive(record, what, now_ns), *self._bound(now_ns)]

    def is_inactive(self, partner: str, side: Side, now_ns: int) -> bool:
        """Whether this side is inactive towards the partner."""
        record = self._records.get((partner, side))
        return record is not None and record.until_ns > now_ns

    def records(self) -> Iterator[Record]:
        """Everything that is remembered."""
        return iter(self._records.values())

    def due(self, now_ns: int) -> list[Change]:
        """The sides whose time is over by now."""
        over = [one for one in self._records.values() if 0 < one.until_ns <= now_ns]
        return [self._activated(record, Reason.EXPIRED, now_ns) for record in over]

    @property
    def next_due_ns(self) -> int | None:
        """When the next side's time is over; None where all are active."""
        return min((one.until_ns for one in self._records.values() if one.until_ns), default=None)

    def activate(self, partner: str | None, reason: Reason, now_ns: int) -> list[Change]:
        """Make both sides active towards a partner, or towards all, and let their times begin anew."""
        changes = []
        for key, record in list(self._records.items()):
            if partner in (None, record.partner):
                del self._records[key]
                if record.until_ns:
                    changes.append(self._activated(record, reason, now_ns))
        return changes

    def succeeded(self, partner: str, now_ns: int) -> list[Change]:
        """A negotiation with a partner came to its end: both sides are active, their times begin anew."""
        return self.activate(partner, Reason.SUCCEEDED, now_ns)

    def mended(self, partner: str, now_ns: int) -> list[Change]:
        """The sender says that it is mended: the receiver is active, and its times go on growing."""
        record = self._records.get((partner, Side.RECEIVER))
        if record is None or record.until_ns <= now_ns or record.mended >= MOST_MENDED:
            return []
        record.mended += 1
        return [self._activated(record, Reason.MENDED, now_ns)]

    def snapshot(self) -> list[Record]:
        """What a restarted one is to take up."""
        return [msgspec.structs.replace(record) for record in self.records()]

    def restore(self, records: Iterable[Record], now_ns: int) -> list[Change]:
        """Take up what an earlier one remembered; returns what is still inactive.

        A time beyond what may be set is no time of ours, and is left out.
        """
        longest = now_ns + round(86_400 * NS_PER_S)
        for record in records:
            if record.until_ns <= longest and record.times > 0:
                self._records[(record.partner, record.side)] = record
                if record.until_ns <= now_ns:
                    record.until_ns = 0
        crowded_out = {(one.partner, one.side) for one in self._bound(now_ns)}
        return [
            _inactive(record, Reason.RESTORED, now_ns)
            for key, record in self._records.items()
            if record.until_ns and key not in crowded_out
        ]

    def _bound(self, now_ns: int) -> list[Change]:
        """Forget strangers beyond the bound: the active first, then the oldest."""
        strangers = [one for one in self._records.values() if one.partner not in self._known]
        too_many = len(strangers) - self._most_strangers
        if too_many <= 0:
            return []
        strangers.sort(key=lambda one: one.until_ns > 0)  # stable: the oldest stand first in either half
        changes = []
        for record in strangers[:too_many]:
            del self._records[(record.partner, record.side)]
            if record.until_ns:
                changes.append(self._activated(record, Reason.CROWDED_OUT, now_ns))
        return changes

    @staticmethod
    def _activated(record: Record, reason: Reason, now_ns: int) -> Change:
        record.until_ns = 0
        return Change(record.partner, record.side, True, reason, 0, now_ns, record.times)


def _inactive(record: Record, reason: str, now_ns: int) -> Change:
    for_ns = record.until_ns - now_ns
    return Change(record.partner, record.side, False, reason, for_ns, record.until_ns, record.times)
