"""What the events of a run tell of its hops: phases, outcomes, and when which address was retired. No I/O."""

from __future__ import annotations

import ipaddress
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nodes.events import Event
from orchestrator.capture.retired import Retired
from orchestrator.continuity.flow_logs import ReceivedLog, SentLog
from orchestrator.continuity.throughput import deepest_dip

CLOSED = "hop.closed"
FAILED = "hop.failed"
SERVICE = "hop.service"
_BIN_NS = 100_000_000


def closed(events: Iterable[Event], node: str | None = None) -> list[Event]:
    """The hops that were closed, of one node or of all."""
    return [event for event in events if event.kind == CLOSED and node in (None, event.node)]


def dip(sent: SentLog, received: ReceivedLog, events: Iterable[Event], node: str) -> float:
    """The deepest dip of a stream from the first change of a node's address on, in percent.

    A hop daemon tells of the addresses that it finds, too: before the traffic, so they are no change, and the
    stream's slow start is no dip. 100 where there was no change, or nothing arrived.
    """
    if not len(sent.sent_ns):
        return 100.0
    began, ended = int(sent.sent_ns.min()), int(sent.sent_ns.max())
    changes = [
        event.time_ns
        for event in events
        if event.kind in ("hop.started", "address.added") and event.node == node and event.time_ns > began
    ]
    if not changes:
        return 100.0
    found = deepest_dip(sent, received, start_ns=min(changes), end_ns=ended, bin_ns=_BIN_NS)
    return 100.0 if found is None else found.percent


def phases(events: Iterable[Event]) -> dict[str, dict[str, float]]:
    """Of each phase of the closed hops, in ms after the hop's beginning: median, p95 and the most."""
    by_phase: dict[str, list[float]] = {}
    for event in closed(events):
        for phase, reached_ms in event.data.get("phases_ms", {}).items():
            by_phase.setdefault(phase, []).append(float(reached_ms))
    return {
        phase: {
            "median": round(statistics.median(times), 3),
            "p95": round(_p95(times), 3),
            "max": round(max(times), 3),
            "hops": len(times),
        }
        for phase, times in by_phase.items()
    }


def _p95(values: Sequence[float]) -> float:
    """The 95th percentile, of few values the largest."""
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def outcomes_by_service(events: Iterable[Event], node: str, partner: str) -> dict[str, dict[str, int]]:
    """For each service of a node with a partner, how many times it had each outcome."""
    found: dict[str, Counter[str]] = {}
    for event in events:
        if event.kind == SERVICE and event.node == node and event.data.get("partner") == partner:
            service = service_in_words(event.data.get("service"))
            found.setdefault(service, Counter())[str(event.data.get("outcome"))] += 1
    return {service: dict(counts) for service, counts in found.items()}


def retired(events: Iterable[Event]) -> list[Retired]:
    """The addresses that were retired, each from the close of its hop on.

    An address that was still needed at the close, as for a service that could not leave it, is retired when
    it is removed.
    """
    found: dict[str, Retired] = {}
    pending: set[tuple[str, str]] = set()
    for event in events:
        first = str(event.data.get("first", ""))
        if event.kind == CLOSED and event.data.get("retired", True):
            found[first] = Retired(address=ipaddress.IPv6Address(first), since_ns=event.time_ns)
        elif event.kind == CLOSED:
            pending.add((event.node, first))
        elif event.kind == "address.removed":
            address = str(event.data.get("address"))
            if (event.node, address) in pending:
                found[address] = Retired(address=ipaddress.IPv6Address(address), since_ns=event.time_ns)
    return list(found.values())


def service_in_words(service: Any) -> str:
    """A service as an event tells of it, such as ``tcp [fd00::1]:5000 > [fd00::2]:80``."""
    if isinstance(service, Mapping):
        return f"{service.get('protocol')} {service.get('local')} > {service.get('remote')}"
    return str(service)


def failures(events: Iterable[Event]) -> dict[str, int]:
    """Why hops failed, and how many times."""
    return dict(Counter(str(event.data.get("reason")) for event in events if event.kind == FAILED))


def in_words(figures: dict[str, Any]) -> str:
    """The figures of a phase in words."""
    return f"median {figures['median']:.1f}, p95 {figures['p95']:.1f}, max {figures['max']:.1f}"
