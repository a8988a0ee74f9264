"""What the wire bears of flows that are rewritten, and what comes back from it as errors."""

import struct
import subprocess
import sys
from contextlib import contextmanager

import pytest
from planes_by_hand import (
    A2,
    A3,
    B2,
    CLIENT,
    FAR,
    FAR2,
    ICMPV6,
    TCP,
    TCP_SERVER,
    UDP,
    UDP_SERVER,
    WITH_AN_OPTION,
    A,
    B,
    addressed_nodes,
    both,
    hopped,
    rewrite,
    talk,
)
from scapy.layers.inet import TCP as scapy_TCP
from scapy.layers.inet import UDP as scapy_UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
)

pytestmark = pytest.mark.root


@pytest.fixture
def nodes(tmp_path):
    with addressed_nodes(tmp_path) as nodes:
        yield nodes


SNIFFER = """
import socket
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
frames.bind(("port-a", 0))
print("here", flush=True)
while True:
    frame, (_, protocol, *_) = frames.recvfrom(65535)
    if protocol == 0x86DD:
        print(frame[14:].hex(), flush=True)
"""


@contextmanager
def sniffer(nodes):
    """What passes A's port of the bridge; the value is called for the next packet that matches."""
    with talk(nodes, "bridge", SNIFFER) as frames:
        assert frames.hear() == "here"

        def following(matches):
            while True:
                packet = IPv6(bytes.fromhex(frames.hear()))
                if matches(packet):
                    return packet

        yield following


def addresses(packet):
    return packet.src, packet.dst


