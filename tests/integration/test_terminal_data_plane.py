"""The rewriting of packets in the kernel: live sockets keep their addresses while the wire carries others."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from bridged_nodes import ADDRESSES, bridged_nodes

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
A, B = ADDRESSES["a"], ADDRESSES["b"]
A2, A3, B2 = "fd68:6f70:6264:1::a2", "fd68:6f70:6264:1::a3", "fd68:6f70:6264:1::b2"
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
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(HERE.parents[1])}
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


@contextmanager
def sniffer(nodes, *filter_):
    """tcpdump at the bridge; the value is called for the lines so far."""
    argv = nodes.command("bridge", ["tcpdump", "-l", "-n", "-i", "br0", *filter_])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while "listening on" not in process.stderr.readline():
                pass
            yield process
        finally:
            process.kill()


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


@pytest.mark.parametrize(("kind", "server", "protocol"), [("SOCK_DGRAM", UDP_SERVER, UDP), ("SOCK_STREAM", TCP_SERVER, TCP)])
def test_a_flow_goes_on_at_other_addresses_and_ports_of_both_ends(nodes, kind, server, protocol):
    with both(nodes) as planes, talk(nodes, "b", server) as service:
        assert service.hear() == "bound"
        with talk(nodes, "a", CLIENT, kind, "-", 0, B) as client:
            address, port = client.hear().split()
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
