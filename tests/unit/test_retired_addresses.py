"""Which packets bear an address after it was retired."""

import ipaddress

from pcapng_building import SECOND, T0, interface, packet, section
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import Ether

from orchestrator.capture.classify import classify
from orchestrator.capture.pcapng import read
from orchestrator.capture.retired import Retired, bearing_after

FIRST, SECOND_ADDRESS, PARTNER = "fd00::1:a", "fd00::2:a", "fd00::b"
SAME_INTERFACE_ID = "fd00:0:0:1::1:a"
TERMINAL, OUTSIDER = "02:00:00:00:00:01", "02:00:00:00:00:0f"
CLOSED = T0 + 10 * SECOND


def frame(source, destination, layer=None, sender=TERMINAL):
    upper = UDP(sport=1, dport=2) if layer is None else layer
    return bytes(
        Ether(src=sender, dst="02:00:00:00:00:02") / IPv6(src=source, dst=destination, hlim=255) / upper
    )


def found(*frames, retired=((FIRST, CLOSED),), outsiders=(OUTSIDER,)):
    packets = read(section() + interface() + b"".join(packet(octets, at) for octets, at in frames))
    return bearing_after(
        packets,
        classify(packets),
        packets.time_ns,
        [Retired(address=ipaddress.IPv6Address(one), since_ns=at) for one, at in retired],
        [bytes.fromhex(one.replace(":", "")) for one in outsiders],
    )


def test_before_the_close_nothing_counts_and_after_it_both_directions_do():
    bearing = found(
        (frame(FIRST, PARTNER), CLOSED - 1),
        (frame(PARTNER, FIRST), CLOSED),
        (frame(FIRST, PARTNER), CLOSED + 1),
        (frame(PARTNER, FIRST, TCP()), CLOSED + 2),
        (frame(SECOND_ADDRESS, PARTNER), CLOSED + 3),
    )
    assert bearing.as_source.tolist() == [3]
    assert bearing.as_destination.tolist() == [4]
    assert bearing.packets.tolist() == [3, 4]
    assert bearing.judged == 3


def test_each_address_has_a_close_of_its_own():
    later = CLOSED + SECOND
    bearing = found(
        (frame(SECOND_ADDRESS, PARTNER), CLOSED + 1),
        (frame(SECOND_ADDRESS, PARTNER), later + 1),
        retired=((FIRST, CLOSED), (SECOND_ADDRESS, later)),
    )
    assert bearing.as_source.tolist() == [2]


def test_the_same_interface_identifier_in_another_prefix_is_another_address():
    assert not len(found((frame(SAME_INTERFACE_ID, PARTNER), CLOSED + 1)).packets)


def test_what_an_outsider_sends_to_it_does_not_count_but_an_answer_from_it_does():
    bearing = found(
        (frame("fd00::f", FIRST, TCP(), sender=OUTSIDER), CLOSED + 1),
        (frame("fd00::f", "ff02::1:ff01:a", ICMPv6ND_NS(tgt=FIRST), sender=OUTSIDER), CLOSED + 2),
        (frame(FIRST, "fd00::f", TCP(flags="SA")), CLOSED + 3),
    )
    assert bearing.packets.tolist() == [3]


def test_asking_for_it_and_advertising_it_count():
    bearing = found(
        (frame(PARTNER, "ff02::1:ff01:a", ICMPv6ND_NS(tgt=FIRST)), CLOSED + 1),
        (frame("fe80::1", PARTNER, ICMPv6ND_NA(tgt=FIRST)), CLOSED + 2),
        (frame("fe80::1", PARTNER, ICMPv6ND_NA(tgt=SECOND_ADDRESS)), CLOSED + 3),
    )
    assert bearing.as_target.tolist() == [1, 2]


def test_where_nothing_was_retired_nothing_is_judged():
    bearing = found((frame(FIRST, PARTNER), CLOSED), retired=())
    assert (len(bearing.packets), bearing.judged) == (0, 0)


def test_many_addresses_and_packets_are_told_apart():
    retired = [(f"fd00::{number:x}:1", CLOSED + number) for number in range(1, 300)]
    frames = [(frame(f"fd00::{number:x}:1", PARTNER), CLOSED + 150) for number in range(1, 300)]
    bearing = found(*frames, retired=retired)
    assert bearing.as_source.tolist() == list(range(1, 150))
