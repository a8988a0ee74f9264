"""The rewriting of packets in the kernel: live sockets keep their addresses while the wire carries others."""

import json
import re
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from bridged_nodes import ADDRESSES, bridged_nodes
from scapy.layers.inet import TCP as scapy_TCP
from scapy.layers.inet import UDP as scapy_UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
)

from nodes.terminal.rewriting_rules import MOST_REWRITTEN

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
A, B = ADDRESSES["a"], ADDRESSES["b"]
A2, A3, B2 = "fd68:6f70:6264:1::a2", "fd68:6f70:6264:1::a3", "fd68:6f70:6264:1::b2"
FAR, FAR2 = "fd00:9::b", "fd00:9::b2"
TCP, UDP, ICMPV6 = 6, 17, 58


class ByHand:
    """The data plane of a node."""

    def __init__(self, process):
        self.process = process

    def tell(self, order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def nodes(tmp_path):
    with bridged_nodes(tmp_path) as nodes:
        for node, address in (("a", A2), ("a", A3), ("b", B2)):
            nodes.run(node, f"ip address add {address}/64 dev eth0 nodad preferred_lft 0")
        yield nodes


@contextmanager
def plane(nodes, node):
    argv = nodes.command(node, [sys.executable, str(HERE / "data_plane_by_hand.py")])
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(HERE.parents[1])},
    ) as process:
        try:
            assert json.loads(process.stdout.readline()) == "ready"
            yield ByHand(process)
        finally:
            process.kill()


@contextmanager
def talk(nodes, node, program, *arguments):
    """A program in a node that is told and says lines."""
    argv = nodes.command(node, [sys.executable, "-c", program, *map(str, arguments)])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Talk(process)
        finally:
            process.kill()


class Talk:
    def __init__(self, process):
        self.process = process

    def ask(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self):
        return self.process.stdout.readline().strip()


UDP_SERVER = """
import socket, sys
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 7000))
print("bound", flush=True)
while True:
    data, peer = server.recvfrom(65535)
    server.sendto(f"{peer[0]} {peer[1]} {len(data)}".encode(), peer)
"""

CLIENT = """
import socket, sys
kind, local, port, remote = sys.argv[1:]
client = socket.socket(socket.AF_INET6, getattr(socket, kind))
if local != "-":
    client.bind((local, int(port)))
client.settimeout(1)
client.connect((remote, 7000))
print(*client.getsockname()[:2], flush=True)
for line in sys.stdin:
    try:
        client.send(b"x" * int(line or 1))
        print(client.recv(65535).decode(), flush=True)
    except OSError as error:
        print(type(error).__name__, error, flush=True)
"""

TCP_SERVER = """
import socket
server = socket.socket(socket.AF_INET6)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("::", 7000))
server.listen()
print("bound", flush=True)
one, peer = server.accept()
while data := one.recv(65535):
    one.send(f"{peer[0]} {peer[1]} {len(data)}".encode())
"""


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


def hopped(protocol, port, *, local=A2, remote=B, own=(A, B), **more):
    """The rewriting at ``a`` of its flow to port 7000 of ``b``, which is now at ``local``."""
    server = port if protocol == ICMPV6 else 7000
    wire = [[local, port], [remote, server]]
    return {"flow": [protocol, [own[0], port], [own[1], server]], "out": wire, "accepted": [wire], **more}


def mirrored(one):
    """The same flow's rewriting at the other end."""
    swap = lambda path: path[::-1]  # noqa: E731
    flow = one["flow"]
    return {
        **one,
        "flow": [flow[0], flow[2], flow[1]],
        "out": swap(one["out"]),
        "accepted": [swap(path) for path in one["accepted"]],
    }


@contextmanager
def both(nodes):
    with plane(nodes, "a") as a, plane(nodes, "b") as b:
        yield a, b


def rewrite(planes, one):
    for hand, order in zip(planes, (one, mirrored(one)), strict=True):
        assert hand.tell({"rewrite": [order]}) is None


@pytest.mark.parametrize(
    ("kind", "server", "protocol"), [("SOCK_DGRAM", UDP_SERVER, UDP), ("SOCK_STREAM", TCP_SERVER, TCP)]
)
@pytest.mark.parametrize("neighbours", [True, False])
def test_a_flow_goes_on_at_other_addresses_and_ports_of_both_ends(nodes, kind, server, protocol, neighbours):
    with both(nodes) as planes, talk(nodes, "b", server) as service:
        assert service.hear() == "bound"
        if neighbours:
            tell_neighbours(planes)
        with talk(nodes, "a", CLIENT, kind, "-", 0, B) as client:
            port = client.hear().split()[1]
            assert client.ask("10") == f"{A} {port} 10"
            rewrite(planes, hopped(protocol, int(port)))
            assert client.ask("11") == f"{A} {port} 11"
            rewrite(planes, hopped(protocol, int(port), local=A3, remote=B2))
            assert client.ask("12") == f"{A} {port} 12"
            moved = hopped(protocol, int(port), local=A3, remote=B2)
            moved["out"] = [[A3, 40_000], [B2, 50_000]]
            moved["accepted"] = [moved["out"]]
            moved["flow_label"] = 0x2345
            rewrite(planes, moved)
            assert client.ask("13") == f"{A} {port} 13"
            nodes.run("a", f"ip -6 route add local {A} dev lo table local")
            nodes.run("a", f"ip address del {A}/64 dev eth0")
            assert planes[0].tell({"retire": A}) is None
            assert client.ask("14") == f"{A} {port} 14"


