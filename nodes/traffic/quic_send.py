"""``python -m nodes.traffic.quic_send quic``: the sending end of a probe flow in a QUIC stream.

It is the client, says what :mod:`nodes.traffic.send` says, and migrates to each address that its node gets on
the interface of the first.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import select
import time
from argparse import Namespace
from typing import Any

from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StreamDataReceived

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say
from nodes.traffic.address_news import AddressNews, interface_of
from nodes.traffic.addresses import Address, socket_address
from nodes.traffic.arguments import sender_arguments
from nodes.traffic.flow_log import FlowLog, LogKind
from nodes.traffic.orders import OrderReader
from nodes.traffic.probe import ProbeFormat
from nodes.traffic.quic import QuicEnd, client_configuration, datagram_socket
from nodes.traffic.schedule import Schedule
from nodes.traffic.tcp_sender import FINISH_SECONDS

_DEFAULT_CONGESTION = "cubic"


class _Sender:
    """Sends records in one stream, and follows the node's addresses."""

    def __init__(self, arguments: Namespace, destination: Address, source: Address) -> None:
        self.congestion: str = arguments.congestion or _DEFAULT_CONGESTION
        connection = QuicConnection(configuration=client_configuration(self.congestion))
        self._end = QuicEnd(connection, datagram_socket(source))
        self._interface = interface_of(ipaddress.IPv6Address(source[0]))
        self._news = AddressNews()
        self._digest = hashlib.sha256()
        self._octets = 0
        self._migrations = 0
        self._established = False
        self._answered = False
        self._ended = ""
        connection.connect(destination, now=time.monotonic())
        self._stream = connection.get_next_available_stream_id()

    def establish(self, seconds: float, orders: OrderReader) -> None:
        """Return once the connection stands.

        Raises:
            FlowError: it does not within ``seconds``, or the program is told to end.
        """
        deadline = time.monotonic() + seconds
        self._end.flush()
        while not self._established:
            if self._ended or time.monotonic() >= deadline:
                raise errors.FlowError(f"no QUIC connection: {self._ended or 'no answer'}")
            self.wait(orders, deadline)
            if orders.ended:
                raise errors.FlowError("told to end before the QUIC connection stood")

    def wait(self, orders: OrderReader, deadline: float) -> None:
        """Serve the connection until ``deadline`` (s, CLOCK_MONOTONIC), or until something happened."""
        now = time.monotonic()
        times = [max(deadline - now, 0.0)]
        if (timer := self._end.patience(now)) is not None:
            times.append(timer)
        sources = [] if orders.ended else [orders.fd]
        ready = select.select([*sources, self._news.fileno(), *self._end.descriptors()], [], [], min(times))[
            0
        ]
        if orders.fd in ready:
            orders.read()
        if self._news.fileno() in ready:
            self._follow_addresses()
        for happened in self._end.advance():
            self._take(happened.event)

    def wait_to_begin(self, orders: OrderReader) -> None:
        """Serve the connection until told to begin, or to end."""
        while not (orders.begun or orders.ended):
            self.wait(orders, time.monotonic() + 1)

    def send(self, probe: bytes) -> int:
        """Hand a record over; 0, or the errno of why it could not be."""
        if self._ended:
            return errno.ECONNRESET
        self._end.connection.send_stream_data(self._stream, probe)
        self._digest.update(probe)
        self._octets += len(probe)
        self._end.flush()
        return 0

    def finish(self, orders: OrderReader, record_size: int) -> dict[str, Any]:
        """End the stream, give the server a second to say that it has all, and close."""
        if not self._ended:
            self._end.connection.send_stream_data(self._stream, b"", end_stream=True)
            self._end.flush()
        deadline = time.monotonic() + FINISH_SECONDS
        while not self._answered and not self._ended and time.monotonic() < deadline:
            self.wait(orders, deadline)
        broken = self._ended
        self._end.connection.close()
        self._end.flush()
        self._end.close()
        self._news.close()
        return {
            "handed_over": self._octets // record_size,
            "broken": broken or None,
            "retransmitted": None,
            "congestion": self.congestion,
            "migrations": self._migrations,
            "octets": self._octets,
            "sha256": self._digest.hexdigest(),
        }

    def _follow_addresses(self) -> None:
        here = self._end.sockets[0].getsockname()[0]
        for news in self._news.read():
            if news.interface == self._interface and str(news.address) != here:
                self._end.move_to((str(news.address), 0, 0, 0))
                self._migrations += 1
                say(event("flow.migrated", address=str(news.address)))

    def _take(self, happened: QuicEvent) -> None:
        if isinstance(happened, HandshakeCompleted):
            self._established = True
        elif isinstance(happened, ConnectionTerminated):
            self._ended = happened.reason_phrase or f"QUIC error {happened.error_code}"
        elif isinstance(happened, StreamDataReceived) and happened.end_stream:
            self._answered = True


def _send(arguments: Namespace, sender: _Sender, log: FlowLog, orders: OrderReader) -> dict[str, Any]:
    probes = ProbeFormat(arguments.flow_id, arguments.size)
    start_ns = time.monotonic_ns()
    schedule = Schedule(arguments.rate, start_ns)
    until_ns = start_ns + round(arguments.duration * 1e9) if arguments.duration else None
    sequence = failed = 0
    while sequence != arguments.count and (until_ns is None or schedule.due_ns < until_ns):
        sender.wait(orders, schedule.due_ns / 1e9)
        if orders.ended:
            break
        sent_ns = time.monotonic_ns()
        if sent_ns < schedule.due_ns:
            continue
        schedule.skip_missed(sent_ns if until_ns is None else min(sent_ns, until_ns))
        if until_ns is not None and schedule.due_ns >= until_ns:
            break  # too late for the last slots: none that is due after the end is sent, or counted
        error = sender.send(probes.encode(sequence, sent_ns))
        log.sent(sequence, sent_ns, time.monotonic_ns(), error)
        failed += bool(error)
        schedule.sent()
        sequence += 1
    return {
        "sent": sequence,
        "failed": {"ECONNRESET": failed} if failed else {},
        "skipped": schedule.skipped,
        **sender.finish(orders, arguments.size),
    }


def main() -> None:
    """Send a flow as the command line says."""
    arguments = sender_arguments()
    destination = socket_address(arguments.destination, arguments.port)
    source = socket_address(arguments.source or "::", 0)
    orders = OrderReader()
    interval_ns = 1_000_000_000 // arguments.rate
    with FlowLog(arguments.log, LogKind.SENT, flow_id=arguments.flow_id, interval_ns=interval_ns) as log:
        try:
            sender = _Sender(arguments, destination, source)
        except OSError as error:
            raise errors.FlowError(f"cannot send from {arguments.source}: {error.strerror}") from None
        sender.establish(arguments.connect_timeout, orders)
        say(event(READY))
        if arguments.held:
            sender.wait_to_begin(orders)
        counts = _send(arguments, sender, log, orders)
    say(event(DONE, **counts, cpu_ms=time.process_time_ns() / 1e6))


if __name__ == "__main__":
    run(main)
