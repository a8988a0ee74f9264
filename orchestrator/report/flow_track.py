"""A flow over time, small enough for a page: an envelope of the whole, and every probe where it matters.

The whole is cut into at most :data:`BUCKETS` equal times, each with how many probes arrived and the least and
the greatest delay among them, so that no spike disappears. Around interruptions, the longest first, each
arrival stands by itself as long as the budget lasts; a short flow has all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.evidence.read import FlowLogs
from orchestrator.evidence.verdict import Interruption

Integers = npt.NDArray[np.int64]

BUCKETS = 1_000
PROBES_A_BUCKET = 4
"""The fewest probes that a bucket is to hold, so that its rate says something."""
MOST_LOSSES = 2_000
"""Runs of lost probes that are kept one by one, the longest ones; the buckets count all."""
AROUND = 0.3
"""What is shown by itself on each side of an interruption, as a part of it."""
AROUND_PROBES = 100
"""And at the least this many probes."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Arrivals:
    """The arrivals in the order of time: when, and after what delay, in ns."""

    time_ns: Integers
    delay_ns: Integers

    @classmethod
    def of(cls, flow: FlowLogs) -> _Arrivals:
        if flow.received is None:
            return cls(time_ns=np.empty(0, np.int64), delay_ns=np.empty(0, np.int64))
        order = np.argsort(flow.received.received_ns, kind="stable")
        time_ns = flow.received.received_ns[order]
        return cls(time_ns=time_ns, delay_ns=np.maximum(time_ns - flow.received.sent_ns[order], 0))


def flow_track(
    flow: FlowLogs, interruptions: Sequence[Interruption], *, origin_ns: int, points: int
) -> dict[str, Any] | None:
    """The track of a flow as JSON values; None where nothing was sent and nothing arrived.

    Times are ms since ``origin_ns``, delays µs. ``points`` is the most arrivals that may stand by themselves.
    """
    arrivals = _Arrivals.of(flow)
    sent_ns = flow.sent.sent_ns if flow.sent is not None else np.empty(0, np.int64)
    both = [part for part in (sent_ns, arrivals.time_ns) if len(part)]
    if not both:
        return None
    begin = min(int(part.min()) for part in both)
    end = max(int(part.max()) for part in both) + 1
    interval_ns = flow.sent.interval_ns if flow.sent is not None else (end - begin) // BUCKETS + 1
    width = max((end - begin) // BUCKETS + 1, interval_ns * PROBES_A_BUCKET)
    count = (end - begin - 1) // width + 1
    lost_ns, losses = _losses(flow, origin_ns)
    return {
        "interval": interval_ns / 1e6,
        "start": _ms(begin - origin_ns),
        "end": _ms(end - origin_ns),
        "width": width / 1e6,
        **_envelope(arrivals, begin, width, count),
        "lost": np.bincount((lost_ns - begin) // width, minlength=count).tolist() if len(lost_ns) else [],
        "losses": losses,
        "details": _details(arrivals, interruptions, origin_ns, interval_ns, points),
    }


def _ms(ns: int) -> float:
    return round(ns / 1e6, 3)


def _envelope(arrivals: _Arrivals, begin: int, width: int, count: int) -> dict[str, list[int]]:
    """Of each bucket: how many arrived, the least and the greatest delay in µs (0 where none arrived)."""
    bucket = (arrivals.time_ns - begin) // width
    arrived = np.bincount(bucket, minlength=count)
    low, high = np.zeros(count, np.int64), np.zeros(count, np.int64)
    filled = np.flatnonzero(arrived)
    if len(filled):
        first = np.searchsorted(bucket, filled)
        low[filled] = np.minimum.reduceat(arrivals.delay_ns, first) // 1000
        high[filled] = np.maximum.reduceat(arrivals.delay_ns, first) // 1000
    return {"arrived": arrived.tolist(), "low": low.tolist(), "high": high.tolist()}


def _losses(flow: FlowLogs, origin_ns: int) -> tuple[Integers, list[list[float]]]:
    """When each lost probe was sent; and runs of them as first and last time and their number."""
    if flow.sent is None or flow.received is None:
        return np.empty(0, np.int64), []
    missing = ~np.isin(flow.sent.sequence, flow.received.sequence)
    at = np.flatnonzero(missing)
    if not len(at):
        return np.empty(0, np.int64), []
    breaks = np.flatnonzero(np.diff(at) != 1)
    first = at[np.concatenate([[0], breaks + 1])]
    last = at[np.concatenate([breaks, [len(at) - 1]])]
    longest = np.sort(np.argsort(first - last, kind="stable")[:MOST_LOSSES])
    times = flow.sent.sent_ns
    losses = [
        [_ms(int(times[a]) - origin_ns), _ms(int(times[b]) - origin_ns), int(b - a + 1)]
        for a, b in zip(first[longest].tolist(), last[longest].tolist(), strict=True)
    ]
    return times[at], losses


def _details(
    arrivals: _Arrivals, interruptions: Sequence[Interruption], origin_ns: int, interval_ns: int, points: int
) -> list[dict[str, Any]]:
    """The times in which each arrival stands by itself."""
    if len(arrivals.time_ns) <= points:
        whole = len(arrivals.time_ns)
        return [_detail(arrivals, 0, whole, origin_ns) | {"whole": True}] if whole else []
    wanted: list[tuple[int, int]] = []
    for interruption in sorted(interruptions, key=lambda one: one.start_ms - one.end_ms):
        start, end = (int(ms * 1e6) + origin_ns for ms in (interruption.start_ms, interruption.end_ms))
        around = max(int((end - start) * AROUND), AROUND_PROBES * interval_ns)
        first, last = np.searchsorted(arrivals.time_ns, [start - around, end + around]).tolist()
        points -= last - first
        if points < 0:
            break
        wanted.append((first, last))
    return [_detail(arrivals, first, last, origin_ns) for first, last in _joined(wanted)]


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that meet as one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[0] < span[1]):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _detail(arrivals: _Arrivals, first: int, last: int, origin_ns: int) -> dict[str, Any]:
    """Arrivals: the first one's time, then the µs from each to the next, and the delay of each in µs."""
    time_us = (arrivals.time_ns[first:last] - origin_ns) // 1000
    return {
        "start": int(time_us[0]) / 1000,
        "end": int(time_us[-1]) / 1000,
        "steps": np.diff(time_us, prepend=time_us[0]).tolist(),
        "delays": (arrivals.delay_ns[first:last] // 1000).tolist(),
    }
