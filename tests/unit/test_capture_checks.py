import ipaddress

import pytest
from pcapng_building import interface, packet, section
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6ND_NS, IPerror6, IPv6
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from orchestrator.capture.checks import bearing, esp_both_ways, nothing_in_clear
from orchestrator.capture.classify import classify
from orchestrator.capture.pcapng import read
from orchestrator.evidence.verdict import Outcome

A, B = ipaddress.IPv6Address("fd00::a"), ipaddress.IPv6Address("fd00::b")
INNER = {
    "peer-a": ipaddress.IPv6Network("fd00:0:0:aaaa::/64"),
    "peer-b": ipaddress.IPv6Network("fd00:0:0:bbbb::/64"),
}
INNER_A, INNER_B = "fd00:0:0:aaaa::1", "fd00:0:0:bbbb::1"


def frame(source, destination, *layers):
    built = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IPv6(
        src=str(source), dst=str(destination)
    )
    for layer in layers:
        built /= layer
    return bytes(built)


def esp(source, destination):
    return frame(source, destination, ESP(spi=1, data=b"x" * 40))


def in_udp(source, destination):
    return frame(source, destination, UDP(sport=4500, dport=4500), Raw(bytes(ESP(spi=1, data=b"x" * 40))))


def captured(*frames):
    return read(section() + interface() + b"".join(packet(f) for f in frames))


def test_esp_both_ways_passes_and_names_the_packets():
    check = esp_both_ways(classify(captured(esp(A, B), in_udp(B, A), esp(A, B), in_udp(B, A))), A, B)
    assert check.outcome is Outcome.PASS
    assert check.measured == {
        "fd00::a > fd00::b": {"packets": 2, "first": [1, 3], "last": 3},
        "fd00::b > fd00::a": {"packets": 2, "first": [2, 4], "last": 4},
    }


def test_esp_one_way_fails():
    check = esp_both_ways(classify(captured(esp(A, B), esp(A, B))), A, B)
    assert check.outcome is Outcome.FAIL
    assert check.measured["fd00::b > fd00::a"] == {"packets": 0}


def test_esp_of_others_is_not_counted():
    other = ipaddress.IPv6Address("fd00::c")
    check = esp_both_ways(classify(captured(esp(A, B), esp(B, other), esp(other, A))), A, B)
    assert check.outcome is Outcome.FAIL


def test_traffic_within_the_tunnel_alone_shows_nothing_in_clear():
    check = nothing_in_clear(captured(esp(A, B), in_udp(B, A)), INNER)
    assert check.outcome is Outcome.PASS
    assert check.expected == "0 of 2 packets"


IN_CLEAR = {
    "as a source": frame(INNER_A, B, UDP()),
    "as a destination": frame(A, INNER_A, UDP()),
    "quoted in an ICMPv6 error": frame(A, B, ICMPv6DestUnreach(), IPerror6(src=INNER_A, dst=str(B)), UDP()),
    "in a neighbour solicitation": frame(A, "ff02::1:ff00:1", ICMPv6ND_NS(tgt=INNER_A)),
    "in a payload": frame(A, B, UDP(), Raw(ipaddress.IPv6Address(INNER_A).packed)),
    "as the very last octets": frame(A, B, UDP(), Raw(ipaddress.IPv6Address(INNER_A).packed[:8])),
}


@pytest.mark.parametrize("leak", IN_CLEAR.values(), ids=IN_CLEAR.keys())
def test_an_inner_address_in_clear_is_found_wherever_it_is(leak):
    check = nothing_in_clear(captured(esp(A, B), leak, esp(B, A), leak), INNER)
    assert check.outcome is Outcome.FAIL
    assert check.measured == {"peer-a": {"packets": 2, "first": [2, 4], "last": 4}, "peer-b": {"packets": 0}}


def test_octets_outside_of_packets_are_not_in_clear():
    needle = INNER["peer-a"].network_address.packed[:8]
    file = section() + interface(name=needle.decode("latin-1")) + packet(b"x" * 60, values={1: needle})
    assert bearing(read(file + packet(needle)), needle).tolist() == [2]


def test_a_capture_without_packets_proves_nothing():
    assert nothing_in_clear(captured(), INNER).outcome is Outcome.FAIL


def test_only_the_first_packets_are_listed():
    check = nothing_in_clear(captured(*[frame(INNER_A, INNER_B, UDP())] * 30), INNER)
    assert check.measured["peer-b"] == {"packets": 30, "first": [1, 2, 3], "last": 30}


def test_no_octets_cannot_be_looked_for():
    with pytest.raises(ValueError, match="no octets"):
        bearing(captured(b"x"), b"")
