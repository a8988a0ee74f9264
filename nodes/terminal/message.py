"""The messages of address updating, octets to values and back, without their authentication. No I/O.

::

    version(4 bits) type(4) | flags(8) | reserved(16) | context(64) | sequence(64) | TLVs | HMAC-SHA256-128

All numbers are in network byte order. A TLV is type(8), length(8), value. A message is the data of one IPv6
option, so it has at most 255 octets; larger lists go in several messages. Reserved bits are sent as 0 and
not looked at; a TLV of an unknown type is passed over (it is authenticated all the same), one of a known
type must be well-formed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum, IntFlag
from typing import NamedTuple, TypeVar

import msgspec

from nodes.terminal.header import MOST_DATA, FormatError

VERSION = 1
HEADER_OCTETS = 20
MAC_OCTETS = 16
MOST_MESSAGE = MOST_DATA
MOST_TLV_OCTETS = MOST_MESSAGE - HEADER_OCTETS - MAC_OCTETS
SEALED_OCTETS = 44
"""A sealed address: nonce 12, ciphertext 16, tag 16."""
COOKIE_OCTETS = 8
MOST_COOKIES = 2

T = TypeVar("T")

_HEADER = struct.Struct("!BBHQQ")
_SERVICE = struct.Struct("!HBxHH")
_LIFETIMES = struct.Struct("!II")
_RESULT = struct.Struct("!HB")
_ID = struct.Struct("!H")
_NUMBER = struct.Struct("!Q")


class Kind(IntEnum):
    """The types of messages. The first terminal sends the odd ones; a close is answered by a close."""

    UPDATE_REQUEST = 1
    UPDATE_RESPONSE = 2
    BACKUP_REQUEST = 3
    BACKUP_RESPONSE = 4
    SWITCH = 5
    SWITCH_ACK = 6
    CLOSE = 7
    ERROR = 8


class Capability(IntFlag):
    """What a terminal updates: in a request of the first terminal, in a response of the second."""

    NONE = 0
    PORTS = 0x20
    """Services bear other ports at the second address (``ContextKeys.moved_port``)."""
    INTERFACE_ID = 0x40
    PREFIX = 0x80


ALL_FLAGS = Capability.PORTS | Capability.INTERFACE_ID | Capability.PREFIX


class Tlv(IntEnum):
    """The types of TLVs."""

    SERVICE = 1
    SEALED_ADDRESS = 2
    LIFETIMES = 3
    RESULT = 4
    COOKIE = 5
    SERVICE_IDS = 6
    ANSWERED = 7


class Code(IntEnum):
    """What a result says; up to 15 about one service, from 16 on about the whole message (its id is 0)."""

    SUPPORTED = 0
    NO_SUCH_FLOW = 1
    POLICY = 2
    NO_ROOM = 3
    COOKIE_NEEDED = 16


class Listed(NamedTuple):
    """A service as a request lists it: its ports are those on the wire, its addresses those of the packet."""

    id: int
    protocol: int
    local_port: int
    remote_port: int


class Lifetimes(NamedTuple):
    """Milliseconds: how long the first address goes on, and for how long the second one will."""

    remaining: int
    duration: int


class Result(NamedTuple):
    """The answer for one service."""

    id: int
    code: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message without its authentication.

    Attributes:
        kind: its type.
        context: the number of the hop between these two terminals, of the leg that it travels on.
        sequence: its number in this context, direction and leg; never the same twice.
        flags: what is updated.
        services: the services asked about.
        sealed: the second address as :class:`nodes.terminal.keys.LegKeys` sealed it.
        lifetimes: of the first address, and of the second.
        results: answers.
        cookies: proofs that the sender receives at its addresses: for the first, for the second.
        ids: services that were answered as supported, by their ids.
        answered: the sequence number of the message that this one answers.
    """

    kind: Kind
    context: int
    sequence: int
    flags: Capability = Capability.NONE
    services: tuple[Listed, ...] = ()
    sealed: bytes | None = None
    lifetimes: Lifetimes | None = None
    results: tuple[Result, ...] = ()
    cookies: tuple[bytes, ...] = ()
    ids: tuple[int, ...] = ()
    answered: int | None = None


def encode(message: Message) -> bytes:
    """The message's octets up to, and without, the MAC.

    Raises:
        ValueError: it is larger than a message can be.
    """
    flags = message.flags & ALL_FLAGS
    parts = [_HEADER.pack(VERSION << 4 | message.kind, flags, 0, message.context, message.sequence)]
    parts += [_tlv(Tlv.SERVICE, _SERVICE.pack(*service)) for service in message.services]
    if message.sealed is not None:
        parts.append(_tlv(Tlv.SEALED_ADDRESS, message.sealed))
    if message.lifetimes is not None:
        parts.append(_tlv(Tlv.LIFETIMES, _LIFETIMES.pack(*message.lifetimes)))
    parts += [_tlv(Tlv.RESULT, _RESULT.pack(*result)) for result in message.results]
    parts += [_tlv(Tlv.COOKIE, cookie) for cookie in message.cookies]
    if message.ids:
        parts.append(_tlv(Tlv.SERVICE_IDS, b"".join(map(_ID.pack, message.ids))))
    if message.answered is not None:
        parts.append(_tlv(Tlv.ANSWERED, _NUMBER.pack(message.answered)))
    octets = b"".join(parts)
    if len(octets) > MOST_MESSAGE - MAC_OCTETS:
        raise ValueError(f"a message of {len(octets) + MAC_OCTETS} octets; it has at most {MOST_MESSAGE}")
    return octets


