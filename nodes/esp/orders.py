"""What passes between the ESP program and whoever started it.

Two socket pairs (``SOCK_SEQPACKET``, one message a packet). On the first, orders in and answers and events
out, in msgpack: keys pass here and stand on no command line. On the second, IKE messages of UDP port 4500 in
both directions, behind a header with their addresses.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, IPv6Network
from typing import Annotated, Any

import msgspec

from nodes.esp.sa import Direction, EspEvent, EspSa, FirstPacket, LimitReached, NoSa, Policy, Usage

LARGEST = 262_144
"""Octets of the largest message on either pair."""


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The program's only argument, in JSON.

    Attributes:
        orders, ike: the descriptors of the two pairs.
        device: the name of the TUN device that it makes.
        mtu: of the device.
        port: the UDP port for ESP and IKE.
        segments: hand many packets to the kernel in one call, where it can (UDP_SEGMENT).
        coalesce: hand TCP segments to the kernel joined.
    """

    orders: int
    ike: int
    device: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,14}\Z")]
    mtu: Annotated[int, msgspec.Meta(ge=1280, le=9000)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 4500
    segments: bool = True
    coalesce: bool = True


class InstallPolicy(msgspec.Struct, frozen=True, tag="install-policy"):
    """Protect this traffic."""

    policy: Policy


class RemovePolicy(msgspec.Struct, frozen=True, tag="remove-policy"):
    """Protect the traffic of this reqid no longer."""

    reqid: int


class InstallInbound(msgspec.Struct, frozen=True, tag="install-inbound"):
    """Accept packets under this SA."""

    sa: EspSa


class InstallOutbound(msgspec.Struct, frozen=True, tag="install-outbound"):
    """Send under this SA."""

    sa: EspSa


class Remove(msgspec.Struct, frozen=True, tag="remove"):
    """Forget an SA."""

    direction: Direction
    spi: int


class TellUsage(msgspec.Struct, frozen=True, tag="usage"):
    """Say what each SA has carried."""


Order = InstallPolicy | RemovePolicy | InstallInbound | InstallOutbound | Remove | TellUsage


class Ordered(msgspec.Struct, frozen=True):
    """An order with its number, which the answer repeats."""

    number: int
    order: Order


class UsageOfSa(msgspec.Struct, frozen=True):
    """The usage of one SA."""

    direction: Direction
    spi: int
    usage: Usage


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What was dropped, apart from any SA.

    Attributes:
        unprotected: packets out of the TUN device that no policy selects.
        unknown_spi: ESP packets with an SPI that is not installed.
        lost: packets that a policy could neither send nor hold.
        unsent: ESP packets that the network refused.
        undelivered: inner packets that the TUN device refused.
    """

    unprotected: int
    unknown_spi: int
    lost: int
    unsent: int
    undelivered: int


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The answer to an order; ``refusal`` says why it was not done."""

    number: int
    refusal: str | None = None
    usage: tuple[UsageOfSa, ...] = ()
    totals: Totals | None = None


class Told(msgspec.Struct, frozen=True, tag="told"):
    """Something happened; exactly one of the fields is set."""

    first: FirstPacket | None = None
    limit: LimitReached | None = None
    no_sa: NoSa | None = None

    @classmethod
    def of(cls, event: EspEvent) -> Told:
        """The message for an event."""
        if isinstance(event, FirstPacket):
            return cls(first=event)
        return cls(limit=event) if isinstance(event, LimitReached) else cls(no_sa=event)

    @property
    def event(self) -> EspEvent | None:
        """The event that it tells."""
        return self.first or self.limit or self.no_sa


Message = Answer | Told


def _plain(value: Any) -> str:
    if isinstance(value, IPv6Address | IPv6Network):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form on the wire")


def _rich(kind: type, value: Any) -> Any:
    return kind(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_orders = msgspec.msgpack.Decoder(Ordered, dec_hook=_rich)
_messages: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message, dec_hook=_rich)


def encoded(message: Ordered | Message) -> bytes:
    """A message as it passes."""
    return _encoder.encode(message)


def decoded_order(octets: bytes) -> Ordered:
    """An order as it came; ``msgspec.ValidationError`` or ``DecodeError`` where it is none."""
    return _orders.decode(octets)


def decoded_message(octets: bytes) -> Message:
    """An answer or an event as it came; ``msgspec.ValidationError`` or ``DecodeError`` where it is none."""
    return _messages.decode(octets)


_ike = struct.Struct("!16s16sH")


def ike_packet(local: bytes, remote: bytes, port: int, message: bytes | memoryview) -> bytes:
    """An IKE message with our address, the partner's, and the partner's port."""
    return _ike.pack(local, remote, port) + message


def ike_parts(packet: bytes) -> tuple[bytes, bytes, int, bytes]:
    """Our address, the partner's, the partner's port, and the IKE message.

    Raises:
        ValueError: it is too short.
    """
    if len(packet) < _ike.size:
        raise ValueError("an IKE packet is shorter than its header")
    local, remote, port = _ike.unpack_from(packet)
    return local, remote, port, packet[_ike.size :]
