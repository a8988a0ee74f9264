"""The messages of nf_tables, as octets: a batch is one transaction. No I/O.

The kernel's include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h. Lengths are in octets, addresses and
ports in network order, as everything in nf_tables is.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from nodes import errors

NFPROTO_IPV6 = 10
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _EXCL, _CREATE, _APPEND, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x800, 0x300
_ELEMENTS = 512
"""In a message: a list of elements is an attribute, of 65,535 octets at most."""
_NESTED = 0x8000
_TYPE = 0x3FFF


class _Kind(enum.IntEnum):
    """The message types that are used here."""

    NEW_TABLE = 0
    DEL_TABLE = 2
    NEW_CHAIN = 3
    DEL_CHAIN = 5
    NEW_RULE = 6
    NEW_SET = 9
    NEW_ELEMENTS = 12
    GET_ELEMENTS = 13
    DEL_ELEMENTS = 14


class SetFlag(enum.IntFlag):
    """What a set is (``enum nft_set_flags``)."""

    NONE = 0
    MAP = 0x8
    TIMEOUT = 0x10
    DYNAMIC = 0x20


class Message(NamedTuple):
    """One request of a batch: its type, flags and attributes."""

    kind: int
    flags: int
    attributes: bytes


class Element(NamedTuple):
    """An element of a set, with data where the set is a map, and the milliseconds that it has left."""

    key: bytes
    data: bytes = b""
    expires_ms: int | None = None


class Reply(NamedTuple):
    """What the kernel answered to the request with this number: an errno, or 0."""

    sequence: int
    error: int


class Done(NamedTuple):
    """The end of a dump."""

    error: int


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *members: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(members))


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a name."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute that holds a 32-bit number."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def new_table(name: str) -> Message:
    """Make a table; one that is there already stays as it is."""
    return Message(_Kind.NEW_TABLE, _CREATE, text(1, name))


def delete_table(name: str) -> Message:
    """Remove a table with all that is in it."""
    return Message(_Kind.DEL_TABLE, 0, text(1, name))


def new_base_chain(table: str, name: str, *, type_: str, hook: int, priority: int) -> Message:
    """Make a chain that the kernel's hook calls; what it does not drop passes."""
    where = nested(4, number(1, hook), number(2, priority))
    return Message(_Kind.NEW_CHAIN, _CREATE, text(1, table) + text(3, name) + where + text(7, type_))


def new_chain(table: str, name: str) -> Message:
    """Make a chain that rules go to."""
    return Message(_Kind.NEW_CHAIN, _CREATE, text(1, table) + text(3, name))


def delete_chain(table: str, name: str) -> Message:
    """Remove a chain with its rules."""
    return Message(_Kind.DEL_CHAIN, 0, text(1, table) + text(3, name))


def new_rule(table: str, chain: str, expressions: Iterable[bytes]) -> Message:
    """Add a rule at the chain's end; an expression that does not match ends it."""
    listed = nested(4, *(nested(1, expression) for expression in expressions))
    return Message(_Kind.NEW_RULE, _CREATE | _APPEND, text(1, table) + text(2, chain) + listed)


def new_set(
    table: str,
    name: str,
    *,
    key: int,
    data: int = 0,
    flags: SetFlag = SetFlag.NONE,
    size: int = 0,
    timeout_ms: int = 0,
) -> Message:
    """Make a set with keys of ``key`` octets, or, with ``data`` octets, a map.

    Args:
        size: how many elements it may have; 0 for any number.
        timeout_ms: how long an element stays that a rule put in.
    """
    flags |= SetFlag.MAP if data else SetFlag.NONE
    flags |= SetFlag.TIMEOUT if timeout_ms else SetFlag.NONE
    attributes = text(1, table) + text(2, name) + number(3, flags) + number(4, 0) + number(5, key)
    attributes += number(10, sum(name.encode()))  # a number of ours, which every new set must have
    if data:
        attributes += number(6, 0) + number(7, data)
    if size:
        attributes += nested(9, number(1, size))
    if timeout_ms:
        attributes += attribute(11, struct.pack("!Q", timeout_ms))
    return Message(_Kind.NEW_SET, _CREATE, attributes)


