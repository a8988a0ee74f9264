"""A QUIC flow's receiving end."""

from __future__ import annotations

import hashlib
import socket
import time
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from nodes.traffic.addresses import Address
from nodes.traffic.quic import LARGEST_DATAGRAM, Happened, QuicEnd, datagram_socket, server_configuration
from nodes.traffic.receiver import Arrival, Arrivals

_CONNECTION_ID = 8


class QuicInlet:
    """Reads the records of one stream, as the server of one connection.

    A record has the kernel's receive time of the datagram after which it could be had in clear, for how long
    this program then waits for a processor is no outage of the network.

    Raises:
        OSError: the address is none of this node's, or the port is taken.
    """

    rest = 0.0
    in_order = True

    def __init__(self, address: Address, record_size: int, arrivals: Arrivals) -> None:
        self.ended = False
        self._arrivals = arrivals
        self._size = record_size
        self._configuration = server_configuration()
        self._listener = datagram_socket(address)
        self._end: QuicEnd | None = None
        self._rest = bytearray()
        self._digest = hashlib.sha256()
        self._octets = 0
        self.port: int = self._listener.getsockname()[1]

    def sources(self) -> list[int]:
        """The socket."""
        return [self._listener.fileno()]

    def patience(self) -> float | None:
        """Seconds until the connection's timer."""
        return None if self._end is None else self._end.patience(time.monotonic())

    def read(self) -> list[Arrival]:
        """The records that have come in."""
        if self._end is None:
            self._end = self._accept()
        batch: list[Arrival] = []
        if self._end is not None:
            for happened in self._end.advance():
                self._take(self._end, happened, batch)
            self._end.flush()
        return batch

    def _accept(self) -> QuicEnd | None:
        """The connection that an Initial packet begins; the packet is left for it to read."""
        try:
            first = self._listener.recv(LARGEST_DATAGRAM, socket.MSG_PEEK)
        except BlockingIOError:
            return None
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

    def _take(self, end: QuicEnd, happened: Happened, batch: list[Arrival]) -> None:
        event = happened.event
        if isinstance(event, ConnectionTerminated):
            self.ended = True
        if not isinstance(event, StreamDataReceived):
            return
        self._digest.update(event.data)
        self._octets += len(event.data)
        self._rest += event.data
        while len(self._rest) >= self._size:
            arrival = self._arrivals.take(bytes(self._rest[: self._size]), happened.realtime_ns)
            del self._rest[: self._size]
            if arrival is not None:
                batch.append(arrival)
        if event.end_stream:
            end.connection.send_stream_data(event.stream_id, b"", end_stream=True)

    def finish(self) -> dict[str, Any]:
        """Close; ``sha256`` is of every octet that was read."""
        self._listener.close()
        return {
            "dropped": 0,
            "broken": None,
            "octets": self._octets,
            "sha256": self._digest.hexdigest(),
        }
