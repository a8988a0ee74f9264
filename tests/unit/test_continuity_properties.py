"""The vectorised arithmetic equals a slow one that is written straight from the definitions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.continuity import Continuity, Interruption, continuity

INTERVAL = 1000
STALL = 5000


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What happened to a flow: probes as (number, sent, returned), arrivals as (number, received)."""

    sent: list[tuple[int, int, int]]
    arrivals: list[tuple[int, int]]

    def result(self) -> Continuity:
        columns = [np.array([probe[i] for probe in self.sent], dtype=np.int64) for i in range(3)]
        arrived = [np.array([arrival[i] for arrival in self.arrivals], dtype=np.int64) for i in range(2)]
        return continuity(
            columns[0],
            columns[1],
            arrived[0],
            arrived[1],
            interval_ns=INTERVAL,
            returned_ns=columns[2],
            stall_ms=STALL / 1e6,
        )


@st.composite
def evidence(draw: st.DrawFn, *, reorder: bool = True) -> Evidence:
    """A flow with pauses, jitter, losses, delays, copies, strays and, if asked, reordering."""
    sent: list[tuple[int, int, int]] = []
    arrivals: list[tuple[int, int]] = []
    number, now, order = draw(st.integers(0, 5)), draw(st.integers(0, 10**6)), 0
    for _ in range(draw(st.integers(0, 12))):
        number += draw(st.sampled_from([1, 1, 1, 1, 3]))
        now += draw(st.sampled_from([INTERVAL, INTERVAL, INTERVAL - 400, INTERVAL + 400, 20_000, 0]))
        call = draw(st.sampled_from([0, 10, 15_000]))
        sent.append((number, now, now + call))
        for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2]))):
            received = now + draw(st.sampled_from([100, 100, 300, 2500, 9000, 30_000]))
            if not reorder:
                received = order = max(received, order)
            arrivals.append((number, received))
    if draw(st.booleans()):
        arrivals.append((number + 1, now))
    return Evidence(sent, draw(st.permutations(arrivals)) if reorder else arrivals)


def by_definition(evidence: Evidence) -> tuple[Continuity, int]:
    """The continuity, without the delays' percentiles; and the largest delay."""
    sent = {number: (index, at, until) for index, (number, at, until) in enumerate(evidence.sent)}
    in_time = sorted(evidence.arrivals, key=lambda arrival: arrival[1])  # stable
    arrivals: list[tuple[int, int, int, int]] = []  # index, sent, left the sender, received; first copies
    duplicated = unexpected = 0
    for number, received in in_time:
        if number not in sent:
            unexpected += 1
        elif sent[number][0] in [arrival[0] for arrival in arrivals]:
            duplicated += 1
        else:
            index, at, until = sent[number]
            arrivals.append((index, at, min(max(at, received), max(at, until)), received))
    here = {arrival[0] for arrival in arrivals}

    def departure(index: int) -> int:
        of_arrival = [arrival[2] for arrival in arrivals if arrival[0] == index]
        return of_arrival[0] if of_arrival else max(evidence.sent[index][1:])

    def lost_between(low: int, high: int) -> int:
        return sum(index not in here for index in range(low, high))

    gaps: list[tuple[int, int, int]] = []  # due, end, lost
    last = len(sent) - 1
    top, top_delay = -1, 0  # the largest index that has arrived, and its delay
    if arrivals:
        first_ns = arrivals[0][3]
        under_way = [a for a in arrivals if a[2] <= first_ns + INTERVAL] + arrivals[:1]
        top_delay = min(a[3] - a[2] for a in under_way)
    not_before = -math.inf
    reordered = 0
    for index, _, left, received in arrivals:
        due = max(departure(top + 1) + top_delay, not_before) if top < last else received
        if index < top:
            reordered += 1
            gaps.append((due, received, 0))
            not_before = received + INTERVAL
        else:
            pauses_before_it = left - departure(index - 1) - INTERVAL if index > top + 1 else 0
            gaps.append((due, received - pauses_before_it, lost_between(top + 1, index)))
            top, top_delay, not_before = index, received - left, -math.inf
    if top < last:
        due = max(departure(top + 1) + top_delay, not_before)
        gaps.append((due, departure(last) + INTERVAL + top_delay, lost_between(top + 1, last + 1)))

    interruptions = tuple(
        Interruption(start_ns=int(due), end_ns=int(max(end, due)), lost=lost)
        for due, end, lost in gaps
        if lost or end - due >= STALL
    )
    lost_count = len(sent) - len(here)
    return Continuity(
        interval_ns=INTERVAL,
        sent=len(sent),
        received=len(here),
        lost=lost_count,
        duplicated=duplicated if sent else 0,
        reordered=reordered,
        unexpected=unexpected,
        longest_gap_ms=max([0, *(end - due for due, end, _ in gaps)]) / 1e6,
        loss_derived_ms=lost_count * INTERVAL / 1e6,
        timestamp_derived_ms=sum(i.end_ns - i.start_ns for i in interruptions) / 1e6,
        delay=None,
        interruptions=interruptions,
    ), max((a[3] - a[1] for a in arrivals), default=0)


@given(evidence())
def test_it_is_what_the_definitions_say(found: Evidence) -> None:
    expected, largest_delay = by_definition(found)
    result = found.result()
    assert dataclasses.replace(result, delay=None) == expected
    if result.delay is None:
        assert result.received == 0
    else:
        assert math.isclose(result.delay.max_ms, largest_delay / 1e6)
        assert result.delay.p50_ms <= result.delay.p99_ms <= result.delay.max_ms


@given(evidence())
def test_every_lost_probe_is_in_exactly_one_interruption(found: Evidence) -> None:
    result = found.result()
    assert sum(interruption.lost for interruption in result.interruptions) == result.lost
    assert result.sent == result.received + result.lost


@given(evidence(), st.integers(-(10**9), 10**9), st.integers(0, 10**9))
def test_neither_the_clock_nor_the_first_number_matters(found: Evidence, later: int, more: int) -> None:
    moved = Evidence(
        [(number + more, at + later, until + later) for number, at, until in found.sent],
        [(number + more, received + later) for number, received in found.arrivals],
    )
    result, original = moved.result(), found.result()
    assert [i.start_ns - later for i in result.interruptions] == [i.start_ns for i in original.interruptions]
    assert dataclasses.replace(result, interruptions=()) == dataclasses.replace(original, interruptions=())


@given(evidence(reorder=False), st.integers(0, 12), st.integers(0, 10**6))
def test_a_pause_of_the_sender_beside_an_arrival_changes_no_outage(
    found: Evidence, place: int, pause: int
) -> None:
    here = {number for number, _ in found.arrivals}
    beside = [number for number, _, _ in found.sent[max(place - 1, 0) : place + 1]]
    assume(place == 0 or any(number in here for number in beside))

    def paused_by(pause: int) -> Continuity:
        shift = {number: pause if i >= place else 0 for i, (number, _, _) in enumerate(found.sent)}
        sent = [(number, at + shift[number], until + shift[number]) for number, at, until in found.sent]
        arrivals = [(number, at + shift[number]) for number, at in found.arrivals if number in shift]
        calm = -(10**6)  # a first probe that arrives at once, so that the head is the same in both
        return Evidence([(-1, calm, calm), *sent], [(-1, calm), *arrivals]).result()

    paused, straight = paused_by(pause), paused_by(0)
    assert [(i.lost, i.outage_ms) for i in paused.interruptions] == [
        (i.lost, i.outage_ms) for i in straight.interruptions
    ]
    assert paused.longest_gap_ms == straight.longest_gap_ms
