"""The messages of NFQUEUE (nfnetlink_queue), as octets. No I/O.

The kernel's include/uapi/linux/netfilter/nfnetlink_queue.h and nfnetlink.h. Lengths are in octets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from nodes import errors

_PACKET, _VERDICT, _CONFIG = (3 << 8 | kind for kind in range(3))  # 3: NFNL_SUBSYS_QUEUE
_ERROR = 2
_REQUEST, _ACK = 1, 4
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = range(1, 6)
_BIND = 1
_COPY_PACKET = 2
_FAIL_OPEN = 1
_A_PACKET_HDR, _A_VERDICT_HDR, _A_PAYLOAD = 1, 2, 10
_NF_DROP, _NF_ACCEPT = 0, 1
_AF_UNSPEC = 0
_HOOK_LOCAL_OUT = 3
_TYPE = 0x3FFF
_WHOLE_PACKET = 0xFFFF


class QueuedPacket(NamedTuple):
    """A packet that waits in the queue for its verdict; ``octets`` from the IPv6 header on."""

    id: int
    outgoing: bool
    octets: bytes


class Answer(NamedTuple):
    """The kernel's answer to a request: an errno, or 0."""

    error: int


def bind(queue: int, *, most: int) -> bytes:
    """Requests that take a queue, for whole packets; it lets packets pass when ``most`` wait in it."""
    parameters = struct.pack("!IB", _WHOLE_PACKET, _COPY_PACKET)
    attributes = (
        _attribute(_CFG_CMD, struct.pack("!BxH", _BIND, _AF_UNSPEC)),
        _attribute(_CFG_PARAMS, parameters)
        + _attribute(_CFG_QUEUE_MAXLEN, struct.pack("!I", most))
        + _attribute(_CFG_MASK, struct.pack("!I", _FAIL_OPEN))
        + _attribute(_CFG_FLAGS, struct.pack("!I", _FAIL_OPEN)),
    )
    return b"".join(_message(_CONFIG, queue, _REQUEST | _ACK, one) for one in attributes)


BIND_ANSWERS = 2
"""How many answers :func:`bind` gets."""


def verdict(queue: int, packet_id: int, *, passes: bool, octets: bytes | None = None) -> bytes:
    """The request that lets a packet pass, as ``octets`` if given, or drops it."""
    what = _NF_ACCEPT if passes else _NF_DROP
    attributes = _attribute(_A_VERDICT_HDR, struct.pack("!II", what, packet_id))
    if octets is not None:
        attributes += _attribute(_A_PAYLOAD, octets)
    return _message(_VERDICT, queue, _REQUEST, attributes)


def read(data: bytes) -> Iterator[QueuedPacket | Answer]:
    """What the kernel says in one datagram.

    Raises:
        ProtocolError: it is none of what a queue says.
    """
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16 or at + length > len(data):
            raise errors.ProtocolError(f"a netlink message of {length} octets in {len(data) - at}")
        body = data[at + 16 : at + length]
        if kind == _ERROR:
            yield Answer(-struct.unpack_from("=i", body)[0])
        elif kind == _PACKET:
            yield _queued(body)
        at += (length + 3) & ~3


def _queued(body: bytes) -> QueuedPacket:
    attributes = dict(_attributes(body[4:]))
    try:
        packet_id, _, hook = struct.unpack_from("!IHB", attributes[_A_PACKET_HDR])
    except (KeyError, struct.error):
        raise errors.ProtocolError("a queued packet without its number") from None
    return QueuedPacket(packet_id, hook == _HOOK_LOCAL_OUT, attributes.get(_A_PAYLOAD, b""))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            raise errors.ProtocolError(f"a netlink attribute of {length} octets in {len(data) - at}")
        yield kind & _TYPE, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _message(kind: int, queue: int, flags: int, attributes: bytes) -> bytes:
    body = struct.pack("!BBH", _AF_UNSPEC, 0, queue) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body
