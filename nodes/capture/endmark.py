"""The mark at the end of a capture: a frame that the capture itself must see before it may end.

The kernel hands captured packets to dumpcap in blocks, and a block that is not full only after its time is
up (TPACKET_V3; dumpcap asks for 250 ms). What waits there when dumpcap is told to end is lost, and is not
counted as dropped. So the last thing that goes out on a captured interface is a frame of ours: the kernel
keeps the order, and once the frame is in the file, everything before it is there too.

On an interface with Ethernet headers the mark has the EtherType 0x88B5, which IEEE Std 802 leaves to local
experiments. Its source address is zero and its destination 01:80:C2:00:00:01, so that a Linux bridge drops
it twice over. On a bridge's own interface it is sent to that interface's own address: there it ends, or, if
the bridge has borrowed the address of one of its ports, at the one node behind that port. On an interface
without Ethernet headers (TUN) it is an IPv6 packet with no next header (RFC 8200, section 4.7), from the
unspecified address, of hop limit 0, to the discard prefix (RFC 6666): nobody may forward or answer it.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import secrets
import socket
import struct
import sys
from typing import Final

ETHERTYPE: Final = 0x88B5
DESTINATION: Final = ipaddress.IPv6Address("100::686f:7062:6564")
FILTER_ETHERNET: Final = "ether proto 0x88b5"
FILTER_RAW: Final = f"ip6 dst {DESTINATION}"

_TEXT = b"hopbed: end of capture "
_TOKEN_OCTETS = 16
_UNFORWARDED = bytes.fromhex("0180c2000001")
_WITH_ETHERNET_HEADERS = {1, 772}  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 3
_DRVINFO_OCTETS = 196

MAX_OCTETS: Final = 80
"""Octets of the longest mark; a capture that keeps less of a packet does not know its own marks."""


class EndMark:
    """The mark of one interface for one capture.

    Attributes:
        interface: the interface's name.
        token: random octets that are in this mark and in no other packet.
        seen: whether the capture holds it.

    Raises:
        OSError: the interface does not exist, or packet sockets are not permitted.
    """

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self.token = secrets.token_bytes(_TOKEN_OCTETS)
        self.seen = False
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((interface, 0))
        _, _, _, link_type, self._own_address = self._socket.getsockname()
        self._ethernet = link_type in _WITH_ETHERNET_HEADERS

    def filter(self, wanted: str) -> str:
        """The capture filter that passes what ``wanted`` passes, and the mark."""
        return f"({wanted}) or {FILTER_ETHERNET if self._ethernet else FILTER_RAW}"

    def send(self) -> bool:
        """Send it; False where the interface takes no packet now, being down or gone."""
        frame, protocol = (self._frame(), ETHERTYPE) if self._ethernet else (self._packet(), 0x86DD)
        try:
            self._socket.sendto(frame, (self.interface, protocol))
        except OSError:
            return False
        return True

    def _frame(self) -> bytes:
        destination = self._own_address if self._driver() == b"bridge" else _UNFORWARDED
        return destination + bytes(6) + ETHERTYPE.to_bytes(2, "big") + _TEXT + self.token

    def _driver(self) -> bytes:
        """What the kernel calls the interface's driver; sysfs may be that of another network namespace."""
        information = ctypes.create_string_buffer(
            _ETHTOOL_GDRVINFO.to_bytes(4, sys.byteorder), _DRVINFO_OCTETS
        )
        request = struct.pack("16sP16x", self.interface.encode(), ctypes.addressof(information))
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, request)
        except OSError:
            return b""  # not every driver has a name
        return information.raw[4:36].rstrip(b"\0")

    def _packet(self) -> bytes:
        payload = _TEXT + self.token
        header = bytes([0x60, 0, 0, 0]) + len(payload).to_bytes(2, "big") + bytes([59, 0])
        return header + bytes(16) + DESTINATION.packed + payload

    def close(self) -> None:
        """Close the socket that it is sent by."""
        self._socket.close()
