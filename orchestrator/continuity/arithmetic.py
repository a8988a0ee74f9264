"""The continuity of a flow from its evidence: numbers and times in, outages out. Vectorised.

An *outage* is what a gap between two arrivals is longer than the sender's schedule explains. It begins when
the first probe that is missing should have arrived, and lasts for as long as missing probes were sent, one
interval, and what the delay grew by. For arrivals ``i`` then ``j``, ``a`` and ``b`` the largest probe numbers
seen up to each, and ``I`` the nominal interval::

    b = a + 1:  outage = delay_j - delay_a
    b > a + 1:  outage = (sent_(b-1) - sent_(a+1)) + I + (delay_j - delay_a)
    b = a:      outage = received_j - (sent_(a+1) + delay_a)      j is out of order, and a sign of life

So ``n`` probes lost in a row are ``n * I``; a network that holds everything for ``W`` is ``W``; a sender that
pauses, before, after or without a loss, is 0; its jitter does not add up. A pause between two probes that
were both lost counts: nothing says that the service was there. After an arrival out of order, the next one is
due an interval later at the earliest.

Before the first arrival, the delay to compare with is the smallest of the probes sent until then; after the
last, the outage lasts while probes were sent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orchestrator.continuity.result import Continuity, Delay, Interruption

Integers = npt.NDArray[np.int64]

_ZERO: Integers = np.zeros(1, dtype=np.int64)
_MINUS_ONE: Integers = _ZERO - 1

STALL_MS = 20.0
"""The shortest outage without loss that is an interruption.

