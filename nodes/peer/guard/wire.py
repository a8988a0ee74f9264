"""The guard's sockets: the IKE that goes out, what is notable of the IKE that comes in, and its own messages.

Packet sockets see a packet before the node's filters do when it comes in, and behind them when it goes out;
that takes no more than the CAP_NET_RAW that a node has. What a flood can cost is bounded: the kernel hands
over only what passes :mod:`nodes.peer.guard.bpf`, a socket keeps :data:`ROOM` octets, and of what came in at
most :data:`AT_ONCE` packets are looked at in one go.
"""

from __future__ import annotations

import contextlib
import ctypes
import secrets
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from nodes import INTERFACE, errors
from nodes.abnormality.message import AbnormalInformation, build
from nodes.peer.guard import bpf
from nodes.peer.guard.filter import MARK

ROOM = 262_144
AT_ONCE = 500

_ETH_P_ALL, _ETH_P_IPV6 = 0x0003, 0x86DD
_SO_ATTACH_FILTER = 26
_IPV6_CHECKSUM, _UDP_CHECKSUM_AT = 7, 6
_NAT_T = 4500
_HEADER = 28
_NOT_PERMITTED = "the guard may not open packet sockets here: the node needs the capability NET_RAW"


class Endpoints(NamedTuple):
    """Where a message goes, or came: addresses and ports."""

    local: str
    local_port: int
    partner: str
    partner_port: int


class Header(NamedTuple):
    """The beginning of an IKE message as it was seen; ``octets`` are at most :data:`bpf.SNAP`."""

    ends: Endpoints
    initiator_cookie: bytes
    responder_cookie: bytes
    version: int
    exchange: int
    flags: int
    octets: bytes


class Wire:
    """The sockets, open for the length of the context."""

    def __init__(self) -> None:
        """Open them.

        Raises:
            MachineError: this process may not.
        """
        self._open = contextlib.ExitStack()
        try:
            self.outgoing = self._packet_socket(_ETH_P_ALL, bpf.outgoing_ike())
            self.incoming = self._packet_socket(_ETH_P_IPV6, bpf.notable_ike())
            self._sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            self._open.close()
            raise errors.MachineError(_NOT_PERMITTED) from None
        self._open.enter_context(self._sender)
        _attach(self._sender, bpf.nothing())
        self._sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, _UDP_CHECKSUM_AT)
        self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        self._sender.setblocking(False)

    def sent(self) -> Iterator[Header]:
        """The IKE messages that this node sent since."""
        for packet in self._packets(self.outgoing):
            if (header := read(packet, incoming=False)) is not None:
                yield header

    def received(self) -> Iterator[Header]:
        """What of note came in since; not more than :data:`AT_ONCE`."""
        for packet in self._packets(self.incoming):
            if (header := read(packet, incoming=True)) is not None:
                yield header

    def tell(self, ends: Endpoints, said: AbnormalInformation) -> bool:
        """Send the abnormal-information message; whether it could be."""
        message_id = secrets.randbits(32) if said.version == 1 else 0
        octets = build(said, message_id=message_id)
        if ends.local_port == _NAT_T:
            octets = bytes(4) + octets
        datagram = struct.pack("!HHHH", ends.local_port, ends.partner_port, 8 + len(octets), 0) + octets
        info = socket.inet_pton(socket.AF_INET6, ends.local) + struct.pack("=I", 0)
        ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
        try:
            self._sender.sendmsg([datagram], ancillary, 0, (ends.partner, 0))
        except OSError:  # no route, or no buffer: it is lost, as a datagram may be
            return False
        return True

    def close(self) -> None:
        """Close them."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _packet_socket(self, protocol: int, program: bytes) -> socket.socket:
        """A packet socket that has never held anything but what its filter lets through."""
        opened = self._open.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0))
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        _attach(opened, program)
        opened.bind((INTERFACE, protocol))
        return opened

    @staticmethod
    def _packets(source: socket.socket) -> Iterator[bytes]:
        for _ in range(AT_ONCE):
            try:
                yield source.recv(bpf.SNAP)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # as ENETDOWN: the interface went down, the socket goes on
                return


def read(packet: bytes, *, incoming: bool) -> Header | None:
    """The IKE header in a packet, which begins with its IPv6 header; None where there is none."""
    if len(packet) < 48 or packet[0] >> 4 != 6 or packet[6] != socket.IPPROTO_UDP:
        return None
    source, destination = (socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24))
    source_port, destination_port, length = struct.unpack_from("!HHH", packet, 40)
    begin = 52 if _NAT_T in (source_port, destination_port) else 48
    octets = packet[begin : 40 + length]
    if len(octets) < _HEADER:
        return None
    initiator, responder, _, version, exchange, flags = struct.unpack_from("!8s8sBBBB", octets)
    here, there = (destination, destination_port), (source, source_port)
    if not incoming:
        here, there = there, here
    return Header(Endpoints(*here, *there), initiator, responder, version, exchange, flags, octets)


def _attach(target: socket.socket, program: bytes) -> None:
    """Give a socket its filter (struct sock_fprog)."""
    instructions = ctypes.create_string_buffer(program, len(program))
    packed = struct.pack("HL", len(program) // 8, ctypes.addressof(instructions))
    target.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, packed)
