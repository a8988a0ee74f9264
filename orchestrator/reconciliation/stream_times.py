"""When the records of a TCP flow arrived, by the packets. No I/O.

The kernel may join segments that wait to be read, and then knows the time of the last one alone. So on a
machine that keeps the reader waiting, its log has records that came in time, all at once and late: a stall
that the service did not have. The capture has the time of each segment.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from orchestrator.continuity import ReceivedLog, SentLog
from orchestrator.reconciliation.sightings import NEVER, Sightings, positions


def by_packets(sent: SentLog, received: ReceivedLog, arriving: Sightings) -> ReceivedLog:
    """What was received, each record when the packets say that it was there, if that is earlier."""
    at, known = positions(sent, received.sequence)
    seen_ns = np.full(len(sent.sequence), NEVER, np.int64)
    seen_ns[arriving.position] = arriving.time_ns
    times_ns = received.received_ns.copy()
    times_ns[known] = np.minimum(times_ns[known], seen_ns[at[known]])
    return dataclasses.replace(received, received_ns=times_ns)
