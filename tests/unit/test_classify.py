import ipaddress
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcapng_building import T0, interface, packet, section
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import ESP
from scapy.layers.isakmp import ISAKMP
from scapy.layers.l2 import ARP, Dot3, Ether
from scapy.packet import Raw

from nodes.capture import endmark
from orchestrator.capture import classify as classify_module
from orchestrator.capture.classify import Kind, address_in, address_is, classify, numbers
from orchestrator.capture.pcapng import read

A, B = "fd00::a", "fd00::b"
IKE_SA_INIT, QUICK_MODE = 34, 32
RAW_IP = 101

IKE_V1 = ISAKMP(
    init_cookie=b"cookie-I",
    resp_cookie=b"cookie-R",
    version=0x10,
    exch_type=QUICK_MODE,
    flags=1,
    id=0xCAFE0001,
)
IKE_V2 = ISAKMP(init_cookie=b"spi-of-I", version=0x20, exch_type=IKE_SA_INIT, flags=8, next_payload=33)
NON_ESP_MARKER = bytes(4)


def ether(*layers):
    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for layer in layers:
        frame /= layer
    return bytes(frame)


def ip6(*layers):
    return ether(IPv6(src=A, dst=B), *layers)


def classified(*frames, link_type=1):
    return classify(read(section() + interface(link_type=link_type) + b"".join(packet(f) for f in frames)))


def udp(port, payload, source=40_000):
    return ip6(UDP(sport=source, dport=port), Raw(bytes(payload)))


EXAMPLES = {
    "ICMPv6": (ip6(ICMPv6EchoRequest()), Kind.ICMPV6),
    "TCP": (ip6(TCP(sport=80, dport=1234)), Kind.TCP),
    "UDP": (udp(9, b"probe"), Kind.UDP),
    "IKE on 500": (udp(500, IKE_V1), Kind.IKE),
    "IKE from 500": (udp(40_000, IKE_V2, source=500), Kind.IKE),
    "IKE on 4500": (udp(4500, NON_ESP_MARKER + bytes(IKE_V2)), Kind.IKE),
    "ESP": (ip6(ESP(spi=0xC0FFEE01, seq=7, data=b"x" * 40)), Kind.ESP),
    "ESP in UDP": (udp(4500, ESP(spi=0xC0FFEE02, seq=8, data=b"x" * 40)), Kind.ESP_IN_UDP),
    "keepalive": (udp(4500, b"\xff"), Kind.NAT_KEEPALIVE),
    "UDP on 500 that is too short for IKE": (udp(500, b"x" * 27), Kind.UDP),
    "UDP on 500 of no IKE version": (udp(500, b"x" * 60), Kind.UDP),
    "UDP on 4500 that is empty": (udp(4500, b""), Kind.UDP),
    "a marker without IKE": (udp(4500, NON_ESP_MARKER + b"x" * 8), Kind.UDP),
    "no next header": (ip6(IPv6ExtHdrDestOpt(nh=59)), Kind.OTHER),
    "ARP": (ether(ARP()), Kind.OTHER),
    "a frame with a length for a type": (bytes(Dot3() / Raw(bytes(60))), Kind.OTHER),
    "a mark": (bytes(6) + bytes(6) + endmark.ETHERTYPE.to_bytes(2, "big") + b"token", Kind.END_MARK),
    "nothing": (b"", Kind.OTHER),
    "UDP over IPv4": (ether(IP(src="10.0.0.1", dst="10.0.0.2"), UDP(sport=1, dport=2)), Kind.UDP),
    "ESP over IPv4": (ether(IP(src="10.0.0.1", dst="10.0.0.2"), ESP(spi=1, data=b"x" * 8)), Kind.ESP),
    "a later fragment over IPv4": (ether(IP(frag=100, proto=17), Raw(bytes(40))), Kind.FRAGMENT),
}


