"""What each packet of a capture is, and its addresses, ports and IPsec header fields, as arrays.

Understood are Ethernet and raw IP; IPv6 with its extension headers (RFC 8200) and IPv4; UDP, TCP, ICMPv6;
ESP (RFC 4303), also in UDP (RFC 3948); IKE (RFC 2408 and RFC 7296 begin alike) on ports 500 and 4500. A
packet whose headers are cut short by the capture, or that is anything else, is ``OTHER``.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from nodes.capture import endmark
from orchestrator.capture.pcapng import Octets, Offsets, Packets

Mask = npt.NDArray[np.bool_]
Addresses = npt.NDArray[np.uint64]
"""Shape (n, 2): the high and the low 64 bits of IPv6 addresses; IPv4 ones are mapped (::ffff:a.b.c.d)."""

IKE_PORT = 500
NAT_T_PORT = 4500

_CHUNK = 65_536
"""Packets that are classified at a time, so that the columns at work stay in the cache."""
_LINK_ETHERNET, _LINK_RAW = 1, 101
_ETHERNET_IPV4, _ETHERNET_IPV6 = 0x0800, 0x86DD
_TCP, _UDP, _ESP, _AH, _ICMPV6, _FRAGMENT = 6, 17, 50, 51, 58, 44
_EXTENSIONS = np.array([0, 43, 60, 135, 139, 140, _AH, _FRAGMENT], np.uint8)
_MOST_EXTENSIONS = 8
_IKE_HEADER = 28
_NONE = 255


class Kind(enum.IntEnum):
    """What a packet is; a ``FRAGMENT`` is not the first one, an ``END_MARK`` is :mod:`nodes.capture`'s."""

    OTHER = 0
    ICMPV6 = 1
    TCP = 2
    UDP = 3
    IKE = 4
    ESP = 5
    ESP_IN_UDP = 6
    NAT_KEEPALIVE = 7
    FRAGMENT = 8
    END_MARK = 9


