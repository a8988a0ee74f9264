"""A UDP flow's receiving end."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from nodes.traffic.addresses import Address, ipv6_socket
from nodes.traffic.receive_time import ANCILLARY_OCTETS, ask_receive_times, receive_time
from nodes.traffic.receiver import Arrival, Arrivals

_RECEIVE_BUFFER = 8 << 20
_BATCH = 4096

# From asm-generic/socket.h and linux/sock_diag.h, which the socket module does not have.
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
_MEMINFO_DROPS = 8


class UdpInlet:
    """Reads datagrams with the kernel's receive times.

    The kernel's time is exact however late a datagram is read, so the socket is emptied about a hundred
    times a second, not once a packet; its buffer holds far more than comes in between, and what it dropped
    all the same is in the results: ``dropped`` is the counter that SO_RXQ_OVFL reports, read once at the end.

    Raises:
        OSError: the address is none of this node's, or the port is taken.
    """

    rest = 0.01
    in_order = False
    ended = False

    def __init__(self, address: Address, size: int, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._size = size + 1  # one more, so that a longer datagram is seen to be longer
        self._socket = ipv6_socket(socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        with contextlib.suppress(PermissionError):  # past net.core.rmem_max, where that is allowed
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        ask_receive_times(self._socket)
        self._socket.bind(address)
        self.port: int = self._socket.getsockname()[1]

    def sources(self) -> list[int]:
        """The socket."""
        return [self._socket.fileno()]

    def patience(self) -> None:
        """Nothing is due but what comes in."""

    def read(self) -> list[Arrival]:
        """The datagrams of the flow that have come in."""
        batch = []
        for _ in range(_BATCH):
            try:
                octets, ancillary, _flags, _from = self._socket.recvmsg(self._size, ANCILLARY_OCTETS)
            except BlockingIOError:
                break
            arrival = self._arrivals.take(octets, receive_time(ancillary))
            if arrival is not None:
                batch.append(arrival)
        return batch

    def finish(self) -> dict[str, Any]:
        """Close; ``dropped`` counts the datagrams that found no room in the socket."""
        information = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._socket.close()
        return {"dropped": _MEMINFO.unpack(information)[_MEMINFO_DROPS], "receive_buffer": buffer}
