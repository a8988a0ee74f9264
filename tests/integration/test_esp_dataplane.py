"""Both data planes of the IKEv1 endpoint with real packets, against each other and against scapy's ESP."""

import base64
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from ipaddress import IPv6Address, IPv6Network

import msgspec
import pytest
from dataplane_end import Died, Refused, dataplane_end
from esp_wire import esp_wire
from paired_nodes import ADDRESSES, paired_nodes
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation

from nodes.esp.sa import EspSa, Limits, Policy
from nodes.ike.dataplane.base import IkeDatagram

INNER = {"a": IPv6Address("fd68:6f70:6264:a::1"), "b": IPv6Address("fd68:6f70:6264:b::1")}
PREFIX = {node: IPv6Network(f"{address}/128") for node, address in INNER.items()}
SPIS = {"a": 0x1000A, "b": 0x1000B}
"""Of what each node receives."""
KEYS = {"a": b"A", "b": b"B"}

WAYS = {
    "gcm, in UDP": {},
    "gcm, plain": {"encap": None},
    "gcm, in UDP, esn": {"esn": True},
    "cbc, in UDP": {"encryption": "aes-cbc"},
    "cbc, plain, esn": {"encryption": "aes-cbc", "encap": None, "esn": True},
}


@pytest.fixture
def nodes(tmp_path):
    with paired_nodes(tmp_path) as pair:
        for node, address in INNER.items():
            pair.run(node, f"ip address add {address}/128 dev lo nodad")
            other = "b" if node == "a" else "a"
            pair.run(node, f"ip route add default via {ADDRESSES[other]} dev wire")
        yield pair


IN_THE_KERNEL = pytest.param("kernel", marks=pytest.mark.stock_kernel("kernel ESP"))


@pytest.fixture(params=["userspace", IN_THE_KERNEL])
def plane(request):
    """The name of each data plane in turn; a test is skipped where it does not work."""
    return request.param


def policy(node):
    other = "b" if node == "a" else "a"
    return Policy(
        reqid=7,
        local=ADDRESSES[node],
        remote=ADDRESSES[other],
        local_ts=PREFIX[node],
        remote_ts=PREFIX[other],
    )


def sa(node, receiver, number=0, **changes):
    """The half of the pair ``number`` that ``receiver`` receives under, as ``node`` installs it."""
    other = "b" if node == "a" else "a"
    key = KEYS[receiver] + bytes([number])
    settings = {"encryption": "aes-gcm-16", "encap": (4500, 4500), "esn": False, "limits": Limits()} | changes
    if settings["encryption"] == "aes-gcm-16":
        settings |= {"encryption_key": key * 8, "salt": key * 2}
    else:
        settings |= {"encryption_key": key * 8}
        settings |= {"integrity": "hmac-sha256-128", "integrity_key": key * 16}
    return EspSa(
        spi=SPIS[receiver] + 16 * number,
        local=ADDRESSES[node],
        remote=ADDRESSES[other],
        local_ts=PREFIX[node],
        remote_ts=PREFIX[other],
        reqid=7,
        **settings,
    )


def install(end, node, number=0, **changes):
    """Install a policy, if it is the first pair, and a pair of SAs."""
    end.do("install_policy", policy(node))
    end.do("install_inbound", sa(node, node, number, **changes))
    end.do("install_outbound", sa(node, "b" if node == "a" else "a", number, **changes))


def ping(nodes, node, count=3):
    other = "b" if node == "a" else "a"
    nodes.run(node, f"ping -6 -q -c {count} -i 0.01 -W 5 -I {INNER[node]} {INNER[other]}")