def decode(octets: bytes) -> Message:
    """Read a whole message, MAC and all; whether the MAC is right is not looked at.

    Raises:
        FormatError: the octets are no message; the only exception, whatever they are.
    """
    if not HEADER_OCTETS + MAC_OCTETS <= len(octets) <= MOST_MESSAGE:
        raise FormatError(
            f"a message has {HEADER_OCTETS + MAC_OCTETS} to {MOST_MESSAGE} octets, not {len(octets)}"
        )
    first, flags, _, context, sequence = _HEADER.unpack_from(octets)
    if first >> 4 != VERSION:
        raise FormatError(f"version {first >> 4}; this is version {VERSION}")
    try:
        kind = Kind(first & 0x0F)
    except ValueError:
        raise FormatError(f"no message has the type {first & 0x0F}") from None
    found = _Found()
    end = len(octets) - MAC_OCTETS
    at = HEADER_OCTETS
    while at < end:
        if at + 2 > end or at + 2 + octets[at + 1] > end:
            raise FormatError(f"the TLV at octet {at} goes beyond the message's end")
        value = octets[at + 2 : at + 2 + octets[at + 1]]
        found.take(octets[at], value, at)
        at += 2 + len(value)
    return Message(
        kind=kind,
        context=context,
        sequence=sequence,
        flags=Capability(flags & ALL_FLAGS),
        services=tuple(found.services),
        sealed=found.sealed,
        lifetimes=found.lifetimes,
        results=tuple(found.results),
        cookies=tuple(found.cookies),
        ids=found.ids,
        answered=found.answered,
    )


def context_of(octets: bytes) -> tuple[int, int] | None:
    """The type and the context of a message, at the least cost; None: it cannot be one."""
    if not HEADER_OCTETS + MAC_OCTETS <= len(octets) <= MOST_MESSAGE or octets[0] >> 4 != VERSION:
        return None
    return octets[0] & 0x0F, int.from_bytes(octets[4:12], "big")


class _Found:
    """The TLVs of a message as they are read."""

    def __init__(self) -> None:
        self.services: list[Listed] = []
        self.results: list[Result] = []
        self.cookies: list[bytes] = []
        self.sealed: bytes | None = None
        self.lifetimes: Lifetimes | None = None
        self.ids: tuple[int, ...] = ()
        self.answered: int | None = None

    def take(self, kind: int, value: bytes, at: int) -> None:
        if kind == Tlv.SERVICE:
            self.services.append(Listed(*_SERVICE.unpack(_sized(value, _SERVICE.size, kind, at))))
            _differ([service.id for service in self.services], at)
        elif kind == Tlv.RESULT:
            self.results.append(Result(*_RESULT.unpack(_sized(value, _RESULT.size, kind, at))))
            _differ([result.id for result in self.results], at)
        elif kind == Tlv.SEALED_ADDRESS:
            _once(self.sealed is not None, kind, at)
            self.sealed = _sized(value, SEALED_OCTETS, kind, at)
        elif kind == Tlv.LIFETIMES:
            _once(self.lifetimes is not None, kind, at)
            self.lifetimes = Lifetimes(*_LIFETIMES.unpack(_sized(value, _LIFETIMES.size, kind, at)))
        elif kind == Tlv.COOKIE:
            if len(self.cookies) == MOST_COOKIES:
                raise FormatError(f"more than {MOST_COOKIES} cookies at octet {at}")
            self.cookies.append(_sized(value, COOKIE_OCTETS, kind, at))
        elif kind == Tlv.SERVICE_IDS:
            _once(bool(self.ids), kind, at)
            if not value or len(value) % _ID.size:
                raise FormatError(f"a list of service ids of {len(value)} octets at octet {at}")
            self.ids = tuple(one for (one,) in _ID.iter_unpack(value))
            _differ(self.ids, at)
        elif kind == Tlv.ANSWERED:
            _once(self.answered is not None, kind, at)
            (self.answered,) = _NUMBER.unpack(_sized(value, _NUMBER.size, kind, at))


def _sized(value: bytes, size: int, kind: int, at: int) -> bytes:
    if len(value) != size:
        raise FormatError(f"the TLV of type {kind} at octet {at} has {size} octets, not {len(value)}")
    return value


def _once(there: bool, kind: int, at: int) -> None:
    if there:
        raise FormatError(f"a second TLV of type {kind} at octet {at}")


def _differ(ids: Sequence[int], at: int) -> None:
    if len(set(ids)) != len(ids):
        raise FormatError(f"the TLV at octet {at} repeats a service id")


def _tlv(kind: Tlv, value: bytes) -> bytes:
    return bytes([kind, len(value)]) + value


SERVICE_TLV = 2 + _SERVICE.size
RESULT_TLV = 2 + _RESULT.size
SEALED_TLV = 2 + SEALED_OCTETS
LIFETIMES_TLV = 2 + _LIFETIMES.size
COOKIE_TLV = 2 + COOKIE_OCTETS
ANSWERED_TLV = 2 + _NUMBER.size

MOST_SERVICES = (MOST_TLV_OCTETS - SEALED_TLV - LIFETIMES_TLV) // SERVICE_TLV
"""Services that one request lists, beside the sealed address and the lifetimes."""
MOST_IDS = (MOST_TLV_OCTETS - MOST_COOKIES * COOKIE_TLV - LIFETIMES_TLV - ANSWERED_TLV - 2) // _ID.size
"""Services that one message refers to by their ids, beside cookies and lifetimes."""
MOST_RESULTS = (MOST_TLV_OCTETS - COOKIE_TLV - ANSWERED_TLV) // RESULT_TLV
"""Services that one message answers for, beside a cookie and what it answers."""


def portions(whole: Iterable[T], most: int) -> list[list[T]]:
    """The same in lists of at most ``most``."""
    items = list(whole)
    return [items[at : at + most] for at in range(0, len(items), most)]
