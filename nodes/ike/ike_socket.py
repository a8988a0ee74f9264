"""UDP port 500 of a node, with the address that each datagram came to."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address

import anyio

from nodes import errors
from nodes.ike.context import IKE_PORT, Path

_LARGEST = 65535
_BUFFER = 1 << 20
_PKTINFO = struct.Struct("=16sI")
_ANCILLARY = socket.CMSG_SPACE(_PKTINFO.size)


class IkeSocket:
    """Port 500; made by :func:`ike_socket`."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def receive(self) -> tuple[bytes, Path]:
        """The next datagram, and its path."""
        while True:
            await anyio.wait_readable(self._socket)
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                datagram, ancillary, _flags, source = self._socket.recvmsg(_LARGEST, _ANCILLARY)
                for level, kind, data in ancillary:
                    if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                        local = IPv6Address(_PKTINFO.unpack(data)[0])
                        remote = IPv6Address(source[0].partition("%")[0])
                        return datagram, Path(local, IKE_PORT, remote, source[1])

    def send(self, path: Path, datagram: bytes) -> None:
        """Send; what the network refuses is lost, as it might be on its way."""
        info = _PKTINFO.pack(path.local.packed, 0)
        with contextlib.suppress(OSError):
            self._socket.sendmsg(
                [datagram],
                [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)],
                0,
                (str(path.remote), path.remote_port),
            )


@contextmanager
def ike_socket() -> Iterator[IkeSocket]:
    """Port 500 of every address of the node, for the length of the context.

    Raises:
        MachineError: it may not be taken, or another has it.
    """
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        try:
            sock.bind(("::", IKE_PORT))
        except OSError as error:
            mend = {
                errno.EADDRINUSE: "another IKE daemon runs in this node: end it",
                errno.EACCES: "the node needs the capability NET_BIND_SERVICE",
            }.get(error.errno or 0, "see the node's log")
            raise errors.MachineError(f"UDP port {IKE_PORT}: {error.strerror} ({mend})") from None
        yield IkeSocket(sock)