class Scapy:
    """The other node's end of a pair of SAs, by scapy."""

    def __init__(self, number=0, **changes):
        self.esn = changes.get("esn", False)
        self.encap = changes.get("encap", ()) is not None
        self._out = self._association("b", "a", number, changes)
        self._in = self._association("a", "b", number, changes)
        self.sequence = 0

    def _association(self, source, receiver, number, changes):
        half = sa("b", receiver, number, **changes)
        gcm = half.encryption == "aes-gcm-16"
        return SecurityAssociation(
            ESP,
            spi=half.spi,
            crypt_algo="AES-GCM" if gcm else "AES-CBC",
            crypt_key=half.encryption_key + half.salt,
            auth_algo=None if gcm else "SHA2-256-128",
            auth_key=None if gcm else half.integrity_key,
            tunnel_header=IPv6(src=str(ADDRESSES[source]), dst=str(ADDRESSES[receiver])),
            nat_t_header=UDP(sport=4500, dport=4500) if self.encap else None,
            esn_en=self.esn,
            esn=0,
        )

    def echo(self, number=1, source=INNER["b"], destination=INNER["a"]):
        """An ESP packet with an echo request to node a."""
        return self._sealed(
            IPv6(src=str(source), dst=str(destination)) / ICMPv6EchoRequest(id=77, seq=number)
        )

    def datagram(self, words):
        """An ESP packet with a UDP datagram to node a."""
        return self._sealed(IPv6(src=str(INNER["b"]), dst=str(INNER["a"])) / UDP(sport=9, dport=9) / words)

    def _sealed(self, inner):
        self.sequence += 1
        sealed = self._out.encrypt(IPv6(bytes(inner)), seq_num=self.sequence, esn_en=self.esn, esn=0)
        return bytes(sealed[ESP])

    def opened(self, packet):
        """The inner packet of an ESP packet from node a."""
        outer = IPv6(src=str(ADDRESSES["a"]), dst=str(ADDRESSES["b"]), nh=50) / ESP(packet)
        outer = IPv6(bytes(outer))
        self._in.nat_t_header = None
        return self._in.decrypt(outer, verify=True, esn_en=self.esn, esn=0)

    @property
    def way(self):
        return "udp" if self.encap else "esp"


@contextlib.contextmanager
def against_scapy(nodes, plane, **changes):
    """Node a with a data plane and a pair of SAs, node b's wire, and scapy."""
    with (
        dataplane_end(nodes, "a", plane) as end,
        esp_wire(nodes, "b", ADDRESSES["b"], ADDRESSES["a"]) as wire,
    ):
        yield end, wire, Scapy(**changes)


@pytest.mark.parametrize("way", WAYS)
def test_two_ends_understand_each_other(nodes, plane, way):
    with dataplane_end(nodes, "a", plane) as a, dataplane_end(nodes, "b", plane) as b:
        install(a, "a", **WAYS[way])
        install(b, "b", **WAYS[way])
        ping(nodes, "a")
        assert a.event("FirstPacket")["spi"] == SPIS["a"]
        assert b.event("FirstPacket")["spi"] == SPIS["b"]
        assert a.usage("out", SPIS["b"])["packets"] == b.usage("in", SPIS["b"])["packets"] == 3
        a.do("usage")
        assert a.event("FirstPacket", 0) is None  # once


@pytest.mark.parametrize("way", WAYS)
def test_scapy_and_we_understand_each_other(nodes, plane, way):
    with against_scapy(nodes, plane, **WAYS[way]) as (end, wire, scapy):
        install(end, "a", **WAYS[way])
        for number in range(1, 6):
            wire.send(scapy.way, scapy.echo(number))
            how, packet = wire.receive()
            reply = scapy.opened(packet)
            assert how == scapy.way
            assert reply[ICMPv6EchoReply].seq == number


def nothing_more(end, wire):
    """Whether nothing comes out of node a any more: it would come before the answer to an IKE message."""
    wire.send("udp", bytes(4) + b"are you done?")
    assert base64.b64decode(end.event("Ike")["octets"]) == b"are you done?"
    end.do("send_ike", IkeDatagram(b"yes", ADDRESSES["a"], ADDRESSES["b"], 4500))
    return wire.receive() == ("udp", bytes(4) + b"yes")


def test_a_packet_that_is_replayed_is_dropped(nodes, plane):
    with against_scapy(nodes, plane) as (end, wire, scapy):
        install(end, "a")
        packet = scapy.echo()
        wire.send("udp", packet)
        assert wire.receive() is not None
        wire.send("udp", packet)
        assert nothing_more(end, wire)
        used = end.usage("in", SPIS["a"])
        assert (used["packets"], used["replays"]) == (1, 1)


def test_a_wrong_tag_is_no_first_packet(nodes, plane):
    with against_scapy(nodes, plane) as (end, wire, scapy):
        install(end, "a")
        forged = bytearray(scapy.echo())
        forged[-1] ^= 1
        wire.send("udp", forged)
        assert nothing_more(end, wire)
        assert end.usage("in", SPIS["a"])["auth_failures"] == 1
        assert end.event("FirstPacket", 0) is None
        wire.send("udp", scapy.echo())
        assert wire.receive() is not None
        assert end.event("FirstPacket")["spi"] == SPIS["a"]


