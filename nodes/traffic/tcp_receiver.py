"""A TCP flow's receiving end."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from typing import Any

from nodes.events import event
from nodes.program import say
from nodes.traffic.addresses import Address, ipv6_socket
from nodes.traffic.receive_time import ANCILLARY_OCTETS, ask_receive_times, receive_time
from nodes.traffic.receiver import Arrival, Arrivals

_BATCH = 256


class TcpInlet:
    """Reads records with the time at which the application could have them.

    The kernel gives the receive time of the segment that ends what is read, so each record is read by
    itself. A segment that overtook another waits in the kernel for it: the later of the two times counts.
    Segments that the kernel joined before they were read have the time of the last of them, so that a time
    may be late by at most the reader's own delay, and never early.

    Raises:
        OSError: the address is none of this node's, or the port is taken.
    """

    rest = 0.0
    in_order = True

    def __init__(
        self,
        address: Address,
        record_size: int,
        arrivals: Arrivals,
        protocol: int = socket.IPPROTO_TCP,
    ) -> None:
        self.ended = False
        self._arrivals = arrivals
        self._record = bytearray(record_size)
        self._filled = 0
        self._record_ns = 0
        self._octets = 0
        self._digest = hashlib.sha256()
        self._broken = 0
        self._connection: socket.socket | None = None
        self._listener = ipv6_socket(socket.SOCK_STREAM, protocol)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ask_receive_times(self._listener)  # inherited: the connection's first segment has a time too
        self._listener.bind(address)
        self._listener.listen(1)
        self.port: int = self._listener.getsockname()[1]

    def sources(self) -> list[int]:
        """The connection, or, before there is one, the listener."""
        if self.ended:
            return []
        return [(self._connection or self._listener).fileno()]

    def patience(self) -> None:
        """Nothing is due but what comes in."""

    def read(self) -> list[Arrival]:
        """The records that have come in."""
        if self._connection is None:
            if self.ended:
                return []
            try:
                self._connection, _ = self._listener.accept()
            except BlockingIOError:
                return []
            self._connection.setblocking(False)
        batch: list[Arrival] = []
        while self._connection is not None and len(batch) < _BATCH:
            try:
                if not self._read_some(self._connection, batch):
                    break
            except OSError as error:
                self._end(error.errno or errno.EIO)
        return batch

    def _read_some(self, connection: socket.socket, batch: list[Arrival]) -> bool:
        room = memoryview(self._record)[self._filled :]
        try:
            octets, ancillary, _flags, _from = connection.recvmsg_into([room], ANCILLARY_OCTETS)
        except BlockingIOError:
            return False
        if octets == 0:
            self._end(0)
            return False
        self._digest.update(room[:octets])
        self._octets += octets
        self._filled += octets
        self._record_ns = max(self._record_ns, receive_time(ancillary))
        if self._filled == len(self._record):
            arrival = self._arrivals.take(bytes(self._record), self._record_ns)
            self._filled = self._record_ns = 0
            if arrival is None:
                self._end(errno.EBADMSG)
                return False
            batch.append(arrival)
        return True

    def _end(self, error: int) -> None:
        """The connection ended; where it brought nothing of the flow, it was not the flow's."""
        assert self._connection is not None
        self._connection.close()
        self._connection = None
        if not self._arrivals.unique:
            self._filled = self._record_ns = self._octets = 0
            self._digest = hashlib.sha256()
            return
        self.ended = True
        self._broken = error
        if error:
            say(event("flow.broken", error=errno.errorcode.get(error, ""), text=os.strerror(error)))

    def finish(self) -> dict[str, Any]:
        """Close; ``sha256`` is of every octet that was read."""
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
        return {
            "dropped": 0,
            "broken": errno.errorcode.get(self._broken, str(self._broken)) if self._broken else None,
            "octets": self._octets,
            "sha256": self._digest.hexdigest(),
        }
