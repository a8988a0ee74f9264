"""``python -m nodes.traffic.quic_receive quic``: the receiving end of a probe flow in a QUIC stream.

It is the server, for one connection, and says what :mod:`nodes.traffic.receive` says. A record's receive
time is when this program had it in clear: with QUIC, the first moment at which an application can have it.
"""

from __future__ import annotations

import hashlib
import select
import socket
import time
from argparse import Namespace
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from nodes import errors
from nodes.events import event
from nodes.program import DONE, READY, run, say
from nodes.traffic.addresses import socket_address
from nodes.traffic.arguments import receiver_arguments
from nodes.traffic.flow_log import FlowLog, LogKind
from nodes.traffic.orders import OrderReader
from nodes.traffic.probe import ProbeFormat
from nodes.traffic.quic import QuicEnd, datagram_socket, server_configuration
from nodes.traffic.receiver import Arrivals

_CONNECTION_ID = 8


class _Receiver:
    """Reads the records of one stream."""

    def __init__(self, listener: socket.socket, arguments: Namespace, log: FlowLog) -> None:
        self.ended = False
        self.arrivals = Arrivals(ProbeFormat(arguments.flow_id, arguments.size))
        self._size = arguments.size
        self._log = log
        self._listener = listener
        self._configuration = server_configuration()
        self._end: QuicEnd | None = None
        self._rest = bytearray()
        self._digest = hashlib.sha256()
        self._octets = 0

    def serve(self, orders: OrderReader, quiet: float) -> None:
        """Receive until told to end; once told how many to expect, until they are there or nothing comes."""
        last_sign = time.monotonic()
        while not orders.ended:
            before = self.arrivals.received, orders.expected
            self._wait(orders, last_sign + quiet if orders.expected is not None else None)
            if (self.arrivals.received, orders.expected) != before:
                last_sign = time.monotonic()
            if time.monotonic_ns() >= self._log.flush_due_ns:
                self._log.flush()
            if orders.expected is not None and (
                self.ended or self.arrivals.unique >= orders.expected or time.monotonic() - last_sign >= quiet
            ):
                return

    def _wait(self, orders: OrderReader, deadline: float | None) -> None:
        now = time.monotonic()
        times = [] if deadline is None else [max(deadline - now, 0.0)]
        if self._log.waiting:
            times.append(max(self._log.flush_due_ns / 1e9 - now, 0.0))
        if self._end is not None and (timer := self._end.patience(now)) is not None:
            times.append(timer)
        ready = select.select([orders.fd, self._listener.fileno()], [], [], min(times) if times else None)[0]
        if orders.fd in ready:
            orders.read()
        if self._end is None:
            self._end = self._accept() if self._listener.fileno() in ready else None
        if self._end is not None:
            for happened in self._end.advance():
                self._take(happened)
            self._end.flush()

    def _accept(self) -> QuicEnd | None:
        """The connection that an Initial packet begins; the packet is left for it to read."""
        first = self._listener.recv(65_536, socket.MSG_PEEK)
        try:
            header = pull_quic_header(Buffer(data=first), host_cid_length=_CONNECTION_ID)
        except ValueError:
            header = None
        if header is None or header.packet_type != QuicPacketType.INITIAL:
            self._listener.recv(1)
            return None
        connection = QuicConnection(
            configuration=self._configuration, original_destination_connection_id=header.destination_cid
        )
        return QuicEnd(connection, self._listener)

    def _take(self, happened: QuicEvent) -> None:
        if isinstance(happened, ConnectionTerminated):
            self.ended = True
        if not isinstance(happened, StreamDataReceived):
            return
        received_ns = time.monotonic_ns()
        self._digest.update(happened.data)
        self._octets += len(happened.data)
        self._rest += happened.data
        while len(self._rest) >= self._size:
            arrival = self.arrivals.take(bytes(self._rest[: self._size]), received_ns)
            del self._rest[: self._size]
            if arrival is not None:
                self._log.received(arrival.sequence, received_ns, arrival.sent_ns)
        if happened.end_stream and self._end is not None:
            self._end.connection.send_stream_data(happened.stream_id, b"", end_stream=True)

    def counts(self) -> dict[str, Any]:
        """What there is to say at the end."""
        return {
            "received": self.arrivals.received,
            "duplicated": self.arrivals.received - self.arrivals.unique,
            "strays": self.arrivals.strays,
            "clock_steps": 0,
            "dropped": 0,
            "broken": None,
            "octets": self._octets,
            "sha256": self._digest.hexdigest(),
        }


def main() -> None:
    """Receive a flow as the command line says."""
    arguments = receiver_arguments()
    address = socket_address(arguments.address, arguments.port)
    with FlowLog(arguments.log, LogKind.RECEIVED, flow_id=arguments.flow_id) as log:
        try:
            listener = datagram_socket(address)
        except OSError as error:
            where = f"[{arguments.address}]:{arguments.port}"
            raise errors.FlowError(f"cannot receive on {where}: {error.strerror}") from None
        with listener:
            receiver = _Receiver(listener, arguments, log)
            say(event(READY, port=listener.getsockname()[1]))
            receiver.serve(OrderReader(), arguments.quiet)
    say(event(DONE, **receiver.counts(), cpu_ms=time.process_time_ns() / 1e6))


if __name__ == "__main__":
    run(main)
