"""A UDP flow's sending end."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any

from nodes.traffic.addresses import Address, ipv6_socket

_SEND_BUFFER = 1 << 20


class UdpOutlet:
    """Sends datagrams from a connected socket, as a common application does.

    Where there is no route yet, every send tries anew; the flow is not refused for that.

    Raises:
        OSError: ``source`` is no address of this node.
    """

    def __init__(self, destination: Address, source: Address | None) -> None:
        self._destination = destination
        self._socket = ipv6_socket(socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if source is not None:
            self._socket.bind(source)
        self._connected = False
        with contextlib.suppress(OSError):
            self._connect()
        self._handed_over = 0
        self._icmp_errors = 0

    def _connect(self) -> None:
        self._socket.connect(self._destination)
        self._connected = True

    def send(self, probe: bytes) -> int:
        """Send a datagram; 0, or the errno of why it could not be.

        The kernel reports an ICMPv6 error that answers an earlier datagram by failing a later send, which
        then sends nothing: it is counted, and the datagram sent again at once.
        """
        try:
            if not self._connected:
                self._connect()
            self._socket.send(probe)
        except OSError as error:
            if not self._connected or error.errno in (errno.EAGAIN, errno.ENOBUFS):
                return error.errno or errno.EIO
            try:
                self._socket.send(probe)
            except OSError as lasting:
                return lasting.errno or errno.EIO
            self._icmp_errors += 1
        self._handed_over += 1
        return 0

    def blocked(self) -> list[int]:
        """Nothing: a datagram that finds no room in the socket is lost."""
        return []

    def resume(self) -> None:
        """Nothing waits."""

    def finish(self) -> dict[str, Any]:
        """Close; ``icmp_errors`` counts the datagrams that an ICMPv6 error came back for."""
        self._socket.close()
        return {"handed_over": self._handed_over, "icmp_errors": self._icmp_errors}
