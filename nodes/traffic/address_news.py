"""News of this node's IPv6 addresses, from rtnetlink(7), for programs that wait by ``select``."""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path
from typing import NamedTuple

_RTMGRP_IPV6_IFADDR = 0x100
_RTM_NEWADDR = 20
_IFA_ADDRESS, _IFA_FLAGS = 1, 8
_UNUSABLE = 0x08 | 0x20 | 0x40  # DAD failed, deprecated, tentative
_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


class NewAddress(NamedTuple):
    """An address that an interface has, and may be used from now on."""

    interface: int
    address: ipaddress.IPv6Address


def interface_of(address: ipaddress.IPv6Address) -> int:
    """The index of the interface that has an address of this node; 0 where none has."""
    with Path("/proc/net/if_inet6").open() as table:
        for line in table:
            digits, index, *_ = line.split()
            if bytes.fromhex(digits) == address.packed:
                return int(index, 16)
    return 0


class AddressNews:
    """Hears of every address that becomes usable from its making on."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _RTMGRP_IPV6_IFADDR))

    def fileno(self) -> int:
        """To wait on before :meth:`read`."""
        return self._socket.fileno()

    def read(self) -> list[NewAddress]:
        """The addresses that became usable."""
        found: list[NewAddress] = []
        while True:
            try:
                found += usable(self._socket.recv(65_536))
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def usable(messages: bytes) -> list[NewAddress]:
    """The usable global addresses that a datagram of rtnetlink messages tells of."""
    found = []
    at = 0
    while at + _HEADER.size <= len(messages):
        length, kind, *_ = _HEADER.unpack_from(messages, at)
        body = at + _HEADER.size
        if kind == _RTM_NEWADDR:
            _family, _prefix, flags, scope, index = _ADDRESS.unpack_from(messages, body)
            attributes = _attributes(messages[body + _ADDRESS.size : at + length])
            if _IFA_FLAGS in attributes:
                (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
            if scope == 0 and not flags & _UNUSABLE and _IFA_ADDRESS in attributes:
                found.append(NewAddress(index, ipaddress.IPv6Address(attributes[_IFA_ADDRESS])))
        at += max((length + 3) & ~3, _HEADER.size)
    return found


def _attributes(octets: bytes) -> dict[int, bytes]:
    attributes = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, at)
        attributes[kind] = octets[at + _ATTRIBUTE.size : at + length]
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
    return attributes
