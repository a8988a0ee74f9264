"""When the records of a TCP flow arrived, by the packets. No I/O.

The kernel may join segments that wait to be read, and then knows the time of the last one alone. So on a
machine that keeps the reader waiting, its log has records that came in time, all at once and late: a stall
that the service did not have. And where a segment was lost, its log has the time of what came behind it, out
of order, for what came when it was sent again. The capture has the time of each segment.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from orchestrator.continuity import ReceivedLog, SentLog
from orchestrator.reconciliation.sightings import NEVER, Sightings, positions


def by_packets(sent: SentLog, received: ReceivedLog, arriving: Sightings) -> ReceivedLog:
    """What was received, each record when the packets say that it was there; if none does, as it was."""
    at, known = positions(sent, received.sequence)
    seen_ns = np.full(len(sent.sequence), NEVER, np.int64)
    seen_ns[arriving.position] = arriving.time_ns
    times_ns = received.received_ns.copy()
    by_packet_ns = seen_ns[at[known]]
    times_ns[known] = np.where(by_packet_ns < NEVER, by_packet_ns, times_ns[known])
    return dataclasses.replace(received, received_ns=times_ns)
