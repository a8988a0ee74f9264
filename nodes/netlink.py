"""How netlink frames what it carries, whatever the subsystem: messages and attributes, as octets. No I/O.

The kernel's include/uapi/linux/netlink.h and RFC 3549, section 2. Lengths are in octets, without the padding
to four, and all numbers of the framing in the machine's own order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from nodes import errors

ERROR, DONE = 2, 3
"""The types of the kernel's answer to a request, and of what ends a dump."""
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, CREATE, APPEND = 0x100, 0x400, 0x800
"""What a request asks for (``NLM_F_*``)."""
_NESTED = 0x8000
_TYPE = 0x3FFF
_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


class Message(NamedTuple):
    """A message of the kernel's, the subsystem's own header and its attributes as its body."""

    kind: int
    sequence: int
    body: bytes

    @property
    def error(self) -> int:
        """The errno that an :data:`ERROR` or a :data:`DONE` bears; 0: as asked.

        Raises:
            ProtocolError: it bears none.
        """
        if self.kind == DONE and not self.body:
            return 0
        if len(self.body) < 4:
            raise errors.ProtocolError("a netlink answer without its number")
        return -int(struct.unpack_from("=i", self.body)[0])


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A message to the kernel."""
    return _MESSAGE.pack(_MESSAGE.size + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """What stands in one datagram.

    Raises:
        ProtocolError: a message says that it is longer than the datagram.
    """
    at = 0
    while at + _MESSAGE.size <= len(data):
        length, kind, _, sequence, _ = _MESSAGE.unpack_from(data, at)
        if length < _MESSAGE.size or at + length > len(data):
            raise errors.ProtocolError(f"a netlink message of {length} octets in {len(data) - at}")
        yield Message(kind, sequence, data[at + _MESSAGE.size : at + length])
        at += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *members: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(members))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and the value of each attribute.

    Raises:
        ProtocolError: an attribute says that it is longer than what holds it.
    """
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            raise errors.ProtocolError(f"a netlink attribute of {length} octets in {len(data) - at}")
        yield kind & _TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
