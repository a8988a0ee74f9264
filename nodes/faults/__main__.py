"""The program ``python -m nodes.faults START``; see :mod:`nodes.faults`."""

from __future__ import annotations

import dataclasses
import os
import select
import socket
import sys
import time
from collections.abc import Iterable

import msgspec

from nodes import errors
from nodes.control.messages import LineSplitter
from nodes.events import event
from nodes.faults import engine
from nodes.faults.detour import MARK, QUEUE, detour
from nodes.faults.engine import Alter, Drop, Effect, Engine, Pass, Say
from nodes.faults.orders import ADDED, Add, Heard, Order, Seen, Start
from nodes.faults.queue import Queue
from nodes.program import DONE, READY, run, say

_IPV6_HDRINCL = 36


class Copies:
    """Sends packets of ours, as they are, past our own detour."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)

    def send(self, packet: bytes) -> str | None:
        """Send a packet, from the IPv6 header on; why it could not be, or None."""
        destination = socket.inet_ntop(socket.AF_INET6, packet[24:40])
        try:
            self._socket.sendto(packet, (destination, 0))
        except OSError as error:
            return os.strerror(error.errno or 0)
        return None

    def close(self) -> None:
        """Send no more."""
        self._socket.close()


@dataclasses.dataclass
class Totals:
    """How many packets took the detour."""

    outgoing: int = 0
    incoming: int = 0


class Faults:
    """The engine at its queue: packets, orders and times in, verdicts and events out."""

    def __init__(self, start: Start, queue: Queue, copies: Copies) -> None:
        self.totals = Totals()
        self._queue = queue
        self._copies = copies
        self._orders = LineSplitter()
        self._told_to_end = False
        self.engine = Engine(start.seed, start.addresses)
        for rule in start.rules:
            self.engine.add(rule)

    def until_told_to_end(self) -> None:
        """Serve until the end of the standard input."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self._queue, select.POLLIN)
        while not self._told_to_end:
            ready = {descriptor for descriptor, _ in poll.poll(self._patience_ms())}
            self._do(self.engine.due(time.monotonic_ns()))
            if self._queue.fileno() in ready:
                self._serve()
            if 0 in ready:
                self._read_orders()

    def end(self) -> None:
        """Let go what waits, and what was on its way here when the detour ended."""
        self._do(self.engine.end(time.monotonic_ns()))
        for packet in self._queue.packets():
            self._queue.verdict(packet.id, passes=True)

    def _patience_ms(self) -> float | None:
        due = self.engine.next_due_ns
        # poll() rounds down what it is given in ms; a moment too late is better than a busy loop
        return None if due is None else max((due - time.monotonic_ns()) / 1e6 + 1, 0)

    def _serve(self) -> None:
        for packet in self._queue.packets():
            self.totals.outgoing += packet.outgoing
            self.totals.incoming += not packet.outgoing
            now = time.monotonic_ns()
            self._do(self.engine.packet(packet.id, packet.octets, outgoing=packet.outgoing, now_ns=now))

    def _read_orders(self) -> None:
        data = os.read(0, 65536)
        self._told_to_end = not data
        for line in self._orders.feed(data):
            try:
                self._obey(msgspec.json.decode(line, type=Order))
            except msgspec.DecodeError as error:
                raise errors.ProtocolError(f"not an order: {error}") from None

    def _obey(self, order: Order) -> None:
        if isinstance(order, Add):
            self.engine.add(order.rule)
            say(event(ADDED, id=order.rule.id))
        elif isinstance(order, Heard):
            self._do(self.engine.heard(order.kind, order.time_ns, time.monotonic_ns()))
        elif isinstance(order, Seen):
            self.engine.seen(bytes.fromhex(order.octets), order.destination)

    def _do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Say):
                say(effect.event)
            elif isinstance(effect, Pass):
                self._queue.verdict(effect.packet_id, passes=True)
            elif isinstance(effect, Drop):
                self._queue.verdict(effect.packet_id, passes=False)
            elif isinstance(effect, Alter):
                self._queue.verdict(effect.packet_id, passes=True, octets=effect.packet)
            else:
                reason = self._copies.send(effect.packet)
                if reason is not None:
                    say(event(engine.MISSED, **effect.about, reason=f"a copy could not be sent: {reason}"))


def main() -> None:
    """Run the fault engine."""
    try:
        (text,) = sys.argv[1:]
        start = msgspec.json.decode(text, type=Start)
    except (ValueError, msgspec.DecodeError) as error:
        raise errors.ParameterError(f"faults: not a start: {error}") from None
    copies = Copies()
    with Queue(QUEUE) as queue:
        with detour() as way:
            faults = Faults(start, queue, copies)
            say(event(READY, pid=os.getpid(), queue=way.name))
            faults.until_told_to_end()
        faults.end()
    copies.close()
    totals = msgspec.to_builtins(faults.totals)
    say(event(DONE, **totals, foreign=faults.engine.foreign))


if __name__ == "__main__":
    run(main)