def add_elements(table: str, name: str, elements: Sequence[Element]) -> list[Message]:
    """Put elements in; one whose key is in the set with other data fails the batch."""
    return [Message(_Kind.NEW_ELEMENTS, _CREATE, one) for one in _elements(table, name, elements)]


def delete_elements(table: str, name: str, keys: Sequence[bytes]) -> list[Message]:
    """Take elements out; one that is not in the set fails the batch."""
    elements = [Element(key) for key in keys]
    return [Message(_Kind.DEL_ELEMENTS, 0, one) for one in _elements(table, name, elements)]


def flush_elements(table: str, name: str) -> Message:
    """Take all elements out."""
    return Message(_Kind.DEL_ELEMENTS, 0, text(1, table) + text(2, name))


def _elements(table: str, name: str, elements: Sequence[Element]) -> Iterator[bytes]:
    """The attributes of as many messages as it takes."""
    for at in range(0, len(elements), _ELEMENTS):
        listed = (
            nested(
                1,
                nested(1, attribute(1, one.key)),
                *([nested(2, attribute(1, one.data))] if one.data else []),
            )
            for one in elements[at : at + _ELEMENTS]
        )
        yield text(1, table) + text(2, name) + nested(3, *listed)


def batch(messages: Sequence[Message], *, first: int) -> bytes:
    """A transaction: all of the messages, or none, come into force, in one moment.

    The messages have the numbers ``first + 1`` and so on, and each is answered.
    """
    subsystem = struct.pack("!BBH", 0, 0, _SUBSYSTEM)
    parts = [_message(_BATCH_BEGIN, _REQUEST, first, subsystem)]
    for index, message in enumerate(messages, 1):
        body = struct.pack("!BBH", NFPROTO_IPV6, 0, 0) + message.attributes
        parts.append(
            _message(_SUBSYSTEM << 8 | message.kind, _REQUEST | _ACK | message.flags, first + index, body)
        )
    parts.append(_message(_BATCH_END, _REQUEST, first + len(messages) + 1, subsystem))
    return b"".join(parts)


def get_elements(table: str, name: str, *, sequence: int) -> bytes:
    """The request for all elements of a set; :class:`Element` and at last :class:`Done` answer it."""
    body = struct.pack("!BBH", NFPROTO_IPV6, 0, 0) + text(1, table) + text(2, name)
    return _message(_SUBSYSTEM << 8 | _Kind.GET_ELEMENTS, _REQUEST | _DUMP, sequence, body)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def read(data: bytes) -> Iterator[Element | Reply | Done]:
    """What the kernel says in one datagram.

    Raises:
        ProtocolError: it is nothing that nf_tables says.
    """
    at = 0
    while at + 16 <= len(data):
        length, kind, _, sequence = struct.unpack_from("=IHHI", data, at)
        if length < 16 or at + length > len(data):
            raise errors.ProtocolError(f"a netlink message of {length} octets in {len(data) - at}")
        body = data[at + 16 : at + length]
        if kind == _ERROR:
            yield Reply(sequence, -struct.unpack_from("=i", body)[0])
        elif kind == _DONE:
            yield Done(-struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0)
        elif kind == _SUBSYSTEM << 8 | _Kind.NEW_ELEMENTS:
            yield from _listed(body[4:])
        at += (length + 3) & ~3


def _listed(data: bytes) -> Iterator[Element]:
    for _, raw in _attributes(_first(data, 3)):
        members = dict(_attributes(raw))
        expires = members.get(5)
        yield Element(
            _first(members.get(1, b""), 1),
            _first(members.get(2, b""), 1),
            None if expires is None else struct.unpack("!Q", expires)[0],
        )


def _first(data: bytes, kind: int) -> bytes:
    found: Mapping[int, bytes] = dict(_attributes(data))
    return found.get(kind, b"")


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            raise errors.ProtocolError(f"a netlink attribute of {length} octets in {len(data) - at}")
        yield kind & _TYPE, data[at + 4 : at + length]
        at += (length + 3) & ~3