def test_an_inner_packet_from_elsewhere_is_dropped(nodes, plane):
    with against_scapy(nodes, plane) as (end, wire, scapy):
        install(end, "a")
        wire.send("udp", scapy.echo(source="fd68:6f70:6264:dead::1"))
        assert nothing_more(end, wire)
        wire.send("udp", scapy.echo())
        assert wire.receive() is not None


def test_what_waits_for_an_sa_that_is_installed_is_held_and_released(nodes, plane):
    with against_scapy(nodes, plane) as (end, wire, scapy):
        end.do("install_policy", policy("a"))
        end.do("install_inbound", sa("a", "a"))
        send(nodes, "a", [f"packet {n}" for n in range(20)])
        assert nothing_more(end, wire)
        end.do("install_outbound", sa("a", "b"))
        words = [bytes(scapy.opened(wire.receive()[1])[UDP].payload) for _ in range(20)]
        assert words == [f"packet {n}".encode() for n in range(20)]
        assert end.event("NoSa", 0) is None


def test_what_is_sent_in_one_call_is_many_packets_on_the_wire(nodes):
    with against_scapy(nodes, "userspace") as (end, wire, scapy), frames(nodes, "b") as seen:
        end.do("install_policy", policy("a"))
        end.do("install_inbound", sa("a", "a"))
        send(nodes, "a", ["x" * 1200] * 20)
        assert nothing_more(end, wire)
        end.do("install_outbound", sa("a", "b"))
        words = [bytes(scapy.opened(wire.receive()[1])[UDP].payload) for _ in range(20)]
        assert words == [b"x" * 1200] * 20
        assert [size for size in seen() if size > 1200] == [40 + 8 + 16 + 48 + 1200 + 2 + 16 + 2] * 20


def test_the_newest_outbound_sa_is_in_use_and_the_older_takes_over_again(nodes, plane):
    with against_scapy(nodes, plane) as (end, wire, _):
        install(end, "a")

        def spi_in_use():
            send(nodes, "a", ["x"])
            return int.from_bytes(wire.receive()[1][:4], "big")

        assert spi_in_use() == SPIS["b"]
        end.do("install_outbound", sa("a", "b", 1))
        assert spi_in_use() == SPIS["b"] + 16
        end.do("remove_outbound", SPIS["b"] + 16)
        assert spi_in_use() == SPIS["b"]
        end.do("remove_outbound", SPIS["b"] + 16)  # again: nothing happens


def test_limits_are_told_once_and_a_hard_one_ends_the_sa(nodes, plane):
    limits = Limits(soft_packets=3, hard_packets=6)
    with against_scapy(nodes, plane) as (end, wire, scapy):
        end.do("install_policy", policy("a"))
        end.do("install_inbound", sa("a", "a", limits=limits))
        end.do("install_outbound", sa("a", "b"))
        for number in range(1, 7):
            wire.send("udp", scapy.echo(number))
            assert scapy.opened(wire.receive()[1])[ICMPv6EchoReply].seq == number
        wire.send("udp", scapy.echo(7))
        assert nothing_more(end, wire)
        for severity in ("soft", "hard"):
            told = end.event("LimitReached")
            assert (told["spi"], told["direction"]) == (SPIS["a"], "in")
            assert (told["unit"], told["severity"]) == ("packets", severity)
        assert end.event("LimitReached", 0) is None


def test_without_an_sa_plaintext_stays_home_and_is_told_of(nodes, plane):
    with dataplane_end(nodes, "a", plane) as end:
        end.do("install_policy", policy("a"))
        with plaintext(nodes, "b") as seen:
            send(nodes, "a", ["secret"] * 20)
            told = end.event("NoSa")
            assert (told["reqid"], told["src"], told["dst"]) == (7, str(INNER["a"]), str(INNER["b"]))
            end.do("remove_policy", 7)
            send(nodes, "a", ["no secret"])  # no policy any more: it goes by the default route
            assert seen() == ["no secret"]


def test_cleartext_that_a_policy_protects_is_dropped(nodes, plane):
    with dataplane_end(nodes, "a", plane) as end, listening(nodes, "a") as heard:
        send(nodes, "b", ["before"])
        assert heard() == "before"
        install(end, "a")
        send(nodes, "b", ["in clear"] * 20)
        end.do("remove_policy", 7)
        send(nodes, "b", ["after"])
        assert heard() == "after"


