"""News of this node's IPv6 addresses, from rtnetlink(7), for programs that wait by ``select``."""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from nodes import netlink

_RTMGRP_IPV6_IFADDR = 0x100
_RTM_NEWADDR = 20
_IFA_ADDRESS, _IFA_FLAGS = 1, 8
_UNUSABLE = 0x08 | 0x20 | 0x40  # DAD failed, deprecated, tentative
_ADDRESS = struct.Struct("=BBBBI")


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


def usable(datagram: bytes) -> list[NewAddress]:
    """The usable global addresses that a datagram of rtnetlink tells of."""
    found = []
    for message in netlink.messages(datagram):
        if message.kind == _RTM_NEWADDR:
            _family, _prefix, flags, scope, index = _ADDRESS.unpack_from(message.body)
            attributes = dict(netlink.attributes(message.body[_ADDRESS.size :]))
            if _IFA_FLAGS in attributes:
                (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
            if scope == 0 and not flags & _UNUSABLE and _IFA_ADDRESS in attributes:
                found.append(NewAddress(index, ipaddress.IPv6Address(attributes[_IFA_ADDRESS])))
    return found
