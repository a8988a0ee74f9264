"""What a probe flow showed, from its logs and from what its two programs said at their end."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.continuity import (
    STALL_MS,
    Continuity,
    ReceivedLog,
    SentLog,
    continuity,
    read_received,
    read_sent,
)
from orchestrator.flows.spec import FlowSpec

Counts = Mapping[str, Any]
"""The data of a program's ``done`` event; empty for a program that was cut off."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowResult:
    """What a flow showed.

    Attributes:
        spec: what it was to be.
        flow_id: the id that its probes carry, 64 bits.
        continuity: the arithmetic of its logs.
        failed: probes that the sender's node refused to send, by errno; part of those sent and lost.
        skipped: slots of the schedule that the sender missed because it did not run.
        icmp_errors: probes that an ICMPv6 error came back for.
        strays: packets at the receiver's port that were no probe of the flow.
        dropped: probes that found no room in the receiver's socket.
        clock_steps: how often the wall clock was set while the flow ran.
        broken: the errno that ended the TCP connection early.
        retransmitted: segments that TCP sent again.
        identical: over TCP, whether the stream that arrived is the one sent; ``None`` where it did not
            arrive whole, or over UDP.
        sender_cpu_ms: processor time that the sender took.
        receiver_cpu_ms: processor time that the receiver took.
        cut_off: why the flow did not end in order.
        sent_log, received_log: the logs of its two ends.
        octets_sent: over TCP, the octets that the connection took; ``None`` where the sender was cut off.
        octets_received: over TCP, the octets that were read from it, likewise.
        congestion: the congestion control of a stream, as its sender's transport names it.
        fallback: whether an MPTCP connection was plain TCP; None with other transports.
        migrations: to how many addresses a QUIC client moved; None with other transports.
        stall_ms: the shortest outage without loss that is an interruption.
    """

    spec: FlowSpec
    flow_id: int
    continuity: Continuity
    failed: Mapping[str, int]
    skipped: int
    icmp_errors: int
    strays: int
    dropped: int
    clock_steps: int
    broken: str | None
    retransmitted: int | None
    identical: bool | None
    sender_cpu_ms: float
    receiver_cpu_ms: float
    cut_off: str | None
    sent_log: Path
    received_log: Path
    octets_sent: int | None
    octets_received: int | None
    congestion: str | None = None
    fallback: bool | None = None
    migrations: int | None = None
    stall_ms: float = STALL_MS

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why no verdict can rest on this flow; empty where one can. Each makes a verdict inconclusive."""
        doubts = []
        if self.cut_off is not None:
            doubts.append(self.cut_off)
        if self.continuity.sent_nothing:
            doubts.append("it sent nothing")
        if self.dropped:
            doubts.append(f"the receiver's socket had no room for {self.dropped} probes")
        if self.continuity.unexpected:
            doubts.append(f"{self.continuity.unexpected} probes arrived that the sender's log does not have")
        if self.identical is False:
            doubts.append("the stream that arrived is not the one that was sent")
        return tuple(doubts)

    def as_verdict(self, origin_ns: int) -> dict[str, Any]:
        """The flow as it stands in ``verdict.json``; times are ms since ``origin_ns`` (CLOCK_MONOTONIC).

        An interruption's ``event`` is for whoever knows the events.
        """
        found = self.continuity
        return {
            "name": self.spec.name,
            "source": self.spec.source,
            "destination": self.spec.destination,
            "transport": self.spec.transport.value,
            "sent": found.sent,
            "received": found.received,
            "lost": found.lost,
            "duplicated": found.duplicated,
            "reordered": found.reordered,
            "longest_gap_ms": found.longest_gap_ms,
            "delay_p50_ms": found.delay.p50_ms if found.delay else None,
            "delay_p99_ms": found.delay.p99_ms if found.delay else None,
            "delay_max_ms": found.delay.max_ms if found.delay else None,
            "loss_derived_ms": found.loss_derived_ms,
            "timestamp_derived_ms": found.timestamp_derived_ms,
            "interruptions": [
                {
                    "start_ms": (interruption.start_ns - origin_ns) / 1e6,
                    "end_ms": (interruption.end_ns - origin_ns) / 1e6,
                    "lost": interruption.lost,
                    "event": None,
                }
                for interruption in found.interruptions
            ],
        }


def read_result(
    spec: FlowSpec,
    flow_id: int,
    *,
    sent: Path,
    received: Path,
    sender: Counts,
    receiver: Counts,
    stall_ms: float,
    cut_off: str | None = None,
) -> FlowResult:
    """The result of a flow from its logs and its programs' last words.

    Raises:
        FlowError: a log is missing or is none.
    """
    sent_log, received_log = read_sent(sent), read_received(received)
    return FlowResult(
        spec=spec,
        flow_id=flow_id,
        continuity=continuity_of(sent_log, received_log, stall_ms),
        failed=_failed(sent_log),
        skipped=sender.get("skipped", 0),
        icmp_errors=sender.get("icmp_errors", 0),
        strays=receiver.get("strays", 0),
        dropped=receiver.get("dropped", 0),
        clock_steps=receiver.get("clock_steps", 0),
        broken=sender.get("broken") or receiver.get("broken"),
        retransmitted=sender.get("retransmitted"),
        identical=_identical(sender, receiver),
        sender_cpu_ms=sender.get("cpu_ms", 0.0),
        receiver_cpu_ms=receiver.get("cpu_ms", 0.0),
        cut_off=cut_off or _disagreement(sent_log, received_log, flow_id, sender, receiver),
        sent_log=sent,
        received_log=received,
        octets_sent=sender.get("octets"),
        octets_received=receiver.get("octets"),
        congestion=sender.get("congestion"),
        fallback=sender.get("fallback"),
        migrations=sender.get("migrations"),
        stall_ms=stall_ms,
    )


def continuity_of(sent: SentLog, received: ReceivedLog, stall_ms: float = STALL_MS) -> Continuity:
    """The continuity of a flow from the logs of its ends."""
    return continuity(
        sent.sequence,
        sent.sent_ns,
        received.sequence,
        received.received_ns,
        interval_ns=sent.interval_ns,
        returned_ns=np.where(sent.errno == 0, sent.returned_ns, sent.sent_ns),
        stall_ms=stall_ms,
    )


def _failed(sent: SentLog) -> dict[str, int]:
    numbers, counts = np.unique(sent.errno[sent.errno != 0], return_counts=True)
    return {
        errno.errorcode.get(number, str(number)): count
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    }


def _identical(sender: Counts, receiver: Counts) -> bool | None:
    if "sha256" not in sender or "sha256" not in receiver or sender["octets"] != receiver["octets"]:
        return None
    return bool(sender["sha256"] == receiver["sha256"])


def _disagreement(
    sent: SentLog, received: ReceivedLog, flow_id: int, sender: Counts, receiver: Counts
) -> str | None:
    """Where the logs are not what the programs say of them."""
    if {sent.flow_id, received.flow_id} != {flow_id}:
        return "its logs are of another flow"
    for log, said, end in (
        (sent, sender.get("sent"), "sender"),
        (received, receiver.get("received"), "receiver"),
    ):
        if said is not None and said != len(log.sequence):
            return f"the {end} counts {said} probes, its log {len(log.sequence)}"
    return None