def test_cleartext_is_kept_out_beside_traffic_that_is_sealed(nodes, plane):
    with against_scapy(nodes, plane) as (end, wire, scapy), listening(nodes, "a") as heard:
        install(end, "a")
        send(nodes, "b", ["in clear"])
        wire.send("udp", scapy.datagram(b"sealed"))
        assert heard() == "sealed"


def test_when_the_esp_program_dies_cleartext_is_kept_out_still(nodes):
    with listening(nodes, "a") as heard:
        with pytest.raises(Died), dataplane_end(nodes, "a", "userspace") as end:
            install(end, "a")
            os.kill(esp_program(nodes), signal.SIGKILL)
            end.event("NoSa")
        send(nodes, "b", ["in clear"] * 20)
        with dataplane_end(nodes, "a", "userspace") as end:  # takes up what the first one left
            install(end, "a")
            send(nodes, "b", ["in clear"])
            end.do("remove_policy", 7)
            send(nodes, "b", ["after"])
            assert heard() == "after"


def test_the_same_spi_or_policy_again_is_refused(nodes, plane):
    with dataplane_end(nodes, "a", plane) as end:
        install(end, "a")
        with pytest.raises(Refused, match="0001000a is installed already"):
            end.do("install_inbound", sa("a", "a"))
        end.do("install_policy", policy("a"))  # the same: nothing happens
        with pytest.raises(Refused, match="reqid 7 is that of another policy"):
            end.do("install_policy", msgspec.structs.replace(policy("a"), remote_ts=IPv6Network("fd99::/64")))


def test_ike_messages_pass_beside_esp(nodes, plane):
    with against_scapy(nodes, plane) as (end, wire, scapy):
        install(end, "a")
        wire.send("udp", bytes(4) + b"an IKE message")
        wire.send("udp", b"\xff")  # a NAT-keepalive
        came = end.event("Ike")
        assert base64.b64decode(came["octets"]) == b"an IKE message"
        ends = (came["local"], came["remote"], came["remote_port"])
        assert ends == (str(ADDRESSES["a"]), str(ADDRESSES["b"]), 4500)
        answer = IkeDatagram(b"its answer", ADDRESSES["a"], ADDRESSES["b"], 4500)
        end.do("send_ike", answer)
        assert wire.receive() == ("udp", bytes(4) + b"its answer")
        wire.send("udp", scapy.echo())
        assert wire.receive() is not None


def test_a_transfer_by_tcp_arrives_whole(nodes, plane):
    with dataplane_end(nodes, "a", plane) as a, dataplane_end(nodes, "b", plane) as b:
        install(a, "a")
        install(b, "b")
        argv = nodes.command("b", [sys.executable, "-c", _TAKE, str(INNER["b"])])
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as taker:
            assert taker.stdout.readline() == "ready\n"
            sent = nodes.run("a", f"{sys.executable} -c '{_GIVE}' {INNER['a']} {INNER['b']}")
            assert taker.stdout.readline() == sent
        statistics = nodes.run("b", "nstat -az TcpInCsumErrors")
        assert statistics.split()[-2] == "0"


def test_the_end_of_the_program_leaves_nothing(nodes, plane):
    before = {node: kernel_state(nodes, node) for node in "ab"}
    with dataplane_end(nodes, "a", plane) as end:
        install(end, "a")
        assert kernel_state(nodes, "a") != before["a"]
    assert kernel_state(nodes, "a") == before["a"]
    assert nodes.still_there() == []


def test_whoever_kills_the_agent_kills_the_esp_program(nodes):
    with contextlib.suppress(BrokenPipeError), dataplane_end(nodes, "a", "userspace") as end:
        install(end, "a")
        assert any("nodes.esp" in line for line in nodes.still_there())
        end.process.kill()
        end.process.wait()
        deadline = time.monotonic() + 5
        while nodes.still_there() and time.monotonic() < deadline:
            os.sched_yield()
        assert nodes.still_there() == []
        with plaintext(nodes, "b") as seen:
            send(nodes, "a", ["secret"] * 20)
            assert seen() == []  # the route that swallows outlives them all


def test_when_the_esp_program_dies_the_agent_is_told_and_plaintext_stays_home(nodes):
    with pytest.raises(Died, match="ended with status -9"), dataplane_end(nodes, "a", "userspace") as end:
        install(end, "a")
        with plaintext(nodes, "b") as seen:
            os.kill(esp_program(nodes), signal.SIGKILL)
            send(nodes, "a", ["secret"] * 20)
            assert seen() == []
        end.event("NoSa")


