"""UDP port 4500 where the kernel carries ESP: IKE messages, behind the non-ESP marker (RFC 3948)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv6Address
from types import TracebackType
from typing import Self

import anyio

from nodes.esp.path import pktinfo
from nodes.esp.wire import NON_ESP_MARKER
from nodes.ike.dataplane.base import DataPlaneError, IkeDatagram

_SOL_UDP, _UDP_ENCAP, _ESPINUDP = 17, 100, 2
_LARGEST = 65536
_PKTINFO: int = getattr(socket, "IPV6_PKTINFO", 50)
_RECVPKTINFO: int = getattr(socket, "IPV6_RECVPKTINFO", 49)


class EncapSocket:
    """The socket; closed by its context.

    Args:
        kernel_esp: the kernel takes ESP packets out of it.

    Raises:
        DataPlaneError: the port is taken, or the kernel takes no ESP out of UDP.
    """

    def __init__(self, port: int, *, kernel_esp: bool) -> None:
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.setsockopt(socket.IPPROTO_IPV6, _RECVPKTINFO, 1)
            if kernel_esp:
                self._socket.setsockopt(_SOL_UDP, _UDP_ENCAP, _ESPINUDP)
            self._socket.bind(("::", port))
        except OSError as error:
            self._socket.close()
            raise DataPlaneError(f"UDP port {port} cannot be had for ESP: {error.strerror}") from None

    def send(self, datagram: IkeDatagram) -> None:
        """Send an IKE message; what is refused is lost."""
        control = [(socket.IPPROTO_IPV6, _PKTINFO, pktinfo(datagram.local))]
        remote = (str(datagram.remote), datagram.remote_port)
        with contextlib.suppress(OSError):
            self._socket.sendmsg((NON_ESP_MARKER, datagram.octets), control, 0, remote)

    async def datagrams(self) -> AsyncIterator[IkeDatagram]:
        """IKE messages as they come."""
        while True:
            await anyio.wait_readable(self._socket)
            try:
                octets, control, _, remote = self._socket.recvmsg(_LARGEST, 128)
            except OSError:
                continue  # nothing, or an ICMP error, which this takes off
            local = next((data for _, kind, data in control if kind == _PKTINFO and len(data) >= 16), None)
            if local is not None and octets.startswith(NON_ESP_MARKER):
                marker = len(NON_ESP_MARKER)
                yield IkeDatagram(
                    octets[marker:], IPv6Address(local[:16]), IPv6Address(remote[0].split("%")[0]), remote[1]
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        anyio.notify_closing(self._socket)
        self._socket.close()