Below it lies what a busy machine does by itself: the scheduler holds back a process that forwards, and the
softirq that stamps, for some milliseconds. 20 ms is a speech frame, and a tenth of TCP's shortest
retransmission timeout: an application does not notice less.
"""


def continuity(
    sent: Integers,
    sent_ns: Integers,
    received: Integers,
    received_ns: Integers,
    *,
    interval_ns: int,
    returned_ns: Integers | None = None,
    stall_ms: float = STALL_MS,
) -> Continuity:
    """The continuity of one flow.

    Args:
        sent: the numbers of the probes sent, strictly increasing; failed sends too. Shape (n,).
        sent_ns: when each was sent, not decreasing. Shape (n,).
        received: the numbers of the probes that arrived, in any order, duplicates too. Shape (m,).
        received_ns: when each arrived, on the clock of ``sent_ns``. Shape (m,).
        interval_ns: the nominal time between two probes.
        returned_ns: until when each send may have been held up in the sender itself, so that a sender that
            was stopped between reading the clock and sending is no outage. Shape (n,); ``sent_ns`` if absent.
        stall_ms: the shortest outage without loss that is an interruption.

    Raises:
        ValueError: the arrays do not fit together.
    """
    _check(sent, sent_ns, received, received_ns, interval_ns)
    if not len(sent):
        return _nothing_sent(len(received), interval_ns)
    positions, known = _positions(sent, received)
    order = _by_time(received_ns[known])
    positions, times = positions[known][order], received_ns[known][order]
    first_copy = _first_copies(positions, len(sent))
    duplicated = len(positions) - int(np.count_nonzero(first_copy))
    positions, times = positions[first_copy], times[first_copy]

    departed = sent_ns if returned_ns is None else np.maximum(sent_ns, returned_ns)
    gaps = _Gaps(sent_ns, departed, positions, times, interval_ns)
    is_interruption = (gaps.lost > 0) | (gaps.outage >= stall_ms * 1e6)
    outages = np.maximum(gaps.outage[is_interruption], 0)
    lost = len(sent) - len(positions)
    return Continuity(
        interval_ns=interval_ns,
        sent=len(sent),
        received=len(positions),
        lost=lost,
        duplicated=duplicated,
        reordered=int(np.count_nonzero(gaps.highest != positions)),
        unexpected=len(received) - int(np.count_nonzero(known)),
        longest_gap_ms=max(int(gaps.outage.max(initial=0)), 0) / 1e6,
        loss_derived_ms=lost * interval_ns / 1e6,
        timestamp_derived_ms=int(outages.sum()) / 1e6,
        delay=_delay(times - sent_ns[positions]),
        interruptions=tuple(
            Interruption(start_ns=start, end_ns=start + outage, lost=lost)
            for start, outage, lost in zip(
                gaps.start[is_interruption].tolist(),
                outages.tolist(),
                gaps.lost[is_interruption].tolist(),
                strict=True,
            )
        ),
    )


class _Gaps:
    """The gaps of a flow: before the first arrival, between arrivals, and after the last one.

    ``positions`` are indices into the probes sent, one an arrival, in the order of time, each once.

    Attributes:
        highest: the largest position seen up to each arrival. Shape (m,).
        lost: the probes lost in each gap. Shape (m + 1,).
        start: when the next probe is due in each gap.
        outage: in ns; not above 0 where there is none.
    """

    def __init__(
        self, sent_ns: Integers, departed: Integers, positions: Integers, times: Integers, interval_ns: int
    ) -> None:
        last = len(sent_ns) - 1
        highest: Integers = np.maximum.accumulate(positions)
        self.highest = highest
        before = np.concatenate([_MINUS_ONE, highest])  # -1 stands before the first probe
        until = np.append(highest, last)
        arrived = np.zeros(len(sent_ns), dtype=bool)
        arrived[positions] = True
        missing = np.concatenate([_ZERO, np.cumsum(~arrived)])
        self.lost: Integers = missing[until + 1] - missing[before + 1]

        # A probe left the sender, at the latest, when the call returned or when the probe was there.
        left = np.clip(times, sent_ns[positions], departed[positions])
        departure = departed.copy()
        departure[positions] = left
        delay = np.zeros(len(sent_ns), dtype=np.int64)
        delay[positions] = times - left

        base = self._base_delay(departure[positions], delay[positions], times, interval_ns)
        known_delay = np.concatenate([np.full(1, base), delay[highest]])
        due = departure[np.minimum(before + 1, last)] + known_delay
        out_of_order = np.flatnonzero(positions != highest)
        due[out_of_order + 1] = np.maximum(due[out_of_order + 1], times[out_of_order] + interval_ns)
        self.start: Integers = due

        delay_after = np.append(delay[positions], known_delay[-1])
        end = departure[np.maximum(until - 1, 0)] + interval_ns + delay_after
        end[-1] = departure[last] + interval_ns + delay_after[-1]
        directly = np.flatnonzero(highest <= before[:-1] + 1)
        end[directly] = times[directly]
        self.outage: Integers = np.where(before < last, end - due, 0)  # after the last probe none is due

    @staticmethod
    def _base_delay(departure: Integers, delay: Integers, times: Integers, interval_ns: int) -> int:
        """The delay that the first arrival would have had without a hold; 0 where nothing arrived."""
        if not len(times):
            return 0
        return int(delay[departure <= times[0] + interval_ns].min(initial=int(delay[0])))


def _check(
    sent: Integers, sent_ns: Integers, received: Integers, received_ns: Integers, interval_ns: int
) -> None:
    if sent.shape != sent_ns.shape or received.shape != received_ns.shape or sent.ndim != 1:
        raise ValueError("each probe number needs one time")
    if interval_ns <= 0:
        raise ValueError(f"an interval of {interval_ns} ns")
    if not (np.all(sent[1:] > sent[:-1]) and np.all(sent_ns[1:] >= sent_ns[:-1])):
        raise ValueError("the probes sent are not in their order")


def _nothing_sent(unexpected: int, interval_ns: int) -> Continuity:
    return Continuity(
        interval_ns=interval_ns,
        sent=0,
        received=0,
        lost=0,
        duplicated=0,
        reordered=0,
        unexpected=unexpected,
        longest_gap_ms=0.0,
        loss_derived_ms=0.0,
        timestamp_derived_ms=0.0,
        delay=None,
        interruptions=(),
    )


def _positions(sent: Integers, received: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Where each arrival stands among the probes sent, and whether it does."""
    if sent[-1] - sent[0] == len(sent) - 1:  # without holes, which is how a sender numbers
        positions = received - sent[0]
        return positions, (positions >= 0) & (positions < len(sent))
    positions = np.searchsorted(sent, received).astype(np.int64)
    inside = positions < len(sent)
    return positions, inside & (sent[np.where(inside, positions, 0)] == received)


def _by_time(times: Integers) -> slice | Integers:
    """The order of time; arrivals of one moment stay in the order in which they were read."""
    if np.all(times[1:] >= times[:-1]):
        return slice(None)
    return np.argsort(times, kind="stable").astype(np.int64)


def _first_copies(positions: Integers, sent: int) -> npt.NDArray[np.bool_]:
    """Which arrivals are the first copy of their probe; only these count further (RFC 4737, 3.3)."""
    first = np.empty(sent, dtype=np.int64)
    backwards = np.arange(len(positions) - 1, -1, -1)
    first[positions[::-1]] = backwards  # of several, the last that is assigned stays: the earliest
    return np.asarray(first[positions] == np.arange(len(positions)), dtype=np.bool_)


def _delay(delays: Integers) -> Delay | None:
    if not len(delays):
        return None
    p50, p99 = np.percentile(delays, [50, 99])
    return Delay(p50_ms=float(p50) / 1e6, p99_ms=float(p99) / 1e6, max_ms=int(delays.max()) / 1e6)
