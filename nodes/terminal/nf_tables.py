"""The messages of nf_tables, as octets: a batch is one transaction. No I/O.

The kernel's include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h. Lengths are in octets, addresses and
ports in network order, as everything in nf_tables is.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from nodes import netlink
from nodes.netlink import ACK, APPEND, CREATE, DUMP, REQUEST, attribute, attributes, nested

NFPROTO_IPV6 = 10
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_ELEMENTS = 512
"""In a message: a list of elements is an attribute, of 65,535 octets at most."""


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


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a name."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute that holds a 32-bit number."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def new_table(name: str) -> Message:
    """Make a table; one that is there already stays as it is."""
    return Message(_Kind.NEW_TABLE, CREATE, text(1, name))


def delete_table(name: str) -> Message:
    """Remove a table with all that is in it."""
    return Message(_Kind.DEL_TABLE, 0, text(1, name))


def new_base_chain(table: str, name: str, *, type_: str, hook: int, priority: int) -> Message:
    """Make a chain that the kernel's hook calls; what it does not drop passes."""
    where = nested(4, number(1, hook), number(2, priority))
    return Message(_Kind.NEW_CHAIN, CREATE, text(1, table) + text(3, name) + where + text(7, type_))


def new_chain(table: str, name: str) -> Message:
    """Make a chain that rules go to."""
    return Message(_Kind.NEW_CHAIN, CREATE, text(1, table) + text(3, name))


def delete_chain(table: str, name: str) -> Message:
    """Remove a chain with its rules."""
    return Message(_Kind.DEL_CHAIN, 0, text(1, table) + text(3, name))


def new_rule(table: str, chain: str, expressions: Iterable[bytes]) -> Message:
    """Add a rule at the chain's end; an expression that does not match ends it."""
    listed = nested(4, *(nested(1, expression) for expression in expressions))
    return Message(_Kind.NEW_RULE, CREATE | APPEND, text(1, table) + text(2, chain) + listed)


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
    return Message(_Kind.NEW_SET, CREATE, attributes)


def add_elements(table: str, name: str, elements: Sequence[Element]) -> list[Message]:
    """Put elements in; one whose key is in the set with other data fails the batch."""
    return [Message(_Kind.NEW_ELEMENTS, CREATE, one) for one in _elements(table, name, elements)]


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
    parts = [netlink.message(_BATCH_BEGIN, REQUEST, first, subsystem)]
    for index, message in enumerate(messages, 1):
        body = struct.pack("!BBH", NFPROTO_IPV6, 0, 0) + message.attributes
        parts.append(
            netlink.message(
                _SUBSYSTEM << 8 | message.kind, REQUEST | ACK | message.flags, first + index, body
            )
        )
    parts.append(netlink.message(_BATCH_END, REQUEST, first + len(messages) + 1, subsystem))
    return b"".join(parts)


def get_elements(table: str, name: str, *, sequence: int) -> bytes:
    """The request for all elements of a set; :class:`Element` and at last :class:`Done` answer it."""
    body = struct.pack("!BBH", NFPROTO_IPV6, 0, 0) + text(1, table) + text(2, name)
    return netlink.message(_SUBSYSTEM << 8 | _Kind.GET_ELEMENTS, REQUEST | DUMP, sequence, body)


def read(data: bytes) -> Iterator[Element | Reply | Done]:
    """What the kernel says in one datagram.

    Raises:
        ProtocolError: it is nothing that nf_tables says.
    """
    for message in netlink.messages(data):
        if message.kind == netlink.ERROR:
            yield Reply(message.sequence, message.error)
        elif message.kind == netlink.DONE:
            yield Done(message.error)
        elif message.kind == _SUBSYSTEM << 8 | _Kind.NEW_ELEMENTS:
            yield from _listed(message.body[4:])


def _listed(data: bytes) -> Iterator[Element]:
    for _, raw in attributes(_first(data, 3)):
        members = dict(attributes(raw))
        expires = members.get(5)
        yield Element(
            _first(members.get(1, b""), 1),
            _first(members.get(2, b""), 1),
            None if expires is None else struct.unpack("!Q", expires)[0],
        )


def _first(data: bytes, kind: int) -> bytes:
    found: Mapping[int, bytes] = dict(attributes(data))
    return found.get(kind, b"")
