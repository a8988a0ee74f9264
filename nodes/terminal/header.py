"""Messages as an IPv6 Destination Options header in a packet of its own (RFC 8200 §4.2, §4.6). No I/O.

The header is the packet's last: its next header is 59, "no next header". It holds one option beside the
padding. The two highest bits of an option's type tell a node that does not know it what to do (RFC 8200
§4.2).
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import NamedTuple

from nodes import errors

ASKED = 0xDE
"""An experimental type (RFC 4727 §4): who does not know it answers Parameter Problem, unless multicast."""
SKIPPED = 0x1E
"""The same option, of which a node that does not know it takes no notice."""
OPTION_TYPES = {
    ASKED: "discard, and send Parameter Problem code 2 unless the destination is multicast",
    0x9E: "discard, and send Parameter Problem code 2",
    SKIPPED: "skip over",
}
"""The types that a message may travel as, with what a node does that does not know them."""
OPTION_NUMBER, OPTION_NUMBER_BITS = 0x1E, 0x3F
"""What all of these types have in common, and the bits of a type in which that stands."""
DESTINATION_OPTIONS = 60
NO_NEXT_HEADER = 59
UDP_PORT = 4727
"""Of the UDP carriage, at both ends; the number is that of the RFC which reserves the option types."""
MOST_DATA = 255
"""Octets that the data of one option can have."""

_IPV6_HEADER = 40
_PAD1 = 0
_PADN = 1
_MOST_HEADER = 2048


class FormatError(errors.HopbedError):
    """Octets from the wire that are no message of ours; the text says where they differ."""


class Quoted(NamedTuple):
    """What an ICMPv6 error quotes of a packet of ours."""

    source: IPv6Address
    destination: IPv6Address
    option_type: int
    data: bytes


def check_option_type(option_type: int) -> int:
    """The same type, if a message may travel as it.

    Raises:
        ParameterError: it may not.
    """
    if option_type not in OPTION_TYPES:
        known = ", ".join(f"0x{one:02X}" for one in OPTION_TYPES)
        raise errors.ParameterError(f"option_type 0x{option_type:02X}: a message travels as one of {known}")
    return option_type


def destination_options(data: bytes, option_type: int = ASKED, next_header: int = NO_NEXT_HEADER) -> bytes:
    """The header with one option of this data, padded to whole units of 8 octets.

    Raises:
        ValueError: the data does not fit into an option.
    """
    if len(data) > MOST_DATA:
        raise ValueError(f"{len(data)} octets do not fit into one option of at most {MOST_DATA}")
    filled = 4 + len(data)
    padding = -filled % 8
    pad = (
        b""
        if not padding
        else bytes([_PAD1])
        if padding == 1
        else bytes([_PADN, padding - 2]).ljust(padding, b"\0")
    )
    units = (filled + padding) // 8 - 1
    return bytes([next_header, units, option_type, len(data)]) + data + pad


def option_data(header: bytes, option_type: int = ASKED) -> bytes:
    """The data of the option of this type, from a Destination Options header and whatever follows it.

    Other options are passed over, whatever they are: that we look for ours does not make us their reader.

    Raises:
        FormatError: the header is cut short, too long, or malformed, or has not exactly one option of this
            type.
    """
    if len(header) < 8:
        raise FormatError(f"a Destination Options header has at least 8 octets, here are {len(header)}")
    length = (header[1] + 1) * 8
    if length > _MOST_HEADER or length > len(header):
        raise FormatError(f"the header says {length} octets, here are {len(header)}")
    found: bytes | None = None
    at = 2
    while at < length:
        kind = header[at]
        if kind == _PAD1:
            at += 1
            continue
        if at + 2 > length or at + 2 + header[at + 1] > length:
            raise FormatError(f"the option at octet {at} goes beyond the header's end")
        end = at + 2 + header[at + 1]
        if kind == option_type:
            if found is not None:
                raise FormatError(f"a second option of type 0x{option_type:02X} at octet {at}")
            found = header[at + 2 : end]
        at = end
    if found is None:
        raise FormatError(f"no option of type 0x{option_type:02X}")
    return found


def quoted_option(packet: bytes) -> Quoted:
    """The message in a packet that an ICMPv6 error quotes, which has the Destination Options header first.

    Raises:
        FormatError: it quotes another kind of packet, or too little of it.
    """
    if len(packet) < _IPV6_HEADER + 8 or packet[0] >> 4 != 6 or packet[6] != DESTINATION_OPTIONS:
        raise FormatError("the error quotes no IPv6 packet with a Destination Options header")
    header = packet[_IPV6_HEADER:]
    for option_type in OPTION_TYPES:
        try:
            data = option_data(header, option_type)
        except FormatError:
            continue
        return Quoted(IPv6Address(packet[8:24]), IPv6Address(packet[24:40]), option_type, data)
    raise FormatError("the error quotes no option of ours")


def quoted_datagram(packet: bytes) -> Quoted:
    """The message in a UDP datagram that an ICMPv6 error quotes; the option type is 0.

    Raises:
        FormatError: it quotes another kind of packet, or too little of it.
    """
    if len(packet) < _IPV6_HEADER + 8 or packet[0] >> 4 != 6 or packet[6] != 17:
        raise FormatError("the error quotes no UDP datagram over IPv6")
    length = int.from_bytes(packet[44:46], "big")
    if length < 8 or _IPV6_HEADER + length > len(packet):
        raise FormatError("the error quotes too little of the datagram")
    data = packet[_IPV6_HEADER + 8 : _IPV6_HEADER + length]
    return Quoted(IPv6Address(packet[8:24]), IPv6Address(packet[24:40]), 0, data)
