"""The identification payload, as an identity and as a traffic selector (RFC 2407, section 4.6.2)."""

from __future__ import annotations

import enum
import ipaddress
import struct
from typing import NamedTuple

from nodes.ike.messages.malformed import MalformedError, NotifyType

MAX_IDENTITY = 512
"""Octets of the longest identity that is looked at."""

_HEAD = struct.Struct("!BBH")
_PREFIX_OCTETS = 16


class IdType(enum.IntEnum):
    """The types of identities that we speak."""

    IPV4_ADDR = 1
    FQDN = 2
    USER_FQDN = 3
    IPV6_ADDR = 5
    IPV6_ADDR_SUBNET = 6
    IPV6_ADDR_RANGE = 8
    KEY_ID = 11


class Identification(NamedTuple):
    """An identity, restricted to a protocol and a port where these are not 0."""

    type: int
    data: bytes
    protocol: int = 0
    port: int = 0

    def __str__(self) -> str:
        if (self.type, len(self.data)) in ((IdType.IPV4_ADDR, 4), (IdType.IPV6_ADDR, 16)):
            return str(ipaddress.ip_address(self.data))
        if self.type in (IdType.FQDN, IdType.USER_FQDN):
            return self.data.decode("ascii", "backslashreplace")
        return f"type {self.type}: {self.data.hex()}"

    def same(self, other: Identification) -> bool:
        """Whether both are the same identity, whatever protocol and port they are restricted to."""
        return (self.type, self.data.lower()) == (other.type, other.data.lower())


def parse_identification(body: bytes) -> Identification:
    """An identity from its payload's body.

    Raises:
        MalformedError: it is cut off, empty or too long.
    """
    if not _HEAD.size < len(body) <= _HEAD.size + MAX_IDENTITY:
        raise MalformedError(f"an identity of {len(body)} octets", NotifyType.INVALID_ID_INFORMATION)
    type_, protocol, port = _HEAD.unpack_from(body)
    return Identification(type_, body[_HEAD.size :], protocol, port)


def encode_identification(identification: Identification) -> bytes:
    """The body of an identification payload."""
    head = _HEAD.pack(identification.type, identification.protocol, identification.port)
    return head + identification.data


def identity(text: str) -> Identification:
    """The identity that a text means, in strongSwan's reading: an address, ``user@host``, or a name."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        if "@" in text.lstrip("@"):
            return Identification(IdType.USER_FQDN, text.encode())
        return Identification(IdType.FQDN, text.removeprefix("@").encode())
    type_ = IdType.IPV6_ADDR if address.version == 6 else IdType.IPV4_ADDR
    return Identification(type_, address.packed)


def selector_network(identification: Identification) -> ipaddress.IPv6Network:
    """The prefix that an identity of Quick Mode selects.

    Raises:
        MalformedError: it is no IPv6 address, prefix, or range that is a prefix; or it selects a protocol.
    """
    data = identification.data
    try:
        match identification.type:
            case IdType.IPV6_ADDR if len(data) == _PREFIX_OCTETS:
                network = ipaddress.IPv6Network(data)
            case IdType.IPV6_ADDR_SUBNET if len(data) == 2 * _PREFIX_OCTETS:
                mask = int.from_bytes(data[_PREFIX_OCTETS:], "big")
                length = mask.bit_count()
                if mask != ((1 << length) - 1) << (128 - length):
                    raise ValueError("its mask has gaps")
                network = ipaddress.IPv6Network((data[:_PREFIX_OCTETS], length))
            case IdType.IPV6_ADDR_RANGE if len(data) == 2 * _PREFIX_OCTETS:
                first, last = (ipaddress.IPv6Address(data[at : at + 16]) for at in (0, 16))
                (network,) = ipaddress.summarize_address_range(first, last)
            case _:
                raise ValueError("it is no IPv6 address, prefix or range")
    except (ValueError, TypeError) as error:
        raise MalformedError(
            f"no traffic selector: {identification}: {error}", NotifyType.INVALID_ID_INFORMATION
        ) from None
    if identification.protocol or identification.port:
        raise MalformedError(
            f"a traffic selector of protocol {identification.protocol}, port {identification.port}",
            NotifyType.INVALID_ID_INFORMATION,
        )
    return network


def network_selector(network: ipaddress.IPv6Network) -> Identification:
    """A prefix as an identity of Quick Mode."""
    if network.prefixlen == network.max_prefixlen:
        return Identification(IdType.IPV6_ADDR, network.network_address.packed)
    return Identification(IdType.IPV6_ADDR_SUBNET, network.network_address.packed + network.netmask.packed)