def test_segments_behind_an_extension_header_go_on_at_other_addresses_too(nodes):
    options = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # six octets of padding
    client = CLIENT.replace("client.settimeout", f"client.setsockopt(41, 59, {options})\nclient.settimeout")
    with both(nodes) as planes, talk(nodes, "b", TCP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", client, "SOCK_STREAM", "-", 0, B) as sender:
            port = sender.hear().split()[1]
            rewrite(planes, hopped(TCP, int(port), local=A3, remote=B2))
            with sniffer(nodes) as following:
                assert sender.ask("10") == f"{A} {port} 10"
                segment = following(lambda packet: packet.nh == 60 and packet[IPv6ExtHdrDestOpt].nh == TCP)
            assert addresses(segment) == (A3, B2)


def test_thousands_of_flows_hop_in_one_transaction_and_more_than_there_is_room_for_are_refused(nodes):
    with both(nodes) as planes, talk(nodes, "b", TCP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, "SOCK_STREAM", A, 5000, B) as client:
            assert client.hear() == f"{A} 5000"
            planes[1].tell({"rewrite": [mirrored(hopped(TCP, 5000))]})
            for first in range(0, MOST_REWRITTEN, 4096):
                flows = [hopped(TCP, port) for port in range(first, first + 4096)]
                assert planes[0].tell({"rewrite": flows}) is None
            assert client.ask("10") == f"{A} 5000 10"
            refused = planes[0].tell({"rewrite": [hopped(TCP, 40_000)]})
            assert "as many elements as it may have" in refused["error"]
            assert client.ask("11") == f"{A} 5000 11"


def tell_neighbours(planes):
    for hand in planes:
        assert hand.tell({"neighbours": ["fd68:6f70:6264:1::/64"]}) is None


def test_packets_are_routed_anew_only_where_another_address_may_have_another_route(nodes):
    def kind():
        return re.search(r"type (\w+) hook output", nodes.run("a", "nft list chain ip6 hopbed_hop outgoing"))[
            1
        ]

    with plane(nodes, "a") as a:
        a.tell({"neighbours": ["fd68:6f70:6264:1::/64"]})
        a.tell({"rewrite": [hopped(TCP, 5000, remote=B2), hopped(TCP, 5001, remote=FAR, own=(A, FAR))]})
        assert kind() == "filter"
        a.tell({"rewrite": [hopped(TCP, 5002, remote=B2, own=(A, FAR))]})
        assert kind() == "route"


def test_a_path_mtu_of_the_first_addresses_does_not_keep_packets_with_their_next_hop(nodes):
    """The kernel's note of it names the first address as next hop, at which nobody is any more."""
    with both(nodes) as planes, talk(nodes, "b", UDP_SERVER) as service:
        assert service.hear() == "bound"
        tell_neighbours(planes)
        with talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
            port = client.hear().split()[1]
            rewrite(planes, hopped(UDP, int(port), remote=B2))
            assert client.ask("10") == f"{A} {port} 10"
            planes[0].tell({"mtu": [A, B, 1400]})
            nodes.run("b", f"ip -6 route add local {B} dev lo table local")
            nodes.run("b", f"ip address del {B}/64 dev eth0")
            planes[1].tell({"retire": B})
            planes[1].tell({"choose": [[[UDP, [B, 7000], [A, int(port)]]], [B, B2]]})
            nodes.run("a", "ip -6 neigh flush dev eth0")
            assert client.ask("11").endswith("timed out")
            planes[0].tell("reroute")
            assert client.ask("12") == f"{A} {port} 12"


STATEFUL = """
table ip6 firewall {
    chain incoming {
        type filter hook input priority filter; policy drop;
        ct state established accept
        meta l4proto icmpv6 accept
    }
    chain outgoing {
        type filter hook output priority filter; policy drop;
        ct state new,established accept
        meta l4proto icmpv6 accept
    }
}
"""


@pytest.mark.parametrize(
    ("kind", "server", "protocol"), [("SOCK_DGRAM", UDP_SERVER, UDP), ("SOCK_STREAM", TCP_SERVER, TCP)]
)
def test_a_stateful_firewall_sees_one_connection_whatever_the_wire_bears(nodes, kind, server, protocol):
    subprocess.run(nodes.command("a", ["nft", "-f", "-"]), input=STATEFUL, text=True, check=True)
    with both(nodes) as planes, talk(nodes, "b", server) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, kind, A, 0, B) as client:
            port = client.hear().split()[1]
            assert client.ask("10") == f"{A} {port} 10"
            rewrite(planes, hopped(protocol, int(port)))
            assert client.ask("11") == f"{A} {port} 11"
            rewrite(planes, hopped(protocol, int(port), local=A3, remote=B2))
            assert client.ask("12") == f"{A} {port} 12"


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


