"""Receives the probes of a flow and logs each, over any transport."""

from __future__ import annotations

import select
import time
from typing import Any, NamedTuple, Protocol

from nodes.traffic.clock import ClockReading, MonotonicConversion
from nodes.traffic.flow_log import FlowLog
from nodes.traffic.orders import OrderReader
from nodes.traffic.probe import ProbeFormat

_LARGEST_SEQUENCE = 1 << 30
_GROWTH = 1 << 16


class Arrival(NamedTuple):
    """A probe that came in; ``realtime_ns`` is the kernel's receive time, CLOCK_REALTIME."""

    sequence: int
    sent_ns: int
    realtime_ns: int


class Arrivals:
    """Tells the probes of one flow from other packets, and counts.

    Attributes:
        received: probes that came in, duplicates too.
        unique: different probes that came in.
        strays: packets that were no probe of the flow.
    """

    def __init__(self, probes: ProbeFormat) -> None:
        self.received = 0
        self.unique = 0
        self.strays = 0
        self._probes = probes
        self._seen = bytearray()

    def take(self, octets: bytes, realtime_ns: int) -> Arrival | None:
        """The arrival that a packet is; ``None`` for a stray."""
        decoded = self._probes.decode(octets)
        if decoded is None or decoded[0] >= _LARGEST_SEQUENCE:
            self.strays += 1
            return None
        sequence, sent_ns = decoded
        if sequence >= len(self._seen):
            self._seen += bytes(sequence - len(self._seen) + _GROWTH)
        self.received += 1
        self.unique += not self._seen[sequence]
        self._seen[sequence] = 1
        return Arrival(sequence, sent_ns, realtime_ns)


class Inlet(Protocol):
    """Where probes come from. Never waits."""

    port: int
    """Where it receives."""
    ended: bool
    """Whether nothing more can come."""
    in_order: bool
    """Whether a probe can be had only after all before it, so that the latest of their times is its own."""
    rest: float
    """Seconds to leave what comes in to the kernel, so that one waking serves many packets."""

    def sources(self) -> list[int]:
        """The descriptors to wait on before :meth:`read`."""

    def patience(self) -> float | None:
        """Seconds after which to read although nothing came in; None for never."""

    def read(self) -> list[Arrival]:
        """What has come in, up to a bound."""

    def finish(self) -> dict[str, Any]:
        """End; what is there to say of the transport."""


def receive_probes(
    inlet: Inlet, *, arrivals: Arrivals, log: FlowLog, orders: OrderReader, quiet: float
) -> dict[str, Any]:
    """Receive and log until told to end; the counts.

    Once told how many probes were handed over, it ends as soon as all of them came in, or nothing more can,
    or nothing came for ``quiet`` seconds.
    """
    conversion = MonotonicConversion(ClockReading.take())
    latest_ns = 0
    last_sign = time.monotonic()
    while True:
        expected = orders.expected
        deadline = last_sign + quiet if expected is not None else None
        told, ready = _wait(orders, inlet, _patience(log, inlet, deadline))
        if told:
            orders.read()
        due = inlet.patience() == 0
        batch = inlet.read() if ready or due or orders.ended else []
        conversion.end_batch(ClockReading.take())
        for sequence, sent_ns, realtime_ns in batch:
            received_ns = conversion.monotonic(realtime_ns)
            latest_ns = max(latest_ns, received_ns)
            log.received(sequence, latest_ns if inlet.in_order else received_ns, sent_ns)
        if time.monotonic_ns() >= log.flush_due_ns:
            log.flush()
        if batch or orders.expected != expected:
            last_sign = time.monotonic()
        if orders.ended and not batch:
            break
        if orders.expected is not None and (
            inlet.ended or arrivals.unique >= orders.expected or time.monotonic() - last_sign >= quiet
        ):
            break
        if batch and inlet.rest:
            select.select([] if orders.ended else [orders.fd], [], [], inlet.rest)
    return {
        "received": arrivals.received,
        "duplicated": arrivals.received - arrivals.unique,
        "strays": arrivals.strays,
        "clock_steps": conversion.steps,
        **inlet.finish(),
    }


def _patience(log: FlowLog, inlet: Inlet, deadline: float | None) -> float | None:
    now = time.monotonic()
    waits = [] if deadline is None else [deadline - now]
    if log.waiting:
        waits.append(log.flush_due_ns / 1e9 - now)
    if (patience := inlet.patience()) is not None:
        waits.append(patience)
    return max(min(waits), 0) if waits else None


def _wait(orders: OrderReader, inlet: Inlet, patience: float | None) -> tuple[bool, bool]:
    descriptors = [] if orders.ended else [orders.fd]
    ready = select.select(descriptors + inlet.sources(), [], [], 0 if orders.ended else patience)[0]
    told = orders.fd in ready and not orders.ended
    return told, len(ready) > told
