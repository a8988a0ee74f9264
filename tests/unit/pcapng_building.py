"""Builds pcapng files block by block, sound ones and others."""

import struct

SECTION, INTERFACE, SIMPLE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 3, 5, 6
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND


def block(kind, body, order="<"):
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def padded(octets):
    return octets + bytes(-len(octets) % 4)


def option(code, value, order="<"):
    return struct.pack(order + "HH", code, len(value)) + padded(value)


def options(values, order="<"):
    if not values:
        return b""
    return b"".join(option(code, value, order) for code, value in values.items()) + option(0, b"", order)


def section(order="<", application=None):
    values = {4: application.encode()} if application else {}
    body = struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options(values, order)
    return block(SECTION, body, order)


def interface(order="<", *, name=None, link_type=1, snaplen=262_144, resolution=9, offset=None, wanted=None):
    values = {} if resolution is None else {9: bytes([resolution])}
    values |= {2: name.encode()} if name is not None else {}
    values |= {11: b"\0" + wanted.encode()} if wanted is not None else {}
    values |= {14: struct.pack(order + "q", offset)} if offset is not None else {}
    return block(INTERFACE, struct.pack(order + "HHI", link_type, 0, snaplen) + options(values, order), order)


def packet(octets, ticks=T0, order="<", *, on=0, original=None, values=None):
    head = struct.pack(
        order + "IIIII", on, ticks >> 32, ticks & 0xFFFF_FFFF, len(octets), original or len(octets)
    )
    return block(PACKET, head + padded(octets) + options(values or {}, order), order)


def statistics(order="<", *, on=0, received=None, dropped=None):
    values = {4: struct.pack(order + "Q", received)} if received is not None else {}
    values |= {5: struct.pack(order + "Q", dropped)} if dropped is not None else {}
    return block(STATISTICS, struct.pack(order + "III", on, 0, 0) + options(values, order), order)
