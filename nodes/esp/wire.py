"""The sockets towards the network: UDP port 4500 for ESP and IKE (RFC 3948), and plain ESP (protocol 50)."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import Final

from nodes import errors
from nodes.esp.batch import UDP_GRO, UDP_SEGMENT
from nodes.esp.path import Path

NON_ESP_MARKER: Final = bytes(4)
"""What an IKE message on the port begins with, where an ESP packet has its SPI (RFC 3948, section 2.2)."""
_SOL_UDP: Final = 17
_BUFFER: Final = 8 << 20
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_PKTINFO: Final = getattr(socket, "IPV6_PKTINFO", 50)
_RECVPKTINFO: Final = getattr(socket, "IPV6_RECVPKTINFO", 49)
_UNSEGMENTED: Final = frozenset(
    (errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
)
"""What the kernel says where it does not segment on this path."""

_half = struct.Struct("@H")


class Wire:
    """Both sockets, without waiting.

    Attributes:
        udp, esp: the sockets.
        unsent: packets that the network refused.
    """

    def __init__(self, port: int, *, segments: bool) -> None:
        self.unsent = 0
        self._segments = segments
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            self.esp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ESP)
        except PermissionError:
            self.udp.close()
            raise errors.MachineError("plain ESP needs the capability NET_RAW in this node") from None
        for one in (self.udp, self.esp):
            one.setblocking(False)
            _enlarge(one)
        self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.udp.setsockopt(socket.IPPROTO_IPV6, _RECVPKTINFO, 1)
        with contextlib.suppress(OSError):  # kernels before 5.0 give datagrams one by one
            self.udp.setsockopt(_SOL_UDP, UDP_GRO, 1)
        try:
            self.udp.bind(("::", port))
        except OSError as error:
            self.close()
            raise errors.NodeError(f"UDP port {port} cannot be bound: {error.strerror}") from None

    def send(self, path: Path, packets: memoryview, size: int) -> None:
        """Send ESP packets that follow one another, each of ``size`` octets, the last perhaps of fewer."""
        several = size < len(packets)
        if several and not (path.segments and self._segments):
            self._one_by_one(path, packets, size)
            return
        control = [(socket.IPPROTO_IPV6, _PKTINFO, path.source)]
        if several:
            control.append((_SOL_UDP, UDP_SEGMENT, _half.pack(size)))
        try:
            (self.udp if path.encapsulated else self.esp).sendmsg((packets,), control, 0, path.address)
        except OSError as error:
            if several and error.errno in _UNSEGMENTED:
                path.segments = False
                self._one_by_one(path, packets, size)
            else:
                self.unsent += -(-len(packets) // size)

    def send_ike(self, source: bytes, remote: tuple[str, int], message: bytes) -> None:
        """Send an IKE message from an address of ours, an ``in6_pktinfo``; what is refused is lost."""
        with contextlib.suppress(OSError):
            control = [(socket.IPPROTO_IPV6, _PKTINFO, source)]
            self.udp.sendmsg((NON_ESP_MARKER, message), control, 0, remote)

    def close(self) -> None:
        """Close both sockets."""
        self.udp.close()
        self.esp.close()

    def _one_by_one(self, path: Path, packets: memoryview, size: int) -> None:
        for start in range(0, len(packets), size):
            self.send(path, packets[start : start + size], size)


def _enlarge(one: socket.socket) -> None:
    """Make room for bursts, beyond the system's limit where we may."""
    for forced, modest in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            one.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
        except PermissionError:
            one.setsockopt(socket.SOL_SOCKET, modest, _BUFFER)
