"""The rewriting of packets in the kernel: live sockets keep their addresses while the wire carries others."""

import re
import subprocess

import pytest
from planes_by_hand import (
    A2,
    A3,
    B2,
    CLIENT,
    FAR,
    TCP,
    TCP_SERVER,
    UDP,
    UDP_SERVER,
    A,
    B,
    addressed_nodes,
    both,
    hopped,
    mirrored,
    plane,
    rewrite,
    talk,
    tell_neighbours,
)

pytestmark = pytest.mark.root


@pytest.fixture
def nodes(tmp_path):
    with addressed_nodes(tmp_path) as nodes:
        yield nodes


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
