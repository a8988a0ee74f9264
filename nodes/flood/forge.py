"""First messages of IKE negotiations that nobody means: octets only, no I/O.

IKEv1: RFC 2408 §3 and RFC 2409 appendix A; IKEv2: RFC 7296 §3. Groups: RFC 5903.
"""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Iterator

from nodes.flood.start import Start

IKE_PORT = 500
_HEADER_OCTETS = 28
_UDP, _HOP_LIMIT = 17, 64
_NONCE_OCTETS = 32

_V1_SA, _V1_MAIN_MODE = 1, 2
_V2_SA, _V2_KE, _V2_NONCE, _V2_SA_INIT, _V2_INITIATOR = 33, 34, 40, 34, 0x08
_ECP256 = 19
_POINT = bytes.fromhex(
    # the generator of P-256 itself (FIPS 186-4 D.1.2.3), a point that every receiver takes for valid
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)


def main_mode_1(cookie: bytes) -> bytes:
    """Main mode's first message: one proposal, AES-CBC-128, SHA2-256, a pre-shared key, ECP-256."""
    attributes = ((1, 7), (14, 128), (2, 4), (3, 1), (4, _ECP256), (11, 1), (12, 28800))
    body = b"".join(struct.pack("!HH", 0x8000 | kind, value) for kind, value in attributes)
    transform = struct.pack("!BBHBBH", 0, 0, 8 + len(body), 1, 1, 0) + body
    proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(transform), 1, 1, 0, 1) + transform
    sa = _payload(0, struct.pack("!II", 1, 1) + proposal)  # the IPsec DOI, SIT_IDENTITY_ONLY
    return _header(cookie, _V1_SA, 0x10, _V1_MAIN_MODE, 0, len(sa)) + sa


def ike_sa_init_1(spi: bytes, nonce: bytes) -> bytes:
    """IKE_SA_INIT's request: AES-GCM-16-128, PRF-HMAC-SHA2-256, ECP-256, with a key exchange and a nonce."""
    encryption = struct.pack("!BBHBBHHH", 3, 0, 12, 1, 0, 20, 0x8000 | 14, 128)
    prf = struct.pack("!BBHBBH", 3, 0, 8, 2, 0, 5)
    group = struct.pack("!BBHBBH", 0, 0, 8, 4, 0, _ECP256)
    transforms = encryption + prf + group
    proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(transforms), 1, 1, 0, 3) + transforms
    payloads = (
        _payload(_V2_KE, proposal)
        + _payload(_V2_NONCE, struct.pack("!HH", _ECP256, 0) + _POINT)
        + _payload(0, nonce)
    )
    return _header(spi, _V2_SA, 0x20, _V2_SA_INIT, _V2_INITIATOR, len(payloads)) + payloads


def packets(start: Start) -> Iterator[bytes]:
    """The flood's packets, from the IPv6 header on: each of another source address and another IKE SA."""
    choice = random.Random(f"flood/{start.seed}")
    destination = ipaddress.IPv6Address(start.destination).packed
    prefix = int(ipaddress.IPv6Network(start.prefix).network_address)
    # Interface identifiers count up from a random one below 2**63, with the bits that no node of ours has.
    first = (1 << 63) | choice.getrandbits(62)
    for number in range(start.count):
        source = (prefix | (first + number) % 2**64).to_bytes(16, "big")
        spi = choice.randbytes(8)
        message = (
            main_mode_1(spi) if start.version == 1 else ike_sa_init_1(spi, choice.randbytes(_NONCE_OCTETS))
        )
        yield udp_packet(source, destination, message)


def udp_packet(source: bytes, destination: bytes, payload: bytes) -> bytes:
    """An IPv6 packet with a UDP datagram between the IKE ports, its checksum computed (RFC 8200 §8.1)."""
    length = 8 + len(payload)
    header = struct.pack("!HHHH", IKE_PORT, IKE_PORT, length, 0)
    covered = source + destination + struct.pack("!IxxxB", length, _UDP) + header + payload
    covered += b"\0" * (len(covered) % 2)
    total = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    header = struct.pack("!HHHH", IKE_PORT, IKE_PORT, length, total ^ 0xFFFF or 0xFFFF)
    network = struct.pack("!IHBB", 6 << 28, length, _UDP, _HOP_LIMIT) + source + destination
    return network + header + payload


def _payload(following: int, body: bytes) -> bytes:
    return struct.pack("!BBH", following, 0, 4 + len(body)) + body


def _header(spi: bytes, following: int, version: int, exchange: int, flags: int, octets: int) -> bytes:
    fields = (spi, bytes(8), following, version, exchange, flags, 0, _HEADER_OCTETS + octets)
    return struct.pack("!8s8sBBBBII", *fields)
