"""How deep a stream's throughput fell. No I/O."""

from __future__ import annotations

import dataclasses

import numpy as np

from orchestrator.continuity.flow_logs import Integers, ReceivedLog, SentLog

_LEAST_OFFERED = 0.5
"""A bin in which the sender offered less than this share of its rate says nothing: the sender paused."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dip:
    """The worst time of a stream.

    Attributes:
        percent: by how much less arrived than was offered, of what was offered; 100 is a standstill.
        offered, arrived: records in the worst bin.
        at_ns: when it begins.
    """

    percent: float
    offered: int
    arrived: int
    at_ns: int


def deepest_dip(
    sent: SentLog, received: ReceivedLog, *, start_ns: int, end_ns: int, bin_ns: int
) -> Dip | None:
    """The deepest dip within a time, by bins that slide by a tenth of their width; None where none is known.

    What is offered in a bin is what was sent one usual delay before it, so that a pause of the sender is no
    dip. The usual delay is the median of what arrived before ``start_ns``, or of all where nothing did.
    """
    if not len(received.received_ns) or end_ns - start_ns < bin_ns:
        return None
    delays = received.received_ns - received.sent_ns
    before = delays[received.received_ns < start_ns]
    usual = int(np.median(before if len(before) else delays))
    starts = np.arange(start_ns, end_ns - bin_ns + 1, max(bin_ns // 10, 1), dtype=np.int64)
    offered = _counts(np.sort(sent.sent_ns) + usual, starts, bin_ns)
    arrived = _counts(np.sort(received.received_ns), starts, bin_ns)
    judged = np.flatnonzero(offered >= _LEAST_OFFERED * bin_ns / max(sent.interval_ns, 1))
    judged = judged[offered[judged] > 0]
    if not len(judged):
        return None
    missing = 1 - arrived[judged] / offered[judged]
    worst = judged[np.argmax(missing)]
    return Dip(
        percent=max(0.0, 100.0 * float(missing.max())),
        offered=int(offered[worst]),
        arrived=int(arrived[worst]),
        at_ns=int(starts[worst]),
    )


def _counts(times: Integers, starts: Integers, width: int) -> Integers:
    counts: Integers = np.searchsorted(times, starts + width) - np.searchsorted(times, starts)
    return counts
