"""What is known of a flow's continuity, as plain values."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Interruption:
    """A time in which the service did not go on.

    Attributes:
        start_ns: when the first probe that was lost or late should have arrived, CLOCK_MONOTONIC.
        end_ns: the next arrival, earlier by as much as the sender paused before it.
        lost: the probes lost in it; 0 where they were only late.
    """

    start_ns: int
    end_ns: int
    lost: int

    @property
    def outage_ms(self) -> float:
        """How long it lasted, measured against the sender's schedule."""
        return (self.end_ns - self.start_ns) / 1e6


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Delay:
    """One-way delay (RFC 7679) of the probes that arrived, in ms, first copies only."""

    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Continuity:
    """A flow's continuity.

    Attributes:
        interval_ns: the nominal time between two probes.
        sent: the probes that the application sent or tried to send.
        received: different probes that arrived.
        lost: ``sent - received`` (RFC 7680, with the flow's end as the waiting time).
        duplicated: further copies that arrived (RFC 5560).
        reordered: probes that arrived after one with a larger number (RFC 4737, Type-P-Reordered).
        unexpected: arrivals of probes that are not among those sent: the evidence is incomplete.
        longest_gap_ms: the longest outage, short ones too.
        loss_derived_ms: lost probes times the interval (RFC 6412, loss-derived).
        timestamp_derived_ms: the outages of all interruptions together (RFC 6412, timestamp-based).
        delay: ``None`` where nothing arrived.
        interruptions: in the order of time.
    """

    interval_ns: int
    sent: int
    received: int
    lost: int
    duplicated: int
    reordered: int
    unexpected: int
    longest_gap_ms: float
    loss_derived_ms: float
    timestamp_derived_ms: float
    delay: Delay | None
    interruptions: tuple[Interruption, ...]

    @property
    def sent_nothing(self) -> bool:
        """Nothing was sent, so nothing can be said: such a flow is inconclusive, never continuous."""
        return self.sent == 0
