"""A TCP flow's sending end: a paced stream of records."""

from __future__ import annotations

import errno
import hashlib
import os
import select
import socket
import struct
import time
from typing import Any

from nodes import errors
from nodes.events import event
from nodes.program import say
from nodes.traffic import mptcp
from nodes.traffic.addresses import Address, ipv6_socket
from nodes.traffic.orders import OrderReader

BACKLOG_OCTETS = 64 << 20
"""What waits in the sender for room in the socket; a record past it is not sent (EAGAIN)."""
FINISH_SECONDS = 1.0
"""How long the sender's end waits for room in the socket for what is left."""

_CHUNK = 1 << 16
_TCP_INFO_TOTAL_RETRANS = 100  # offset in struct tcp_info


def connect(
    destination: Address,
    source: Address | None,
    *,
    timeout: float,
    user_timeout: float,
    orders: OrderReader,
    protocol: int = socket.IPPROTO_TCP,
    congestion: str | None = None,
) -> socket.socket:
    """A connection that never waits.

    Args:
        timeout: seconds until the connection must stand.
        user_timeout: seconds without an acknowledgement after which it ends (RFC 5482); MPTCP has none.
        protocol: of the socket: TCP, or Multipath TCP (RFC 8684).
        congestion: the congestion control; None is the node's default.

    Raises:
        FlowError: there is no connection; the text says why.
    """
    stream = ipv6_socket(socket.SOCK_STREAM, protocol)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if protocol == socket.IPPROTO_TCP:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(user_timeout * 1000))
    if congestion is not None:
        try:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        except OSError:
            raise errors.FlowError(
                f"this kernel does not offer the congestion control {congestion}"
            ) from None
    if source is not None:
        stream.bind(source)
    error = stream.connect_ex(destination)
    if error == errno.EINPROGRESS:
        told, connected, _ = select.select([orders.fd], [stream], [], timeout)
        error = errno.ETIMEDOUT
        if connected:
            error = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif told:
            raise errors.FlowError(f"told to end before the connection to {_text(destination)} stood")
    if error:
        raise errors.FlowError(f"cannot connect to {_text(destination)}: {os.strerror(error)}")
    return stream


def _text(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}"


def _of_transport(stream: socket.socket) -> dict[str, Any]:
    """What the kernel says of a connection: segments sent again, congestion control, and MPTCP's state."""
    congestion = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
    if stream.proto != mptcp.IPPROTO_MPTCP:
        information = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        (retransmitted,) = struct.unpack_from("=I", information, _TCP_INFO_TOTAL_RETRANS)
        return {"congestion": congestion, "retransmitted": retransmitted}
    return {"congestion": congestion, **mptcp.state(stream)}


class TcpOutlet:
    """Writes records to a connection, each at its time.

    A record for which the connection has no room waits in the sender: it counts as sent when it was due, so
    that a stalled connection is an interruption of the flow and no pause of its sender. Once the connection
    is broken, every further record fails with the error that broke it.
    """

    def __init__(self, stream: socket.socket, record_size: int) -> None:
        self._stream = stream
        self._record_size = record_size
        self._backlog = bytearray()
        self._stalled_ns = 0
        self._stalls = 0
        self._broken = 0
        self._written = 0
        self._digest = hashlib.sha256()

    def send(self, probe: bytes) -> int:
        """Write a record, or let it wait; 0, or the errno of why neither is possible."""
        written = 0
        if not self._backlog:
            written = self._write(probe)
            if self._broken:
                return self._broken
            if written < len(probe):
                stalled = event("flow.stalled")
                self._stalled_ns = stalled.time_ns
                self._stalls += 1
                say(stalled)
        if len(self._backlog) + len(probe) > BACKLOG_OCTETS:
            return errno.EAGAIN
        self._backlog += probe[written:]
        return 0

    def blocked(self) -> list[int]:
        """The connection, while records wait for room in it."""
        return [self._stream.fileno()] if self._backlog and not self._broken else []

    def resume(self) -> None:
        """Write what waits, as far as there is room."""
        while written := self._write(bytes(self._backlog[:_CHUNK])):
            del self._backlog[:written]
        if not self._backlog:
            resumed_ns = time.monotonic_ns()
            stalled_ms = (resumed_ns - self._stalled_ns) / 1e6
            say(event("flow.resumed", time_ns=resumed_ns, stalled_ms=stalled_ms))

    def finish(self) -> dict[str, Any]:
        """Write what waits within :data:`FINISH_SECONDS`, and end the stream; the kernel delivers the rest.

        ``sha256`` is of every octet that the connection took.
        """
        deadline = time.monotonic() + FINISH_SECONDS
        while self.blocked() and (remaining := deadline - time.monotonic()) > 0:
            if select.select([], self.blocked(), [], remaining)[1]:
                self.resume()
        if not self._broken:
            self._stream.shutdown(socket.SHUT_WR)
        of_transport = _of_transport(self._stream)
        self._stream.close()
        return {
            "handed_over": self._written // self._record_size,
            "broken": errno.errorcode.get(self._broken, str(self._broken)) if self._broken else None,
            **of_transport,
            "stalls": self._stalls,
            "octets": self._written,
            "sha256": self._digest.hexdigest(),
        }

    def _write(self, octets: bytes) -> int:
        if not octets or self._broken:
            return 0
        try:
            written = self._stream.send(octets)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._broken = error.errno or errno.EIO
            say(event("flow.broken", error=errno.errorcode.get(self._broken, ""), text=error.strerror))
            return 0
        self._written += written
        self._digest.update(octets[:written])
        return written
