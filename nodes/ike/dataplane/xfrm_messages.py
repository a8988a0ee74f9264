"""The kernel's own words about IPsec: netlink messages of XFRM (``linux/xfrm.h``), read and written.

``ip xfrm`` sets states and policies. What it tells as text, and what it has no word for, is here: that the
kernel wants an SA, that a lifetime is over, that an SA has seen its first packet, and what SAs have carried.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from nodes import netlink
from nodes.errors import ProtocolError
from nodes.netlink import ACK, DUMP, REPLACE, REQUEST, attribute

NETLINK_XFRM: Final = 6
ACQUIRE_GROUP: Final = 1 << 0
EXPIRE_GROUP: Final = 1 << 1
AEVENT_GROUP: Final = 1 << 4

_NEWSA, _GETSA, _ACQUIRE, _EXPIRE, _NEWAE = 0x10, 0x12, 0x17, 0x18, 0x1E
_AE_CR: Final = 16
"""A sequence number was taken: a packet was authenticated (or sent)."""
_REPLAY_THRESH, _ETIMER_THRESH = 11, 12

_selector = struct.Struct(
    "=16s16s24x"
)  # destination, source; ports, prefix lengths and the rest are not asked
_id = struct.Struct("=16s4sB3x")  # destination, SPI, protocol
_lifetime = struct.Struct("=8Q")
_carried = struct.Struct("=4Q")  # octets, packets, added, used
_state = struct.Struct("=56x16s4sB3x16s64x4Q3I4x")
_STATE: Final = 224
_sa_id = struct.Struct("=16s4sHBx16sII")
NEVER: Final = 0
"""A threshold that no packet reaches."""


class Acquire(NamedTuple):
    """A packet between these inner addresses needs an SA."""

    source: IPv6Address
    destination: IPv6Address


class Expire(NamedTuple):
    """A lifetime of a state is over."""

    destination: IPv6Address
    spi: int
    hard: bool
    packets: int
    octets: int


class Sequence(NamedTuple):
    """A state has taken a sequence number: inbound, an authenticated packet has come."""

    destination: IPv6Address
    spi: int


class State(NamedTuple):
    """What a state has carried, and what it has refused."""

    destination: IPv6Address
    spi: int
    packets: int
    octets: int
    replays: int
    failures: int


class Done(NamedTuple):
    """The end of an answer; ``number`` is an errno, 0: as asked."""

    number: int


Told = Acquire | Expire | Sequence | State | Done


def told(datagram: bytes) -> Iterator[Told]:
    """What a datagram of the kernel tells; what is not of use is left out."""
    with contextlib.suppress(ProtocolError):
        for message in netlink.messages(datagram):
            read = _read(message)
            if read is not None:
                yield read


def _read(message: netlink.Message) -> Told | None:
    kind, body = message.kind, message.body
    try:
        if kind == _ACQUIRE:
            destination, source = _selector.unpack_from(body, _id.size + 16)
            return Acquire(IPv6Address(source), IPv6Address(destination))
        if kind == _EXPIRE:
            state = _read_state(body)
            return Expire(state.destination, state.spi, bool(body[_STATE]), state.packets, state.octets)
        if kind == _NEWAE:
            destination, spi, _, _, _, flags, _ = _sa_id.unpack_from(body)
            return Sequence(IPv6Address(destination), _number(spi)) if flags & _AE_CR else None
        if kind == _NEWSA:
            return _read_state(body)
        if kind in (netlink.DONE, netlink.ERROR):
            return Done(message.error)
    except (struct.error, IndexError):
        return None
    return None


def _read_state(body: bytes) -> State:
    destination, spi, _, _, octets, packets, _, _, _, replays, failures = _state.unpack_from(body)
    return State(IPv6Address(destination), _number(spi), packets, octets, replays, failures)


def _number(spi: bytes) -> int:
    return int.from_bytes(spi, "big")


def list_states() -> bytes:
    """The request for every state; each is told as a :class:`State`, and then :class:`Done`."""
    return _request(_GETSA, DUMP, b"")


def tell_sequence_numbers(destination: IPv6Address, spi: int, every: int) -> bytes:
    """The request to tell of a state's sequence numbers, each ``every`` of them, or :data:`NEVER`."""
    which = _sa_id.pack(
        destination.packed, spi.to_bytes(4, "big"), socket.AF_INET6, socket.IPPROTO_ESP, bytes(16), 0, 0
    )
    thresholds = attribute(_REPLAY_THRESH, struct.pack("=I", every))
    thresholds += attribute(_ETIMER_THRESH, struct.pack("=I", 0))
    return _request(_NEWAE, ACK | REPLACE, which + thresholds)


def _request(kind: int, flags: int, body: bytes) -> bytes:
    return netlink.message(kind, REQUEST | flags, 1, body)
