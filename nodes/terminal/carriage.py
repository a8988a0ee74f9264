"""How messages travel: as a Destination Options header or a UDP datagram; and the ICMPv6 errors about them.

The option is received by a raw socket. For the kernel not to answer it with Parameter Problem, the data
plane's table has a rule (:mod:`.silence`).
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address
from types import TracebackType
from typing import NamedTuple, Self

from nodes import INTERFACE
from nodes.terminal.actions import Carriage, Send, Unrecognised
from nodes.terminal.header import (
    ASKED,
    DESTINATION_OPTIONS,
    NO_NEXT_HEADER,
    UDP_PORT,
    FormatError,
    destination_options,
    option_data,
)
from nodes.terminal.rewriting_rules import MESSAGE_MARK
from nodes.terminal.silence import socket_filter

_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_ROOM = 4 * 1024 * 1024
_IPV6_HEADER = 40
_HOP_LIMIT = 64
ICMP6_FILTER = 1
"""A socket option of ICMPv6 (RFC 3542 §3.2)."""
_UNREACHABLE, _PARAMETER_PROBLEM = 1, 4
_PORT_UNREACHABLE_CODE = 4
_UNKNOWN_OPTION_CODE = 2
_LONGEST = 65_535
AT_ONCE = 64
"""Packets that are read before others have their turn."""


class Received(NamedTuple):
    """A message that came."""

    source: IPv6Address
    destination: IPv6Address
    message: bytes
    carriage: Carriage


class ErrorReceived(NamedTuple):
    """An ICMPv6 error that came, with what it quotes."""

    error: Unrecognised
    source: IPv6Address
    quoted: bytes


class Messages:
    """Sends and receives messages; the packets that wait are read by :meth:`received` and :meth:`errors`.

    Args:
        interface: where messages come in.
        option_type: what messages are sent as; they are received as any of the known types.
    """

    def __init__(self, interface: str = INTERFACE, *, option_type: int = ASKED) -> None:
        self.option_type = option_type
        self._interface = interface
        self._stack = contextlib.ExitStack()
        self._options: socket.socket
        self._datagrams: socket.socket
        self._errors: socket.socket
        self._raw: socket.socket

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._options = stack.enter_context(
                socket.socket(socket.AF_INET6, socket.SOCK_RAW, DESTINATION_OPTIONS)
            )
            _attach(self._options, socket_filter())
            self._options.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode())
            self._options.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._datagrams = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            self._datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._datagrams.bind(("::", UDP_PORT))
            self._errors = stack.enter_context(
                socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            )
            self._errors.setsockopt(
                socket.IPPROTO_ICMPV6, ICMP6_FILTER, only(_UNREACHABLE, _PARAMETER_PROBLEM)
            )
            self._raw = stack.enter_context(
                socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            )
            for one in (self._datagrams, self._raw):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MESSAGE_MARK)
            for one in (self._options, self._datagrams, self._errors, self._raw):
                one.setblocking(False)
                with contextlib.suppress(PermissionError):
                    one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def readable(self) -> Sequence[socket.socket]:
        """The sockets that something may wait in."""
        return self._options, self._datagrams, self._errors

    def send(self, order: Send) -> None:
        """Send a message; one that the kernel refuses is lost.

        Raises:
            OSError: the kernel refused.
        """
        if order.carriage is Carriage.UDP:
            self._send_datagram(order)
            return
        header = destination_options(order.message, self.option_type)
        packet = (
            struct.pack("!IHBB", 6 << 28, len(header), DESTINATION_OPTIONS, _HOP_LIMIT)
            + order.source.packed
            + order.destination.packed
            + header
        )
        self._raw.sendto(packet, (str(order.destination), 0))

    def _send_datagram(self, order: Send) -> None:
        info = order.source.packed + struct.pack("=I", 0)
        self._datagrams.sendmsg(
            [order.message],
            [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)],
            0,
            (str(order.destination), UDP_PORT),
        )

    def received(self, readable: socket.socket) -> Iterator[Received]:
        """Messages that came in this socket, not more than :data:`AT_ONCE`."""
        if readable is self._options:
            for source, destination, header in _packets(readable):
                message = _message(header)
                if message is not None:
                    yield Received(source, destination, message, Carriage.OPTION)
        elif readable is self._datagrams:
            for source, destination, datagram in _packets(readable):
                yield Received(source, destination, datagram, Carriage.UDP)

    def errors(self, readable: socket.socket) -> Iterator[ErrorReceived]:
        """ICMPv6 errors in this socket that mean "not known", not more than :data:`AT_ONCE`."""
        for _ in range(AT_ONCE if readable is self._errors else 0):
            try:
                message, source = self._errors.recvfrom(_LONGEST)
            except (BlockingIOError, InterruptedError):
                return
            address = IPv6Address(source[0].partition("%")[0])
            if message[:2] == bytes([_UNREACHABLE, _PORT_UNREACHABLE_CODE]):
                yield ErrorReceived(Unrecognised.PORT_UNREACHABLE, address, message[8:])
            elif message[:2] == bytes([_PARAMETER_PROBLEM, _UNKNOWN_OPTION_CODE]):
                yield ErrorReceived(Unrecognised.PARAMETER_PROBLEM, address, message[8:])


def _packets(readable: socket.socket) -> Iterator[tuple[IPv6Address, IPv6Address, bytes]]:
    """Source, destination and content of what came in a socket, not more than :data:`AT_ONCE`."""
    for _ in range(AT_ONCE):
        try:
            content, ancillary, _, source = readable.recvmsg(_LONGEST, 64)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            continue  # an ICMPv6 error about a message of ours; the raw socket of these has it
        for level, kind, data in ancillary:
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                yield IPv6Address(source[0].partition("%")[0]), IPv6Address(data[:16]), content


def _message(header: bytes) -> bytes | None:
    """The message in a header, which is our own where the socket's filter let it pass."""
    if len(header) < 8 or header[0] != NO_NEXT_HEADER:
        return None
    try:
        return option_data(header, header[2])
    except FormatError:
        return None


def _attach(receiver: socket.socket, program: bytes) -> None:
    octets = ctypes.create_string_buffer(program)
    descriptor = struct.pack("HL", len(program) // 8, ctypes.addressof(octets))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, descriptor)


def only(*types: int) -> bytes:
    """An ICMPv6 filter that lets these types pass (RFC 3542 §3.2: a set bit blocks)."""
    blocked = (1 << 256) - 1
    for one in types:
        blocked &= ~(1 << one)
    return b"".join(struct.pack("=I", blocked >> 32 * word & 0xFFFFFFFF) for word in range(8))
