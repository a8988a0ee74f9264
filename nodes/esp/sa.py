"""What ESP is told, and what it tells: security associations, policies, usage and events.

An SA has two moments. It is *installed* when its inbound half is: packets under it are accepted. It is
*effective* when its outbound half is: packets leave under it. Here there are halves only, each with its SPI;
which pair they make, and when each comes and goes, is the business of the key exchange.

A :class:`Policy` says which traffic must be protected. From its installation to its removal no packet that
it selects leaves the node in clear, whether there is an SA or not. SAs serve the policy of their ``reqid``.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Literal

import msgspec

Direction = Literal["in", "out"]
Encryption = Literal["aes-gcm-16", "aes-cbc"]
Integrity = Literal["hmac-sha256-128"]

AES_KEYS = (16, 24, 32)
"""Octets of an AES key."""
GCM_SALT = 4
"""Octets of the salt of AES-GCM (RFC 4106, section 4)."""
HMAC_SHA256_KEY = 32
"""Octets of the key of HMAC-SHA-256-128 (RFC 4868, section 2.1.1)."""
LEAST_SPI = 256
"""SPIs from 1 to 255 are reserved (RFC 4303, section 2.1)."""
LEAST_WINDOW = 64
"""The anti-replay window that every receiver should have, in packets (RFC 4303, section 3.4.3)."""
GREATEST_WINDOW = 4096


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lifetime of an SA in packets and in octets (of inner packets); 0 is no limit.

    At a soft limit :class:`LimitReached` is told once. At a hard limit it is told too, and the SA carries
    nothing any more; whoever installed it removes it.
    """

    soft_packets: int = 0
    hard_packets: int = 0
    soft_octets: int = 0
    hard_octets: int = 0


class EspSa(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One half of a pair of ESP SAs in tunnel mode; no text that it is turned into shows a key.

    Attributes:
        spi: chosen by the receiver of its packets.
        encryption_key: 16, 24 or 32 octets; ``salt`` 4 octets with AES-GCM, none with AES-CBC.
        integrity_key: 32 octets with AES-CBC, which needs ``integrity``; none with AES-GCM.
        local, remote: the tunnel's ends: our address and the partner's, in both directions.
        encap: the local and the remote UDP port, or None: plain ESP (protocol 50).
        local_ts, remote_ts: the traffic selectors: inner addresses on our side and on the partner's.
        esn: 64-bit extended sequence numbers.
        replay_window: packets that an inbound SA accepts out of order, 64 to 4096, a multiple of 32.
        reqid: the policy that it serves.
    """

    spi: int
    encryption: Encryption
    encryption_key: bytes
    salt: bytes = b""
    integrity: Integrity | None = None
    integrity_key: bytes = b""
    local: IPv6Address
    remote: IPv6Address
    encap: tuple[int, int] | None = None
    local_ts: IPv6Network
    remote_ts: IPv6Network
    esn: bool = False
    replay_window: int = LEAST_WINDOW
    reqid: int = 1
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not LEAST_SPI <= self.spi <= 0xFFFF_FFFF:
            raise ValueError(f"an SPI is between {LEAST_SPI} and 2^32 - 1, not {self.spi}")
        if len(self.encryption_key) not in AES_KEYS:
            raise ValueError(f"an AES key has 16, 24 or 32 octets, not {len(self.encryption_key)}")
        if self.encryption == "aes-gcm-16":
            if self.integrity is not None or self.integrity_key or len(self.salt) != GCM_SALT:
                raise ValueError(f"AES-GCM takes a salt of {GCM_SALT} octets, and no integrity algorithm")
        elif self.integrity is None or len(self.integrity_key) != HMAC_SHA256_KEY or self.salt:
            raise ValueError(f"AES-CBC takes HMAC-SHA-256-128 with a key of {HMAC_SHA256_KEY} octets")
        if not LEAST_WINDOW <= self.replay_window <= GREATEST_WINDOW or self.replay_window % 32:
            raise ValueError(
                f"an anti-replay window is a multiple of 32 between {LEAST_WINDOW} and {GREATEST_WINDOW}"
            )
        if self.encap is not None and not all(1 <= port <= 0xFFFF for port in self.encap):
            raise ValueError("a UDP port is between 1 and 65535")
        if not 1 <= self.reqid <= 0xFFFF_FFFF:
            raise ValueError("a reqid is between 1 and 2^32 - 1")

    def __repr__(self) -> str:
        return f"EspSa(spi={self.spi:08x}, {self.encryption}, {self.local} {self.remote}, reqid={self.reqid})"


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traffic that must be protected, by an SA of this ``reqid`` in a tunnel between these ends."""

    reqid: int
    local: IPv6Address
    remote: IPv6Address
    local_ts: IPv6Network
    remote_ts: IPv6Network

    def __post_init__(self) -> None:
        if self.remote in self.remote_ts:
            raise ValueError(f"{self.remote_ts} holds the partner's own address, which IKE must reach")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an SA has carried since it was installed.

    Attributes:
        packets, octets: authenticated packets, and the octets of their inner packets.
        auth_failures: packets with this SPI and a wrong tag. The kernel counts them for all SAs together
            where it does not count them for each; then they are 0 here.
        replays: packets that the anti-replay window refused; 0 outbound.
        refused: authenticated packets that were refused: selectors, padding, no inner packet.
        last_ns: CLOCK_MONOTONIC of the last packet, 0 where there was none. The kernel's is exact to 1 s.
    """

    packets: int = 0
    octets: int = 0
    auth_failures: int = 0
    replays: int = 0
    refused: int = 0
    last_ns: int = 0


class FirstPacket(msgspec.Struct, frozen=True):
    """The first authenticated packet came under the inbound SA ``spi``. A wrong tag never tells this."""

    spi: int
    time_ns: int


class LimitReached(msgspec.Struct, frozen=True):
    """An SA has reached one of its :class:`Limits`; told once for each."""

    spi: int
    direction: Direction
    unit: Literal["packets", "octets"]
    severity: Literal["soft", "hard"]
    time_ns: int


class NoSa(msgspec.Struct, frozen=True):
    """A packet from ``src`` to ``dst`` needs an SA for the policy ``reqid`` and there is none (acquire).

    Told at most once a second for each policy.
    """

    reqid: int
    src: IPv6Address
    dst: IPv6Address
    time_ns: int


EspEvent = FirstPacket | LimitReached | NoSa
