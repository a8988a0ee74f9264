"""Sends the probes of a flow on their schedule, over any transport."""

from __future__ import annotations

import collections
import errno
import select
import time
from typing import Any, Protocol

from nodes.traffic.flow_log import FlowLog
from nodes.traffic.orders import OrderReader
from nodes.traffic.probe import ProbeFormat
from nodes.traffic.schedule import Schedule


class Outlet(Protocol):
    """Where probes go. Never waits."""

    def send(self, probe: bytes) -> int:
        """Hand a probe over; 0, or the errno of why it could not be."""

    def blocked(self) -> list[int]:
        """The descriptor to wait on before :meth:`resume`, where probes wait for room; else nothing."""

    def resume(self) -> None:
        """Hand over what waits."""

    def finish(self) -> dict[str, Any]:
        """End; what is there to say of the transport, with ``handed_over``, the probes that left in whole."""


def send_probes(
    outlet: Outlet,
    *,
    probes: ProbeFormat,
    schedule: Schedule,
    log: FlowLog,
    orders: OrderReader,
    count: int | None = None,
    until_ns: int | None = None,
) -> dict[str, Any]:
    """Send until told to end, until ``count`` probes were sent, or until ``until_ns``; the counts.

    A probe that cannot be handed over counts as sent, and is lost: the application wanted to send it.
    Its errno is in the log and in ``failed``.
    """
    sequence = 0
    failed: collections.Counter[int] = collections.Counter()
    while sequence != count and (until_ns is None or schedule.due_ns < until_ns):
        wait_ns = max(schedule.due_ns - time.monotonic_ns(), 0)
        told, writable, _ = select.select([orders.fd], outlet.blocked(), [], wait_ns / 1e9)
        if told:
            orders.read()
            if orders.ended:
                break
        if writable:
            outlet.resume()
        sent_ns = time.monotonic_ns()
        if sent_ns < schedule.due_ns:
            continue
        schedule.skip_missed(sent_ns if until_ns is None else min(sent_ns, until_ns))
        if until_ns is not None and schedule.due_ns >= until_ns:
            break  # too late for the last slots: none that is due after the end is sent, or counted
        error = outlet.send(probes.encode(sequence, sent_ns))
        log.sent(sequence, sent_ns, time.monotonic_ns(), error)
        if error:
            failed[error] += 1
        schedule.sent()
        sequence += 1
    return {
        "sent": sequence,
        "failed": {errno.errorcode.get(number, str(number)): times for number, times in failed.items()},
        "skipped": schedule.skipped,
        **outlet.finish(),
    }
