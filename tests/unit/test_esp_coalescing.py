"""TCP segments in a row become one that the kernel would split into the same again."""

import struct

import pytest
from esp_packets import OUR_INNER, THEIR_INNER
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6, in6_chksum

from nodes.esp.coalesce import VNET, Coalescer

GAP = 100
"""Octets between two packets in the buffer."""


def segment(sequence=1000, payload=b"x" * 100, flags="A", **changes):
    fields = {"sport": 5, "dport": 6, "seq": sequence % (1 << 32), "ack": 7, "window": 500, "flags": flags}
    ip = {name: changes.pop(name) for name in ("tc", "fl", "hlim", "src", "dst") if name in changes}
    addresses = {"src": str(THEIR_INNER), "dst": str(OUR_INNER)} | ip
    options = [("NOP", None), ("NOP", None), ("Timestamp", (11, 22))]
    return bytes(IPv6(**addresses) / TCP(**(fields | {"options": options} | changes)) / payload)


def row(*payloads, start=1000, flags="A"):
    """Segments one after the other."""
    segments, sequence = [], start
    for payload in payloads:
        segments.append(segment(sequence, payload, flags))
        sequence += len(payload)
    return segments


def coalesced(packets, limit=1 << 20):
    """What is delivered of these packets: the virtio header, and the packet."""
    memory = memoryview(bytearray(sum(len(one) + GAP for one in packets) + GAP))
    delivered = []

    def deliver(start, end):
        delivered.append((bytes(memory[start : start + VNET]), bytes(memory[start + VNET : end])))

    coalescer, at, places = Coalescer(memory, deliver), GAP, []
    for one in packets:
        memory[at : at + len(one)] = one
        places.append((at, len(one)))
        at += len(one) + GAP
    for start, octets in places:
        coalescer.add(start, octets, min(limit, len(memory)))
    coalescer.flush()
    coalescer.flush()  # again: nothing
    return delivered


def split(header, packet):
    """What the kernel makes of a large segment (GSO), checksums and all."""
    _, kind, headers, size, _, _ = struct.unpack("=BBHHHH", header)
    if kind == 0:
        return [packet]
    assert kind == 4  # VIRTIO_NET_HDR_GSO_TCPV6
    whole = IPv6(packet)
    payload, parts = packet[headers:], []
    for at in range(0, len(payload), size):
        part = whole.copy()
        part[TCP].remove_payload()
        last = at + size >= len(payload)
        part[TCP].seq = (whole[TCP].seq + at) % (1 << 32)
        part[TCP].flags = whole[TCP].flags if last else str(whole[TCP].flags).replace("P", "")
        del part[TCP].chksum, part.plen
        parts.append(bytes(part / payload[at : at + size]))
    return parts


def checksum_is_right(packet):
    one = IPv6(packet)
    return in6_chksum(6, one, bytes(one[TCP])) == 0


def test_segments_in_a_row_are_one():
    packets = row(b"a" * 100, b"b" * 100, b"c" * 60)
    ((header, packet),) = coalesced(packets)
    assert IPv6(packet)[TCP].load == b"a" * 100 + b"b" * 100 + b"c" * 60
    assert checksum_is_right(packet)
    assert split(header, packet) == packets


def test_what_is_alone_goes_as_it_is():
    for packet in (
        segment(),
        segment(payload=b""),
        bytes(IPv6() / UDP() / b"datagram"),
        segment(flags="S"),
        b"\x60" + bytes(39),
    ):
        assert coalesced([packet]) == [(bytes(VNET), packet)]


@pytest.mark.parametrize(
    "other",
    [
        segment(1101),
        segment(1099),
        segment(1100, payload=b"x" * 101),
        segment(1100, payload=b""),
        segment(1100, sport=9),
        segment(1100, dport=9),
        segment(1100, ack=9),
        segment(1100, window=9),
        segment(1100, flags="AF"),
        segment(1100, flags="AU", urgptr=3),
        segment(1100, flags="AE"),
        segment(1100, options=[("NOP", None), ("NOP", None), ("Timestamp", (12, 22))]),
        segment(1100, options=[]),
        segment(1100, tc=3),
        segment(1100, fl=5),
        segment(1100, hlim=3),
        segment(1100, src="fd00:b::2"),
        segment(1100, dst="fd00:a::2"),
        bytes(IPv6(src=str(THEIR_INNER), dst=str(OUR_INNER)) / UDP(sport=5, dport=6) / b"x"),
    ],
)
def test_what_differs_is_not_joined(other):
    packets = [segment(), other]
    assert [packet for _, packet in coalesced(packets)] == packets


def test_a_push_is_the_last_of_a_row():
    packets = [segment(1000), segment(1100, flags="PA"), segment(1200), segment(1300)]
    first, second = coalesced(packets)
    assert "P" in IPv6(first[1])[TCP].flags
    assert split(*first) + split(*second) == packets


def test_a_shorter_one_is_the_last_of_a_row():
    packets = row(b"a" * 100, b"b" * 98, b"c" * 98)
    assert [len(packet) for _, packet in coalesced(packets)] == [72 + 198, 72 + 98]


def test_a_segment_that_was_spoilt_stays_spoilt():
    packets = row(b"a" * 100, b"b" * 100, b"c" * 100)
    spoilt = bytearray(packets[1])
    spoilt[-1] ^= 1
    ((_, packet),) = coalesced([packets[0], bytes(spoilt), packets[2]])
    assert not checksum_is_right(packet)


def test_a_large_segment_stays_within_its_limit_and_within_ipv6():
    packets = row(*[b"x" * 1300] * 120)
    delivered = coalesced(packets)
    assert max(len(packet) for _, packet in delivered) <= 65535
    assert [one for each in delivered for one in split(*each)] == packets
    assert len(coalesced(row(*[b"x" * 100] * 10), limit=700)) > 1


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    start=st.sampled_from([0, 1000, (1 << 32) - 50]),
    pushes=st.integers(0, 4095),
)
def test_whatever_is_joined_is_split_into_the_same_again(lengths, start, pushes):
    packets, sequence = [], start
    for number, length in enumerate(lengths):
        payload = bytes((sequence + place) % 256 for place in range(length))
        packets.append(segment(sequence, payload, "PA" if pushes >> number & 1 else "A"))
        sequence += length
    delivered = coalesced(packets)
    assert all(checksum_is_right(packet) for _, packet in delivered)
    assert [one for each in delivered for one in split(*each)] == packets


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(min_size=40, max_size=120), min_size=1, max_size=5))
def test_octets_of_any_kind_are_delivered_as_they_are(packets):
    assert [packet for _, packet in coalesced(packets)] == packets