@pytest.mark.parametrize(("frame", "kind"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_packet_is_what_it_is(frame, kind):
    assert classified(frame).kind.tolist() == [kind]


def test_many_packets_at_once_are_each_what_they_are(monkeypatch):
    monkeypatch.setattr(classify_module, "_CHUNK", 7)
    frames, kinds = zip(*EXAMPLES.values(), strict=True)
    assert classified(*frames, *frames).kind.tolist() == [*kinds, *kinds]


def test_addresses_and_ports_are_known():
    headers = classified(
        ip6(UDP(sport=1000, dport=2000)), ether(IP(src="10.0.0.1", dst="10.0.0.2"), TCP(sport=1))
    )
    a, b = ipaddress.IPv6Address(A), ipaddress.IPv6Address(B)
    assert address_is(headers.source, a).tolist() == [True, False]
    assert address_is(headers.destination, b).tolist() == [True, False]
    assert address_is(headers.source, ipaddress.IPv6Address("::ffff:10.0.0.1")).tolist() == [False, True]
    assert headers.source_port.tolist() == [1000, 1]
    assert headers.destination_port.tolist() == [2000, 80]
    assert headers.protocol.tolist() == [17, 6]


@pytest.mark.parametrize(
    ("network", "inside"),
    [
        ("fd00::/64", True),
        ("fd00::a/128", True),
        ("fd00:0:0:1::/64", False),
        ("::/0", True),
        ("fd00::8/125", True),
    ],
)
def test_addresses_are_found_by_network(network, inside):
    headers = classified(ip6(ICMPv6EchoRequest()))
    assert address_in(headers.source, ipaddress.IPv6Network(network)).tolist() == [inside]


def test_numbers_are_those_that_wireshark_shows():
    headers = classified(ip6(TCP()), udp(500, IKE_V1), ip6(TCP()))
    assert numbers(headers.kind == Kind.TCP).tolist() == [1, 3]


def test_the_spi_is_known_of_esp_in_udp_or_not():
    headers = classified(EXAMPLES["ESP"][0], EXAMPLES["TCP"][0], EXAMPLES["ESP in UDP"][0])
    assert headers.spi.tolist() == [0xC0FFEE01, 0, 0xC0FFEE02]
    assert headers.is_esp.tolist() == [True, False, True]


def test_ike_headers_are_records_in_the_order_of_the_packets():
    headers = classified(udp(4500, NON_ESP_MARKER + bytes(IKE_V2)), ip6(TCP()), udp(500, IKE_V1))
    assert headers.ike_packet.tolist() == [0, 2]
    second, first = headers.ike
    assert (first["initiator_spi"], first["responder_spi"]) == (
        int.from_bytes(b"cookie-I", "big"),
        int.from_bytes(b"cookie-R", "big"),
    )
    assert (first["version"], first["exchange"], first["flags"]) == (0x10, QUICK_MODE, 1)
    assert (first["message_id"], first["length"]) == (0xCAFE0001, 28)
    assert (second["version"], second["exchange"], second["first_payload"]) == (0x20, IKE_SA_INIT, 33)
    assert second["responder_spi"] == 0


CHAINS = {
    "hop-by-hop": [IPv6ExtHdrHopByHop()],
    "routing": [IPv6ExtHdrRouting()],
    "destination options": [IPv6ExtHdrDestOpt()],
    "first fragment": [IPv6ExtHdrFragment(offset=0, m=1)],
    "four of them": [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(), IPv6ExtHdrFragment(m=1)],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_extension_headers_are_passed_over(chain):
    headers = classified(ip6(*chain, UDP(sport=500, dport=500), Raw(bytes(IKE_V2))))
    assert headers.kind.tolist() == [Kind.IKE]
    assert headers.source_port.tolist() == [500]


def test_where_the_upper_header_begins_is_known():
    file = section() + interface() + packet(ip6(IPv6ExtHdrDestOpt(), UDP(sport=7, dport=9), Raw(b"payload")))
    headers = classify(read(file))
    begin = int(headers.upper[0])
    assert file[begin + 8 :].startswith(b"payload")


def test_a_later_fragment_has_no_upper_header():
    headers = classified(ip6(IPv6ExtHdrFragment(offset=9, nh=17), Raw(bytes(40))))
    assert headers.kind.tolist() == [Kind.FRAGMENT]
    assert headers.destination_port.tolist() == [0]


def test_an_endless_chain_of_extension_headers_is_no_packet_of_any_kind():
    headers = classified(ip6(*[IPv6ExtHdrDestOpt() for _ in range(12)], UDP()))
    assert headers.kind.tolist() == [Kind.OTHER]


def test_raw_ip_is_understood_by_its_version():
    six, four = bytes(IPv6(src=A, dst=B) / UDP(dport=9)), bytes(IP() / TCP())
    mark = bytes(IPv6(dst=str(endmark.DESTINATION), nh=59))
    headers = classified(six, four, mark, b"\0", link_type=RAW_IP)
    assert headers.kind.tolist() == [Kind.UDP, Kind.TCP, Kind.END_MARK, Kind.OTHER]


def test_an_unknown_link_layer_is_not_guessed_at():
    assert classified(EXAMPLES["UDP"][0], link_type=113).kind.tolist() == [Kind.OTHER]


@pytest.mark.parametrize("name", ["IKE on 500", "IKE on 4500", "ESP", "TCP", "ESP in UDP", "UDP over IPv4"])
def test_a_packet_that_was_cut_short_is_read_as_far_as_it_goes(name):
    frame, kind = EXAMPLES[name]
    headers = classified(*[frame[:length] for length in range(len(frame) + 1)])
    assert headers.kind[-1] == kind
    assert headers.kind[0] == Kind.OTHER
    assert set(headers.kind.tolist()) <= {Kind.OTHER, Kind.UDP, kind}


def test_it_agrees_with_tshark(tmp_path):
    frames = [frame for frame, _ in EXAMPLES.values() if len(frame) > 14]
    path = tmp_path / "examples.pcapng"
    path.write_bytes(section() + interface() + b"".join(packet(frame, T0) for frame in frames))
    fields = [
        "ipv6.src",
        "ipv6.dst",
        "udp.srcport",
        "udp.dstport",
        "tcp.srcport",
        "esp.spi",
        "isakmp.ispi",
        "isakmp.exchangetype",
        "isakmp.messageid",
    ]
    said = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *(f"-e{field}" for field in fields)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    headers = classify(read(path.read_bytes()))
    ike = dict(zip(headers.ike_packet.tolist(), headers.ike, strict=True))
    assert len(said) == len(frames)
    seen = 0
    for index, line in enumerate(said):
        source, destination, udp_from, udp_to, tcp_from, spi, ispi, exchange, message = line.split("\t")
        if source:
            assert address_is(headers.source[[index]], ipaddress.IPv6Address(source)).all()
            assert address_is(headers.destination[[index]], ipaddress.IPv6Address(destination)).all()
        if udp_from or tcp_from:
            assert headers.source_port[index] == int(udp_from or tcp_from)
        if udp_to:
            assert headers.destination_port[index] == int(udp_to)
        if spi:
            assert headers.spi[index] == int(spi, 0)
        if index in ike:
            assert ike[index]["initiator_spi"] == int(ispi, 16)
            assert ike[index]["exchange"] == int(exchange)
            assert ike[index]["message_id"] == int(message, 0)
            seen += 1
    assert seen == 3


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=120),
            st.tuples(
                st.sampled_from([frame for frame, _ in EXAMPLES.values()]),
                st.integers(0, 120),
                st.binary(max_size=30),
            ).map(lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + len(t[2]) :]),
        ),
        max_size=20,
    ),
    st.sampled_from([1, RAW_IP]),
)
def test_no_packet_raises_anything(frames, link_type):
    headers = classified(*frames, link_type=link_type)
    assert len(headers.kind) == len(frames)
    assert len(headers.ike) == np.count_nonzero(headers.kind == Kind.IKE)
