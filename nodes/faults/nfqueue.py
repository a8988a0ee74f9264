"""The messages of NFQUEUE (nfnetlink_queue), as octets. No I/O.

The kernel's include/uapi/linux/netfilter/nfnetlink_queue.h and nfnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from nodes import errors, netlink
from nodes.netlink import ACK, REQUEST, attribute, attributes

_PACKET, _VERDICT, _CONFIG = (3 << 8 | kind for kind in range(3))  # 3: NFNL_SUBSYS_QUEUE
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = range(1, 6)
_BIND = 1
_COPY_PACKET = 2
_FAIL_OPEN = 1
_A_PACKET_HDR, _A_VERDICT_HDR, _A_PAYLOAD = 1, 2, 10
_NF_DROP, _NF_ACCEPT = 0, 1
_AF_UNSPEC = 0
_HOOK_LOCAL_OUT = 3
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
    asked = (
        attribute(_CFG_CMD, struct.pack("!BxH", _BIND, _AF_UNSPEC)),
        attribute(_CFG_PARAMS, parameters)
        + attribute(_CFG_QUEUE_MAXLEN, struct.pack("!I", most))
        + attribute(_CFG_MASK, struct.pack("!I", _FAIL_OPEN))
        + attribute(_CFG_FLAGS, struct.pack("!I", _FAIL_OPEN)),
    )
    return b"".join(_message(_CONFIG, queue, REQUEST | ACK, one) for one in asked)


BIND_ANSWERS = 2
"""How many answers :func:`bind` gets."""


def verdict(queue: int, packet_id: int, *, passes: bool, octets: bytes | None = None) -> bytes:
    """The request that lets a packet pass, as ``octets`` if given, or drops it."""
    what = _NF_ACCEPT if passes else _NF_DROP
    answer = attribute(_A_VERDICT_HDR, struct.pack("!II", what, packet_id))
    if octets is not None:
        answer += attribute(_A_PAYLOAD, octets)
    return _message(_VERDICT, queue, REQUEST, answer)


def read(data: bytes) -> Iterator[QueuedPacket | Answer]:
    """What the kernel says in one datagram.

    Raises:
        ProtocolError: it is none of what a queue says.
    """
    for message in netlink.messages(data):
        if message.kind == netlink.ERROR:
            yield Answer(message.error)
        elif message.kind == _PACKET:
            yield _queued(message.body)


def _queued(body: bytes) -> QueuedPacket:
    found = dict(attributes(body[4:]))
    try:
        packet_id, _, hook = struct.unpack_from("!IHB", found[_A_PACKET_HDR])
    except (KeyError, struct.error):
        raise errors.ProtocolError("a queued packet without its number") from None
    return QueuedPacket(packet_id, hook == _HOOK_LOCAL_OUT, found.get(_A_PAYLOAD, b""))


def _message(kind: int, queue: int, flags: int, what: bytes) -> bytes:
    return netlink.message(kind, flags, 0, struct.pack("!BBH", _AF_UNSPEC, 0, queue) + what)
