"""The IKE messages of a capture, each with its exchange, its number in it, and what it repeats. No I/O."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from orchestrator.capture.classify import NAT_T_PORT, Headers
from orchestrator.report.ike_names import EXCHANGES
from orchestrator.report.ike_payloads import FLAG_INITIATOR, FLAG_RESPONSE, Chain, chain
from orchestrator.report.moments import Frames
from orchestrator.report.nodes_seen import address_text

_UDP_HEADER = 8
_NON_ESP_MARKER = 4

ExchangeKey = tuple[object, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class IkeMessage:
    """One IKE message that the capture saw.

    Attributes:
        packet: its number in the capture.
        time_ns: CLOCK_MONOTONIC.
        source: the node, or the address where no node is known to have it; likewise ``destination``.
        source_port: likewise ``destination_port``.
        version: 1 or 2.
        exchange: the exchange's name.
        number: of the message in its exchange, from 1 on.
        initiator_spi: IKEv1's cookie; 16 hexadecimal digits, likewise ``responder_spi``.
        message_id: as the header has it.
        octets: of the IKE message.
        content: its payloads.
        repeats: the number of the packet that had the same octets first; None for an original.
        repeats_after_ns: the time since then.
        key: what the messages of one exchange have in common.
    """

    packet: int
    time_ns: int
    source: str
    destination: str
    source_port: int
    destination_port: int
    version: int
    exchange: str
    number: int
    initiator_spi: str
    responder_spi: str
    message_id: int
    octets: int
    content: Chain
    repeats: int | None
    repeats_after_ns: int
    key: ExchangeKey


def ike_messages(frames: Frames, headers: Headers, names: Mapping[str, str]) -> list[IkeMessage]:
    """The IKE messages in the order of time; ``names`` are the nodes' by address."""
    found: list[IkeMessage] = []
    originals: dict[tuple[str, bytes], IkeMessage] = {}
    counted: dict[ExchangeKey, int] = {}
    places = np.argsort(frames.time_ns[headers.ike_packet], kind="stable")
    for place in places.tolist():
        index = int(headers.ike_packet[place])
        octets = _octets(frames, headers, index)
        source, destination = (
            address_text(column[index]) for column in (headers.source, headers.destination)
        )
        header = headers.ike[place]
        version = int(header["version"]) >> 4
        key = _key(header, version)
        twin = (source, hashlib.blake2b(octets, digest_size=16).digest())
        original = originals.get(twin)
        number = original.number if original else _number(header, version, counted, key)
        kind = int(header["exchange"])
        message = IkeMessage(
            packet=index + 1,
            time_ns=int(frames.time_ns[index]),
            source=names.get(source, source),
            destination=names.get(destination, destination),
            source_port=int(headers.source_port[index]),
            destination_port=int(headers.destination_port[index]),
            version=version,
            exchange=EXCHANGES.get(version, {}).get(kind, f"exchange {kind}"),
            number=number,
            initiator_spi=f"{int(header['initiator_spi']):016x}",
            responder_spi=f"{int(header['responder_spi']):016x}",
            message_id=int(header["message_id"]),
            octets=len(octets),
            content=chain(octets),
            repeats=original.packet if original else None,
            repeats_after_ns=int(frames.time_ns[index]) - original.time_ns if original else 0,
            key=key,
        )
        originals.setdefault(twin, message)
        found.append(message)
    return found


def _octets(frames: Frames, headers: Headers, index: int) -> bytes:
    """The IKE message of a packet: what follows the UDP header, and on port 4500 the non-ESP marker."""
    octets = frames.packets.octets
    udp = int(headers.upper[index])
    length = int.from_bytes(octets[udp + 4 : udp + 6].tobytes(), "big")
    ports = (int(headers.source_port[index]), int(headers.destination_port[index]))
    begin = udp + _UDP_HEADER + (_NON_ESP_MARKER if NAT_T_PORT in ports else 0)
    end = int(frames.packets.start[index]) + int(frames.packets.captured[index])
    return octets[begin : min(end, udp + length)].tobytes()


def _key(header: np.void, version: int) -> ExchangeKey:
    """IKEv2's message ids count on each side by itself: who asks is part of the exchange (RFC 7296, 2.2)."""
    key = (version, int(header["initiator_spi"]), int(header["exchange"]), int(header["message_id"]))
    if version == 1:
        return key
    flags = int(header["flags"])
    return (*key, bool(flags & FLAG_INITIATOR) != bool(flags & FLAG_RESPONSE))


def _number(header: np.void, version: int, counted: dict[ExchangeKey, int], key: ExchangeKey) -> int:
    """IKEv2's exchanges are a request and a response; IKEv1's messages are counted."""
    if version == 2:
        return 2 if int(header["flags"]) & FLAG_RESPONSE else 1
    counted[key] = counted.get(key, 0) + 1
    return counted[key]