def checksum_is_right(packet):
    """Whether the sum over pseudo-header and payload is what RFC 8200 §8.1 says."""
    octets = bytes(packet)
    summed = octets[8:40] + struct.pack("!IBxxx", len(octets) - 40, 0)[:7] + octets[6:7] + octets[40:]
    words = struct.unpack(f"!{(len(summed) + 1) // 2}H", summed + b"\0" * (len(summed) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


def test_segments_behind_an_extension_header_go_on_at_other_addresses_too(nodes):
    with both(nodes) as planes, talk(nodes, "b", TCP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", WITH_AN_OPTION, "SOCK_STREAM", "-", 0, B) as client:
            port = client.hear().split()[1]
            rewrite(planes, hopped(TCP, int(port), local=A3, remote=B2))
            with sniffer(nodes) as following:
                assert client.ask("10") == f"{A} {port} 10"
                segment = following(lambda packet: packet.nh == 60 and packet[IPv6ExtHdrDestOpt].nh == TCP)
            assert addresses(segment) == (A3, B2)


PING = """
import os, socket, struct, sys
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
raw.bind((sys.argv[1], 0))
raw.settimeout(1)
identifier = int(sys.argv[3])
print("bound", flush=True)
for line in sys.stdin:
    raw.sendto(struct.pack("!BBHHH", 128, 0, 0, identifier, 1) + b"x" * 100, (sys.argv[2], 0))
    try:
        while True:
            data, peer = raw.recvfrom(2000)
            if data[0] == 129 and struct.unpack_from("!H", data, 4)[0] == identifier:
                break
        print(peer[0], len(data), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


def test_an_echo_goes_on_at_another_address_by_its_identifier(nodes):
    with both(nodes) as planes, talk(nodes, "a", PING, A, B, 0x4242) as ping:
        assert ping.hear() == "bound"
        assert ping.ask() == f"{B} 108"
        rewrite(planes, hopped(ICMPV6, 0x4242, remote=B2))
        with sniffer(nodes) as following:
            assert ping.ask() == f"{B} 108"
            request = following(lambda packet: ICMPv6EchoRequest in packet)
            reply = following(lambda packet: ICMPv6EchoReply in packet)
    assert addresses(request) == (A2, B2)
    assert addresses(reply) == (B2, A2)
    assert request[ICMPv6EchoRequest].id == reply[ICMPv6EchoReply].id == 0x4242
    assert checksum_is_right(request)
    assert checksum_is_right(reply)


NO_OFFLOAD = """
import array, fcntl, socket, struct
value = array.array("B", struct.pack("II", 0x17, 0))  # ETHTOOL_STXCSUM
fcntl.ioctl(socket.socket(), 0x8946, struct.pack("16sQ", b"eth0", value.buffer_info()[0]))
"""


@pytest.mark.parametrize(
    ("kind", "server", "protocol", "layer"),
    [("SOCK_DGRAM", UDP_SERVER, UDP, scapy_UDP), ("SOCK_STREAM", TCP_SERVER, TCP, scapy_TCP)],
)
@pytest.mark.parametrize("offload", [True, False])
def test_the_wire_bears_what_was_said_with_right_checksums(nodes, kind, server, protocol, layer, offload):
    if not offload:
        for node in "ab":
            subprocess.run(nodes.command(node, [sys.executable, "-c", NO_OFFLOAD]), check=True)
    with both(nodes) as planes, talk(nodes, "b", server) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, kind, A, 0, B) as client:
            port = client.hear().split()[1]
            moved = hopped(protocol, int(port), local=A3, remote=B2)
            moved["out"] = [[A3, 40_000], [B2, 50_000]]
            moved["accepted"] = [moved["out"]]
            rewrite(planes, {**moved, "flow_label": 0x2345})
            with sniffer(nodes) as following:
                assert client.ask("10") == f"{A} {port} 10"
                request = following(lambda packet: layer in packet and packet.src == A3)
                reply = following(lambda packet: layer in packet and packet.dst == A3)
    assert addresses(request) == addresses(reply)[::-1] == (A3, B2)
    assert (
        (request[layer].sport, request[layer].dport)
        == (reply[layer].dport, reply[layer].sport)
        == (40_000, 50_000)
    )
    assert request.fl == 0x2345
    if not offload:  # else the interface computes it, for which this wire has none
        assert checksum_is_right(request)
        assert checksum_is_right(reply)


@contextmanager
def routed(nodes):
    """B is behind a router, the bridge's own node, at FAR and FAR2."""
    for command in (
        "sysctl -qw net.ipv6.conf.all.forwarding=1",
        "ip address add fd68:6f70:6264:1::1/64 dev br0 nodad",
        "ip link set port-b nomaster",
        "ip address add fd00:9::1/64 dev port-b nodad",
    ):
        nodes.run("bridge", command)
    nodes.run("a", "ip route add fd00:9::/64 via fd68:6f70:6264:1::1")
    nodes.run("b", f"ip address add {FAR}/64 dev eth0 nodad")
    nodes.run("b", f"ip address add {FAR2}/64 dev eth0 nodad preferred_lft 0")
    nodes.run("b", f"ip address del {B}/64 dev eth0")
    nodes.run("b", f"ip address del {B2}/64 dev eth0")
    nodes.run("b", "ip route add default via fd00:9::1")
    for source, there in ((A, FAR), (A2, FAR2)):  # everybody knows the neighbours from now on
        nodes.run("a", f"ping -6 -c 1 -w 5 -i 0.2 -I {source} {there}")
    yield


@pytest.mark.parametrize(
    ("kind", "server", "protocol"), [("SOCK_DGRAM", UDP_SERVER, UDP), ("SOCK_STREAM", TCP_SERVER, TCP)]
)
def test_a_smaller_path_mtu_comes_to_the_socket_that_knows_the_first_address(nodes, kind, server, protocol):
    """The error quotes the second addresses; untranslated it reaches no socket, and TCP stands still."""
    with routed(nodes), both(nodes) as planes, talk(nodes, "b", server) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, kind, A, 0, FAR) as client:
            port = client.hear().split()[1]
            assert client.ask("1400") == f"{A} {port} 1400"
            rewrite(planes, hopped(protocol, int(port), remote=FAR2, own=(A, FAR)))
            assert client.ask("1400") == f"{A} {port} 1400"
            nodes.run("bridge", "ip link set port-b mtu 1300")
            if protocol == UDP:
                assert "Message too long" in client.ask("1400")  # the kernel tells a connected socket
                planes[0].tell({"mtu": [A2, FAR2, 1300]})
            assert client.ask("1400").startswith(f"{A} {port} ")
            assert "mtu 1300" in nodes.run("a", f"ip -6 route get {FAR} from {A}")


def test_nobody_listens_comes_to_the_socket_and_tells_the_wire_nothing_of_the_first_address(nodes):
    with both(nodes) as planes, talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
        port = client.hear().split()[1]
        rewrite(planes, hopped(UDP, int(port), remote=B2))
        with sniffer(nodes) as following:
            assert client.ask("10").startswith("ConnectionRefusedError")
            error = following(lambda packet: ICMPv6DestUnreach in packet)
    assert addresses(error) == (B2, A2)
    assert checksum_is_right(error)
    quoted = IPv6(bytes(error[ICMPv6DestUnreach].payload))
    assert addresses(quoted) == (A2, B2)


def test_a_datagram_in_fragments_is_rewritten_whole(nodes):
    with both(nodes) as planes, talk(nodes, "b", UDP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
            port = client.hear().split()[1]
            rewrite(planes, hopped(UDP, int(port), remote=B2))
            assert client.ask("5000") == f"{A} {port} 5000"


def assert_retired_address_is_silent(nodes, plane, client_program):
    """The service at A answers the client in B before A is retired and after it is released."""
    nodes.run("a", f"ip -6 route add local {A} dev lo table local")
    with talk(nodes, "b", client_program, "SOCK_DGRAM", B, 0, A) as client:
        client.hear()
        assert client.ask("10").endswith(" 10")
        plane.tell({"retire": A})
        assert client.ask("11").startswith("TimeoutError")
        plane.tell({"release": A})
        assert client.ask("12").endswith(" 12")


def test_nobody_reaches_a_retired_address_and_nothing_leaves_from_it(nodes):
    with both(nodes) as planes, talk(nodes, "a", UDP_SERVER) as service:
        assert service.hear() == "bound"
        assert_retired_address_is_silent(nodes, planes[0], CLIENT)
        planes[0].tell({"retire": A})
        with sniffer(nodes) as following, talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
            client.hear()
            assert client.ask("10").startswith("PermissionError")
            nodes.run("a", f"ping -6 -c 1 -W 1 -I {A} {A}")  # on the node itself it is an address as ever
            nodes.run("a", f"ping -6 -c 1 -W 1 -I {A2} {B2}")
            assert following(lambda packet: packet.src == A or ICMPv6EchoRequest in packet).src == A2


TELLING_SERVER = UDP_SERVER.replace(
    "    server.sendto(", "    print(len(data), flush=True)\n    server.sendto("
)
"""It says what it gets, answered or not."""


def test_an_option_like_a_messages_opens_no_way_to_a_retired_address(nodes):
    with both(nodes) as planes, talk(nodes, "a", TELLING_SERVER) as service:
        assert service.hear() == "bound"
        assert_retired_address_is_silent(nodes, planes[0], WITH_AN_OPTION)
        assert [service.hear(), service.hear()] == ["10", "12"]
