"""How deep a stream's throughput fell. No I/O."""

from __future__ import annotations

import dataclasses

import numpy as np

from orchestrator.continuity.flow_logs import ReceivedLog


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dip:
    """The worst time of a stream.

    Attributes:
        percent: by how much the least throughput is below the usual one, the median; 100 is a standstill.
        usual, least: records that arrived in a bin.
        at_ns: when the worst bin begins.
    """

    percent: float
    usual: float
    least: int
    at_ns: int


def deepest_dip(received: ReceivedLog, *, start_ns: int, end_ns: int, bin_ns: int) -> Dip | None:
    """The deepest dip within a time, by bins of ``bin_ns`` that slide by a tenth; None where nothing came.

    A bin that slides finds a standstill wherever it falls. The usual throughput is that of the whole log's
    first half second at least, up to ``start_ns``, or the median where there is no such time.
    """
    times = np.sort(received.received_ns)
    if not len(times) or end_ns - start_ns < bin_ns:
        return None
    starts = np.arange(start_ns, end_ns - bin_ns + 1, max(bin_ns // 10, 1))
    counts = np.searchsorted(times, starts + bin_ns) - np.searchsorted(times, starts)
    before = np.arange(times[0], start_ns - bin_ns, bin_ns)
    if len(before) >= 3:
        usual = float(np.median(np.searchsorted(times, before + bin_ns) - np.searchsorted(times, before)))
    else:
        usual = float(np.median(counts))
    worst = int(np.argmin(counts))
    least = int(counts[worst])
    percent = max(0.0, 100.0 * (1 - least / usual)) if usual else 100.0
    return Dip(percent=percent, usual=usual, least=least, at_ns=int(starts[worst]))