def test_no_key_is_on_a_command_line(nodes):
    with dataplane_end(nodes, "a", "userspace") as end:
        install(end, "a")
        lines = " ".join(nodes.still_there()).encode()
        for key in (sa("a", "a").encryption_key, sa("a", "b").encryption_key):
            assert not any(form in lines for form in (key, key.hex().encode(), base64.b64encode(key)))


_TAKE = """
import hashlib, socket, sys
listener = socket.create_server((sys.argv[1], 7), family=socket.AF_INET6)
print("ready", flush=True)
connection, _ = listener.accept()
digest = hashlib.sha256()
while data := connection.recv(1 << 20):
    digest.update(data)
print(digest.hexdigest())
"""
_GIVE = """
import hashlib, os, socket, sys
connection = socket.create_connection((sys.argv[2], 7), source_address=(sys.argv[1], 0))
data = os.urandom(8 << 20)
connection.sendall(data)
connection.close()
print(hashlib.sha256(data).hexdigest())
"""
_SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sender.bind((sys.argv[1], 0))
for word in sys.argv[3:]:
    sender.sendto(word.encode(), (sys.argv[2], 9))
"""
_HEAR = """
import socket, sys
listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
listener.bind((sys.argv[1], 9))
print("ready", flush=True)
while True:
    print(listener.recv(65536).decode(), flush=True)
"""
_SEE = """
import json, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
wire.bind(("wire", 3))
print("ready", flush=True)
inner, words, sizes = socket.inet_pton(socket.AF_INET6, sys.argv[1]), [], []
while True:
    packet = wire.recv(65536)
    if packet[:1] and packet[0] >> 4 == 6 and packet[6] == 17:
        if packet[48:] == b"that was all":
            break
        sizes.append(len(packet))
        if packet[24:40] == inner:
            words.append(packet[48:].decode())
print(json.dumps([words, sizes]))
"""


def send(nodes, node, words):
    """Send UDP datagrams with these words from a node's inner address to the other's."""
    other = "b" if node == "a" else "a"
    argv = [sys.executable, "-c", _SEND, str(INNER[node]), str(INNER[other]), *words]
    subprocess.run(nodes.command(node, argv), check=True)


@contextlib.contextmanager
def wire_of(nodes, node):
    """The UDP packets that come to a node's wire: words in clear for its inner address, and all sizes."""
    other = "b" if node == "a" else "a"
    argv = nodes.command(node, [sys.executable, "-c", _SEE, str(INNER[node])])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"

        def seen():
            argv = [sys.executable, "-c", _SEND, str(ADDRESSES[other]), str(ADDRESSES[node]), "that was all"]
            subprocess.run(nodes.command(other, argv), check=True)
            return json.loads(process.stdout.readline())

        yield seen


@contextlib.contextmanager
def plaintext(nodes, node):
    """What comes to a node's wire in clear for its inner address; the value is called to hear it."""
    with wire_of(nodes, node) as seen:
        yield lambda: seen()[0]


@contextlib.contextmanager
def frames(nodes, node):
    """The sizes of the UDP packets that come to a node's wire; the value is called to hear them."""
    with wire_of(nodes, node) as seen:
        yield lambda: seen()[1]


@contextlib.contextmanager
def listening(nodes, node):
    """A UDP socket at a node's inner address; the value is called for the next words that it got."""
    argv = nodes.command(node, [sys.executable, "-c", _HEAR, str(INNER[node])])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield lambda: process.stdout.readline().strip()
        finally:
            process.kill()


def kernel_state(nodes, node):
    """Devices, routes, rules, states and policies of a node."""
    commands = ("ip -br link", "ip -6 route", "ip -br address", "nft list ruleset")
    parts = [nodes.run(node, command) for command in commands]
    argv = nodes.command(node, ["sh", "-c", "ip xfrm state; ip xfrm policy"])
    parts.append(subprocess.run(argv, capture_output=True, text=True, check=False).stdout)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest(), parts


def esp_program(nodes):
    """The process id of the ESP program in node a."""
    (pid,) = [
        int(line) for line in nodes.run("a", "pgrep -f nodes.es[p]").split() if in_node(nodes, int(line))
    ]
    return pid


def in_node(nodes, pid):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink(f"/proc/{nodes.holders['a']}/ns/net")
    return False
