"""When the kernel received a packet: SO_TIMESTAMPNS."""

from __future__ import annotations

import socket
import struct
import time

# From asm-generic/socket.h; the socket module lacks it. The "new" option has 64-bit times everywhere.
_SO_TIMESTAMPNS_NEW = 64
_TIMESPEC = struct.Struct("=qq")

ANCILLARY_OCTETS = socket.CMSG_SPACE(_TIMESPEC.size)
"""Room for the receive time beside a packet."""


def ask_receive_times(receiver: socket.socket) -> None:
    """Have the kernel say when each packet that ``receiver`` reads came in."""
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS_NEW, 1)


def receive_time(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The receive time in CLOCK_REALTIME ns; the present where the kernel did not say."""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS_NEW:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()
