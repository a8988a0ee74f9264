"""Values that the unit tests of ESP share."""

from ipaddress import IPv6Address, IPv6Network

from nodes.esp.sa import EspSa

OURS, THEIRS = IPv6Address("fd00::a"), IPv6Address("fd00::b")
OUR_TS, THEIR_TS = IPv6Network("fd00:a::/64"), IPv6Network("fd00:b::/64")
OUR_INNER, THEIR_INNER = OUR_TS[1], THEIR_TS[1]


def esp_sa(spi=0x1000, *, encryption="aes-gcm-16", key=b"k", **changes):
    """An SA with keys made of one octet."""
    keys = {"encryption_key": key * 16}
    if encryption == "aes-gcm-16":
        keys["salt"] = key * 4
    else:
        keys |= {"integrity": "hmac-sha256-128", "integrity_key": key * 32}
    settings = {"local": OURS, "remote": THEIRS, "local_ts": OUR_TS, "remote_ts": THEIR_TS}
    return EspSa(spi=spi, encryption=encryption, **(keys | settings | changes))


def turned(sa):
    """The same SA as the other end has it."""
    changes = {"local": sa.remote, "remote": sa.local, "local_ts": sa.remote_ts, "remote_ts": sa.local_ts}
    return EspSa(
        **{name: getattr(sa, name) for name in sa.__struct_fields__ if name not in changes}, **changes
    )


def inner_packet(payload=b"", source=OUR_INNER, destination=THEIR_INNER, next_header=59):
    """An IPv6 packet."""
    header = (6 << 28).to_bytes(4, "big") + len(payload).to_bytes(2, "big") + bytes([next_header, 64])
    return header + source.packed + destination.packed + payload


def sealed(outbound, inner, **options):
    """An ESP packet with this inner packet."""
    buffer = memoryview(bytearray(len(inner) + 512))
    buffer[outbound.header : outbound.header + len(inner)] = inner
    return bytes(buffer[: outbound.seal(buffer, 0, len(inner), **options)])


def opened(inbound, packet):
    """The inner packet of an ESP packet."""
    buffer = memoryview(bytearray(packet) + bytearray(64))
    octets = inbound.open(buffer, 0, len(packet))
    return bytes(buffer[inbound.header : inbound.header + octets])
