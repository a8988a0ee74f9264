"""Probes are found in captures: datagrams one by one, records by the stream's octets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pcapng_building import T0, interface, packet, section
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nodes.traffic.probe import MIN_SIZE, ProbeFormat
from orchestrator.capture.classify import classify
from orchestrator.capture.pcapng import read
from orchestrator.continuity import ReceivedLog, SentLog
from orchestrator.reconciliation.agreement import Receiver, agreement
from orchestrator.reconciliation.datagrams import Datagrams
from orchestrator.reconciliation.stream import Segments
from orchestrator.reconciliation.stream_times import by_packets

FLOW, OTHER = 0x1122334455667788, 0x99AABBCCDDEEFF00
SIZE = 100
MS = 1_000_000
PORTS = (40_000, 7000)


def sent(count=10, refused=()):
    errno = np.zeros(count, np.uint32)
    errno[list(refused)] = 11
    sequence = np.arange(count)
    return SentLog(
        flow_id=FLOW,
        interval_ns=MS,
        sequence=sequence,
        sent_ns=sequence * MS,
        returned_ns=sequence * MS,
        errno=errno,
    )


def probe(number, *, flow=FLOW, size=SIZE, sent_ns=None):
    return ProbeFormat(flow, size).encode(number, number * MS if sent_ns is None else sent_ns)


def ether(payload):
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / payload)


def ipv6(*layers):
    found = IPv6(src="fd00::a", dst="fd00::b")
    for layer in layers:
        found /= layer
    return found


def datagram(payload):
    return ether(ipv6(UDP(sport=PORTS[0], dport=PORTS[1]), Raw(payload)))


def capture(*packets, link_type=1):
    """A capture of packets, one a ms; each its octets, or its octets and how many it had before the cut."""
    found = [entry if isinstance(entry, tuple) else (entry, None) for entry in packets]
    blocks = [packet(octets, T0 + i * MS, original=was) for i, (octets, was) in enumerate(found)]
    return read(section() + interface(link_type=link_type) + b"".join(blocks))


def datagrams(*packets, link_type=1, count=10, size=SIZE):
    packets = capture(*packets, link_type=link_type)
    return Datagrams(packets, classify(packets), packets.time_ns - T0).of(sent(count), size)


def test_probes_come_with_position_time_and_packet_number():
    found = datagrams(datagram(b"another packet"), datagram(probe(3)), datagram(probe(1)))
    assert found.position.tolist() == [3, 1]
    assert found.time_ns.tolist() == [1 * MS, 2 * MS]
    assert found.number.tolist() == [2, 3]
    assert found.whole.all()


def test_probes_are_found_without_ethernet_headers_too():
    raw = bytes(ipv6(UDP(sport=1, dport=2), Raw(probe(3))))
    assert datagrams(raw, link_type=101).position.tolist() == [3]


def test_probes_of_other_flows_are_none_of_this_one():
    found = datagrams(datagram(probe(3, flow=OTHER)), datagram(probe(4)))
    assert found.position.tolist() == [4]
    assert not len(found.changed)


@pytest.mark.parametrize("size", [MIN_SIZE, MIN_SIZE + 1, 31, 32, 33, 1400])
def test_probes_of_any_size_are_found(size):
    assert datagrams(datagram(probe(3, size=size)), size=size).position.tolist() == [3]


@pytest.mark.parametrize(
    "payload",
    [
        probe(3)[:-1] + b"!",
        probe(3, sent_ns=1),
        probe(3) + b"!",
        probe(3)[:-1],
        probe(11)[:-1] + b"!",
    ],
    ids=["filling", "send time", "longer", "shorter", "unknown and filling"],
)
def test_a_packet_with_the_flows_id_that_was_not_sent_so_was_changed(payload):
    found = datagrams(datagram(probe(2)), datagram(payload))
    assert (found.position.tolist(), found.changed.tolist()) == ([2], [2])


def test_a_probe_that_the_senders_log_does_not_have_is_unknown():
    found = datagrams(datagram(probe(9)), datagram(probe(10)))
    assert (found.position.tolist(), found.unknown.tolist(), found.changed.tolist()) == ([9], [2], [])


def test_a_packet_that_the_capture_cut_after_the_send_time_is_still_a_probe():
    octets = datagram(probe(3))
    found = datagrams((octets[: 14 + 40 + 8 + MIN_SIZE], len(octets)), (octets[:90], len(octets)))
    assert found.position.tolist() == [3, 3]
    assert found.whole.all()
    assert found.unreadable == 0


def test_a_packet_that_the_capture_cut_before_is_said_to_be_unreadable():
    octets = datagram(probe(3))
    found = datagrams((octets[: 14 + 40 + 8 + MIN_SIZE - 1], len(octets)))
    assert (found.position.tolist(), found.unreadable) == ([], 1)


def test_the_first_fragment_of_a_probe_is_not_the_whole():
    large = ipv6(IPv6ExtHdrFragment(id=7), UDP(sport=1, dport=2), Raw(probe(3, size=4000)))
    frames = [ether(part) for part in fragment6(large, 1400)]
    assert len(frames) > 2
    found = datagrams(*frames, size=4000)
    assert (found.position.tolist(), found.whole.tolist()) == ([3], [False])


SEGMENT = ether(ipv6(TCP(sport=PORTS[0], dport=PORTS[1], flags="PA")))
"""The headers of a segment; how long its payload is and its number are put in their places."""


def segment(stream, begin, end, *, first=1000, ports=PORTS):
    octets = bytearray(SEGMENT + stream[begin:end])
    octets[54:58] = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big")
    octets[18:20] = (20 + end - begin).to_bytes(2, "big")
    octets[58:62] = ((first + begin) % 2**32).to_bytes(4, "big")
    return bytes(octets)


def acknowledgement(octets, *, first=1000):
    ack = (first + octets) % 2**32
    return ether(ipv6(TCP(sport=PORTS[1], dport=PORTS[0], ack=ack, flags="A")))


STREAM = b"".join(probe(number) for number in range(10))


def streamed(*packets, log=None):
    packets = capture(*packets)
    segments = Segments(packets, classify(packets), packets.time_ns - T0)
    return segments, segments.of(log or sent(), SIZE)


def test_records_are_complete_with_the_segment_that_brings_their_last_octet():
    _, found = streamed(segment(STREAM, 0, 150), segment(STREAM, 150, 210), segment(STREAM, 210, 1000))
    assert found.records.position.tolist() == list(range(10))
    assert found.records.number.tolist() == [1, 2, *[3] * 8]
    assert found.records.time_ns.tolist() == [0, MS, *[2 * MS] * 8]
    assert (found.octets, found.repeated) == (1000, 0)


def test_a_record_waits_for_what_was_overtaken():
    _, found = streamed(segment(STREAM, 0, 100), segment(STREAM, 200, 300), segment(STREAM, 100, 200))
    assert found.records.number.tolist() == [1, 3, 3]
    assert found.octets == 300


def test_what_comes_after_a_hole_is_not_there():
    _, found = streamed(segment(STREAM, 0, 100), segment(STREAM, 200, 1000))
    assert found.records.position.tolist() == [0]
    assert found.octets == 100


def test_a_segment_with_octets_that_came_before_is_a_repetition():
    _, found = streamed(segment(STREAM, 0, 300), segment(STREAM, 100, 200), segment(STREAM, 250, 400))
    assert (found.octets, found.repeated) == (400, 2)
    assert found.records.number.tolist() == [1, 1, 1, 3]


def test_a_stream_is_found_by_any_segment_that_begins_with_a_record():
    _, found = streamed(segment(STREAM, 0, 50), segment(STREAM, 50, 200), segment(STREAM, 200, 1000))
    assert found.octets == 1000


def test_a_stream_whose_ports_hop_is_one_stream():
    other = (PORTS[0] + 7, PORTS[1])
    packets = [segment(STREAM, 0, 300), segment(STREAM, 300, 1000, ports=other)]
    back = ether(ipv6(TCP(sport=other[1], dport=other[0], ack=2000, flags="A")))
    segments, found = streamed(*packets, back)
    assert (found.octets, found.ports) == (1000, (PORTS, other))
    assert segments.acknowledged(found.ports, found.beginning, 1000) == 1000


def test_sequence_numbers_may_pass_the_end_of_their_range():
    first = 2**32 - 250
    _, found = streamed(*(segment(STREAM, at, at + 100, first=first) for at in range(0, 1000, 100)))
    assert (found.octets, found.beginning) == (1000, first)


def test_what_the_sender_was_refused_is_not_in_the_stream():
    stream = b"".join(probe(number) for number in range(10) if number not in (2, 3))
    _, found = streamed(segment(stream, 300, 800), segment(stream, 0, 300), log=sent(refused=[2, 3]))
    assert found.records.position.tolist() == [0, 1, 4, 5, 6, 7, 8, 9]


def test_acknowledgements_are_counted_in_octets_of_the_stream():
    first = 2**32 - 250
    packets = [segment(STREAM, 0, 500, first=first), acknowledgement(100, first=first)]
    segments, found = streamed(*packets, acknowledgement(501, first=first))
    assert segments.acknowledged(found.ports, found.beginning, 500) == 500  # the last is that of the FIN


def test_no_stream_is_seen_where_there_is_none():
    _, found = streamed(datagram(probe(1)), acknowledgement(5))
    assert (found.octets, found.ports, len(found.records.position)) == (0, (), 0)


@given(st.permutations(range(20)), st.integers(0, 2**32 - 1), st.data())
def test_however_segments_arrive_records_are_complete_when_all_before_them_came(order, first, data):
    edges = sorted({0, 1000, *data.draw(st.lists(st.integers(1, 999), min_size=19, max_size=19))})
    if edges[1] < MIN_SIZE:
        edges[1:] = [edge for edge in edges[1:] if edge >= MIN_SIZE]  # one must show a record's beginning
    pieces = [(edges[i], edges[i + 1]) for i in order if i + 1 < len(edges)]
    _, found = streamed(*(segment(STREAM, begin, end, first=first) for begin, end in pieces))
    for record in range(10):
        needed = [i for i, (begin, _) in enumerate(pieces) if begin < (record + 1) * SIZE]
        assert found.records.number[record] == max(needed) + 1
    assert (found.octets, found.repeated) == (1000, 0)


def test_a_record_that_waited_to_be_read_has_the_time_of_its_packets():
    _, found = streamed(*(segment(STREAM, at, at + 100) for at in range(0, 300, 100)))  # at 0, 1 and 2 ms
    received = ReceivedLog(
        flow_id=FLOW,
        sequence=np.array([0, 1, 2, 3]),
        received_ns=np.array([0, 30 * MS, 30 * MS, 30 * MS]),
        sent_ns=np.zeros(4, np.int64),
    )
    assert by_packets(sent(), received, found.records).received_ns.tolist() == [0, 1 * MS, 2 * MS, 30 * MS]


def test_a_record_sent_again_has_the_time_of_its_packet_though_the_kernel_gives_that_of_the_next_one():
    """What came out of order is joined behind what fills the hole, whose time is forgotten."""
    pieces = [(0, 100), (200, 300), (100, 200), (300, 400)]  # at 0, 1, 2 and 3 ms
    _, found = streamed(*(segment(STREAM, begin, end) for begin, end in pieces))
    assert found.records.stamp_ns.tolist() == [0, 1 * MS, 1 * MS, 3 * MS]
    received = ReceivedLog(
        flow_id=FLOW,
        sequence=np.arange(4),
        received_ns=np.array([0, 1 * MS, 1 * MS, 3 * MS]),
        sent_ns=np.zeros(4, np.int64),
    )
    assert agreement(sent(4), received, None, found.records, Receiver()).contradictions == ()
    assert by_packets(sent(4), received, found.records).received_ns.tolist() == [0, 2 * MS, 2 * MS, 3 * MS]