WITH_AN_OPTION = CLIENT.replace(
    "client.settimeout(1)\n",
    "client.settimeout(1)\nclient.setsockopt(41, 59, bytes.fromhex('00001e0400000000'))  # IPV6_DSTOPTS\n",
)
"""Its datagrams have an option before them of the type that messages have."""

TELLING_SERVER = UDP_SERVER.replace(
    "    server.sendto(", "    print(len(data), flush=True)\n    server.sendto("
)
"""It says what it gets, answered or not."""


def test_an_option_like_a_messages_opens_no_way_to_a_retired_address(nodes):
    with both(nodes) as planes, talk(nodes, "a", TELLING_SERVER) as service:
        assert service.hear() == "bound"
        assert_retired_address_is_silent(nodes, planes[0], WITH_AN_OPTION)
        assert [service.hear(), service.hear()] == ["10", "12"]


def test_a_path_of_its_own_that_is_closed_is_no_longer_accepted(nodes):
    with both(nodes) as planes, talk(nodes, "b", UDP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
            port = client.hear().split()[1]
            order = mirrored(hopped(UDP, int(port), remote=B))
            planes[1].tell({"rewrite": [{**order, "dropped": True}]})
            assert client.ask("10").startswith("TimeoutError")  # A still speaks from its first address
            planes[0].tell({"rewrite": [hopped(UDP, int(port), remote=B)]})
            assert client.ask("11") == f"{A} {port} 11"


def test_whatever_address_the_kernel_chooses_a_flow_without_a_connection_is_one(nodes):
    loose = """
import socket, sys
client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
client.bind(("::", 0))
client.settimeout(1)
print(client.getsockname()[1], flush=True)
for line in sys.stdin:
    client.sendto(b"x", (sys.argv[1], 7000))
    print(client.recv(1000).decode(), flush=True)
"""
    with both(nodes) as planes, talk(nodes, "b", UDP_SERVER) as service:
        assert service.hear() == "bound"
        planes[0].tell({"learn": [f"{B}/128"]}), planes[1].tell({"learn": [f"{A}/128"]})
        with talk(nodes, "a", loose, B) as client:
            port = int(client.hear())
            assert client.ask() == f"{A} {port} 1"
            assert planes[0].tell("learned") == [[UDP, [A, port], [B, 7000]]] * 2  # sent and received
            assert planes[1].tell("learned") == [[UDP, [B, 7000], [A, port]]] * 2
            planes[0].tell({"choose": [[[UDP, [A, port], [B, 7000]]], [A, A2]]})
            nodes.run("a", f"ip address change {A}/64 dev eth0 preferred_lft 0")
            nodes.run("a", f"ip address change {A2}/64 dev eth0 preferred_lft forever")
            assert client.ask() == f"{A} {port} 1"
            rewrite(planes, hopped(UDP, port))
            assert client.ask() == f"{A} {port} 1"


def test_the_table_outlives_its_program_and_the_next_one_takes_it_up(nodes):
    with plane(nodes, "b") as b, talk(nodes, "b", UDP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
            port = client.hear().split()[1]
            order = hopped(UDP, int(port), remote=B2)
            b.tell({"rewrite": [mirrored(order)]})
            with plane(nodes, "a") as a:
                assert a.tell("found") is False
                a.tell({"rewrite": [order]})
            assert client.ask("10") == f"{A} {port} 10"
            with plane(nodes, "a") as a:
                assert a.tell("found") is True
                a.tell({"take_up": [order]})
                assert client.ask("11") == f"{A} {port} 11"
                b.tell({"take_up": []}), a.tell({"take_up": []})
                assert client.ask("12") == f"{A} {port} 12"


def test_a_table_that_is_not_what_it_was_taken_for_is_mended(nodes):
    """A duplicate or a missing element makes the kernel refuse the whole change; it is not left half done."""
    with both(nodes) as planes, talk(nodes, "b", UDP_SERVER) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, "SOCK_DGRAM", A, 0, B) as client:
            port = client.hear().split()[1]
            rewrite(planes, hopped(UDP, int(port), remote=B2))
            nodes.run("a", "nft flush map ip6 hopbed_hop out")
            nodes.run("b", "nft flush map ip6 hopbed_hop in")
            rewrite(planes, hopped(UDP, int(port), local=A3, remote=B2))
            assert client.ask("11") == f"{A} {port} 11"
