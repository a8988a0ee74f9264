"""The IKE messages of a capture, one by one: few enough for objects, where all packets are not.

Also those whose header a fault has damaged, which :func:`~orchestrator.capture.classify.classify` takes for
plain UDP: what counts here is the port and, on port 4500, the non-ESP marker (RFC 3948 §2.2).
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

import numpy as np

from orchestrator.capture.classify import IKE_PORT, NAT_T_PORT, Headers, Kind
from orchestrator.capture.pcapng import Packets

_UDP_OCTETS, _IPV6_OCTETS, _IKE_OCTETS = 8, 40, 28
_NON_ESP_MARKER = bytes(4)
_HEADER = struct.Struct("!8s8sBBBBI")


class IkeMessage(NamedTuple):
    """An IKE message as it was captured.

    Attributes:
        number: of its packet, as Wireshark counts.
        time_ns: in ns since 1970 (CLOCK_REALTIME).
        octets: of the whole IPv6 packet.
        initiator_spi: 8 octets, IKEv1's cookie; likewise ``responder_spi``.
        version: the major version that the header says.
        exchange: the exchange type's number.
    """

    number: int
    time_ns: int
    source: ipaddress.IPv6Address
    destination: ipaddress.IPv6Address
    octets: int
    initiator_spi: bytes
    responder_spi: bytes
    version: int
    exchange: int
    flags: int
    message_id: int


def ike_messages(packets: Packets, headers: Headers) -> list[IkeMessage]:
    """Every packet on an IKE port that is no ESP, no keepalive, and holds an IKE header."""
    ports = (headers.source_port, headers.destination_port)
    on_a_port = np.isin(ports[0], (IKE_PORT, NAT_T_PORT)) | np.isin(ports[1], (IKE_PORT, NAT_T_PORT))
    candidates = np.flatnonzero(on_a_port & np.isin(headers.kind, (Kind.IKE, Kind.UDP)))
    return [message for index in candidates if (message := _read(packets, headers, int(index))) is not None]


def _read(packets: Packets, headers: Headers, index: int) -> IkeMessage | None:
    at = int(headers.upper[index])
    (length,) = struct.unpack_from("!H", packets.file, at + 4)
    begin = at + _UDP_OCTETS
    end = min(at + length, int(packets.start[index]) + int(packets.captured[index]))
    if NAT_T_PORT in (int(headers.source_port[index]), int(headers.destination_port[index])):
        if packets.file[begin : begin + 4] != _NON_ESP_MARKER:
            return None
        begin += 4
    if end - begin < _IKE_OCTETS:
        return None
    initiator, responder, _, version, exchange, flags, message_id = _HEADER.unpack_from(packets.file, begin)
    return IkeMessage(
        number=index + 1,
        time_ns=int(packets.time_ns[index]),
        source=_address(headers.source[index]),
        destination=_address(headers.destination[index]),
        octets=_IPV6_OCTETS + length,
        initiator_spi=initiator,
        responder_spi=responder,
        version=version >> 4,
        exchange=exchange,
        flags=flags,
        message_id=message_id,
    )


def _address(halves: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(int(halves[0]) << 64 | int(halves[1]))