_IKE_COLUMNS = np.dtype(
    [
        ("initiator_spi", ">u8"),
        ("responder_spi", ">u8"),
        ("first_payload", "u1"),
        ("version", "u1"),
        ("exchange", "u1"),
        ("flags", "u1"),
        ("message_id", ">u4"),
        ("length", ">u4"),
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Headers:
    """The headers of a capture's packets; element ``i`` is packet ``i + 1`` to Wireshark.

    Attributes:
        kind: a :class:`Kind`.
        protocol: the protocol number above IP; 255 where there is no IP.
        source, destination: zero where there is no IP.
        source_port, destination_port: zero where there are none.
        upper: where in the file the header above IP begins; 0 where there is none.
        spi: of ESP; 0 where there is none.
        ike_packet: the elements that are IKE.
        ike: for each of these a record of the IKE header: ``initiator_spi`` and ``responder_spi`` (IKEv1's
            cookies), ``first_payload``, ``version`` (0x10, 0x20), ``exchange``, ``flags``, ``message_id`` and
            ``length``.
    """

    kind: npt.NDArray[np.uint8]
    protocol: npt.NDArray[np.uint8]
    source: Addresses
    destination: Addresses
    source_port: npt.NDArray[np.uint16]
    destination_port: npt.NDArray[np.uint16]
    upper: Offsets
    spi: npt.NDArray[np.uint32]
    ike_packet: Offsets
    ike: npt.NDArray[np.void]

    @property
    def is_esp(self) -> Mask:
        """Whether each packet is ESP, in UDP or not."""
        return np.isin(self.kind, (Kind.ESP, Kind.ESP_IN_UDP))


def address_is(addresses: Addresses, address: ipaddress.IPv6Address) -> Mask:
    """Which of ``addresses`` is ``address``."""
    return address_in(addresses, ipaddress.IPv6Network(address))


def address_in(addresses: Addresses, network: ipaddress.IPv6Network) -> Mask:
    """Which of ``addresses`` are in ``network``."""
    mask_high, mask_low = divmod(int(network.netmask), 2**64)
    high, low = divmod(int(network.network_address), 2**64)
    masked: Addresses = addresses & np.array([mask_high, mask_low], np.uint64)
    found: Mask = np.all(masked == np.array([high, low], np.uint64), axis=1)
    return found


def numbers(which: Mask) -> Offsets:
    """The numbers, as Wireshark shows them, of the packets for which ``which`` holds."""
    return np.flatnonzero(which) + 1


def classify(packets: Packets) -> Headers:
    """Classify every packet of a capture."""
    n = len(packets)
    headers = Headers(
        kind=np.zeros(n, np.uint8),
        protocol=np.full(n, _NONE, np.uint8),
        source=np.zeros((n, 2), np.uint64),
        destination=np.zeros((n, 2), np.uint64),
        source_port=np.zeros(n, np.uint16),
        destination_port=np.zeros(n, np.uint16),
        upper=np.zeros(n, np.int64),
        spi=np.zeros(n, np.uint32),
        ike_packet=np.empty(0, np.int64),
        ike=np.empty(0, _IKE_COLUMNS),
    )
    link_types = packets.link_type
    end = packets.start + packets.captured
    ike_at = [
        _Chunk(packets.octets, headers, slice(i, i + _CHUNK)).classify(packets.start, end, link_types)
        for i in range(0, n, _CHUNK)
    ]
    ike_packet = np.flatnonzero(headers.kind == Kind.IKE)
    at = np.concatenate(ike_at) if ike_at else ike_packet
    return dataclasses.replace(headers, ike_packet=ike_packet, ike=_records(packets.octets, at))


def _records(octets: Octets, at: Offsets) -> npt.NDArray[np.void]:
    if not len(at):
        return np.empty(0, _IKE_COLUMNS)
    records: npt.NDArray[np.void] = _rows(octets, at, _IKE_HEADER).view(_IKE_COLUMNS)[:, 0]
    return records


def _rows(octets: Octets, at: Offsets, width: int) -> Octets:
    """``width`` octets from each of ``at``, as rows; they must be there."""
    if not len(at):
        return np.empty((0, width), np.uint8)
    rows: Octets = sliding_window_view(octets, width)[at]
    return rows


def _number(rows: Octets, first: int, width: int) -> npt.NDArray[np.uint64]:
    """The number in network byte order in ``width`` octets of each row from ``first`` on."""
    value = np.zeros(len(rows), np.uint64)
    for column in range(first, first + width):
        value = value << np.uint64(8) | rows[:, column]
    return value


class _Chunk:
    """Some packets at a time: fills the rows ``part`` of ``headers``."""

    def __init__(self, octets: Octets, headers: Headers, part: slice) -> None:
        self._octets = octets
        self._part = part
        self._kind = headers.kind[part]
        self._protocol = headers.protocol[part]
        self._source = headers.source[part]
        self._destination = headers.destination[part]
        self._source_port = headers.source_port[part]
        self._destination_port = headers.destination_port[part]
        self._upper = headers.upper[part]
        self._spi = headers.spi[part]

    def classify(self, start: Offsets, end: Offsets, link_types: npt.NDArray[np.uint16]) -> Offsets:
        """Fill the columns; return where the IKE headers are, in the order of the packets."""
        self._end = end[self._part]
        ip, version = self._network(start[self._part], link_types[self._part])
        self._ipv6(*self._those(ip, version == 6, 40))
        self._ipv4(*self._those(ip, version == 4, 20))
        return self._upper_layers()

    def _those(self, at: Offsets, which: Mask, width: int) -> tuple[Offsets, Offsets]:
        """The packets of ``which`` that have ``width`` octets at ``at``, and where."""
        index = np.flatnonzero(which & (at + width <= self._end))
        return index, at[index]

    def _network(
        self, start: Offsets, link_type: npt.NDArray[np.uint16]
    ) -> tuple[Offsets, npt.NDArray[np.uint8]]:
        """Where each packet's IP header begins, and its version as the layer below says; 0 for none."""
        ip = start.copy()
        version = np.zeros(len(start), np.uint8)
        index, at = self._those(start, link_type == _LINK_ETHERNET, 14)
        ether_type = _number(_rows(self._octets, at + 12, 2), 0, 2)
        ip[index] += 14
        version[index[ether_type == _ETHERNET_IPV6]] = 6
        version[index[ether_type == _ETHERNET_IPV4]] = 4
        self._kind[index[ether_type == endmark.ETHERTYPE]] = Kind.END_MARK
        index, at = self._those(start, link_type == _LINK_RAW, 1)
        version[index] = self._octets[at] >> 4
        return ip, version

    def _ipv6(self, index: Offsets, at: Offsets) -> None:
        rows = _rows(self._octets, at, 40)
        self._source[index] = np.ascontiguousarray(rows[:, 8:24]).view(">u8")
        self._destination[index] = np.ascontiguousarray(rows[:, 24:40]).view(">u8")
        self._kind[index[address_is(self._destination[index], endmark.DESTINATION)]] = Kind.END_MARK
        self._protocol[index] = rows[:, 6]
        self._upper[index] = at + 40
        for _ in range(_MOST_EXTENSIONS):
            index = index[np.isin(self._protocol[index], _EXTENSIONS) & (self._kind[index] != Kind.FRAGMENT)]
            if not len(index):
                return
            index = index[self._upper[index] + 8 <= self._end[index]]
            self._extension(index)
        self._upper[index[np.isin(self._protocol[index], _EXTENSIONS)]] = (
            0  # deeper than anybody may nest them
        )

    def _extension(self, index: Offsets) -> None:
        """Pass over one extension header of each packet (RFC 8200, section 4; RFC 4302 for AH)."""
        rows = _rows(self._octets, self._upper[index], 8)
        kind = self._protocol[index]
        length = rows[:, 1].astype(np.int64)
        length = np.where(kind == _AH, (length + 2) * 4, np.where(kind == _FRAGMENT, 8, (length + 1) * 8))
        later = (kind == _FRAGMENT) & (_number(rows, 2, 2) >> np.uint64(3) != 0)
        self._kind[index[later]] = Kind.FRAGMENT
        self._protocol[index] = rows[:, 0]
        self._upper[index] += length

    def _ipv4(self, index: Offsets, at: Offsets) -> None:
        rows = _rows(self._octets, at, 20)
        for column, first in ((self._source, 12), (self._destination, 16)):
            column[index, 1] = _number(rows, first, 4) | np.uint64(0xFFFF_0000_0000)
        self._protocol[index] = rows[:, 9]
        self._upper[index] = at + (rows[:, 0] & 15).astype(np.int64) * 4
        self._kind[index[_number(rows, 6, 2) & np.uint64(0x1FFF) != 0]] = Kind.FRAGMENT

    def _upper_layers(self) -> Offsets:
        whole = (self._kind == Kind.OTHER) & (self._upper > 0)
        index, _ = self._those(self._upper, whole & (self._protocol == _ICMPV6), 4)
        self._kind[index] = Kind.ICMPV6
        index, at = self._those(self._upper, whole & (self._protocol == _ESP), 8)
        self._take_esp(index, at, Kind.ESP)
        index, at = self._those(self._upper, whole & (self._protocol == _TCP), 20)
        self._take_ports(index, at, Kind.TCP)
        index, at = self._those(self._upper, whole & (self._protocol == _UDP), 8)
        self._take_ports(index, at, Kind.UDP)
        return self._in_udp(index, at)

    def _take_esp(self, index: Offsets, at: Offsets, kind: Kind) -> None:
        self._kind[index] = kind
        self._spi[index] = _number(_rows(self._octets, at, 4), 0, 4)

    def _take_ports(self, index: Offsets, at: Offsets, kind: Kind) -> None:
        rows = _rows(self._octets, at, 4)
        self._kind[index] = kind
        self._source_port[index] = _number(rows, 0, 2)
        self._destination_port[index] = _number(rows, 2, 2)

    def _in_udp(self, index: Offsets, at: Offsets) -> Offsets:
        """Find IKE, ESP and keepalives among the UDP packets (RFC 3948, section 2)."""
        payload = at + 8
        length = _number(_rows(self._octets, at, 6), 4, 2).astype(np.int64) - 8
        octets = np.minimum(length, self._end[index] - payload)
        source, destination = self._source_port[index], self._destination_port[index]
        header = np.where((source == IKE_PORT) | (destination == IKE_PORT), payload, -1)
        on_nat_t = np.flatnonzero((source == NAT_T_PORT) | (destination == NAT_T_PORT))
        short = on_nat_t[(length[on_nat_t] == 1) & (octets[on_nat_t] == 1)]
        keepalive = short[self._octets[payload[short]] == 0xFF]
        self._kind[index[keepalive]] = Kind.NAT_KEEPALIVE
        longer = on_nat_t[octets[on_nat_t] >= 8]
        marked = _number(_rows(self._octets, payload[longer], 4), 0, 4) == 0
        header[longer[marked]] = payload[longer[marked]] + 4
        esp = longer[~marked]
        self._take_esp(index[esp], payload[esp], Kind.ESP_IN_UDP)
        room = payload + octets - header >= _IKE_HEADER
        ike = np.flatnonzero((header >= 0) & room)
        major = self._octets[header[ike] + 17] >> 4
        ike = ike[(major == 1) | (major == 2)]
        self._kind[index[ike]] = Kind.IKE
        found: Offsets = header[ike]
        return found
