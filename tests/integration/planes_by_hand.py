"""Two nodes whose data planes take orders from a test, and live sockets that talk between them."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from bridged_nodes import ADDRESSES, bridged_nodes

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


@contextmanager
def addressed_nodes(tmp_path):
    """The nodes, each with addresses to hop to."""
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
def both(nodes):
    with plane(nodes, "a") as a, plane(nodes, "b") as b:
        yield a, b


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


def rewrite(planes, one):
    for hand, order in zip(planes, (one, mirrored(one)), strict=True):
        assert hand.tell({"rewrite": [order]}) is None


def tell_neighbours(planes):
    for hand in planes:
        assert hand.tell({"neighbours": ["fd68:6f70:6264:1::/64"]}) is None


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


WITH_AN_OPTION = CLIENT.replace(
    "client.settimeout(1)\n",
    "client.settimeout(1)\nclient.setsockopt(41, 59, bytes.fromhex('00001e0400000000'))  # IPV6_DSTOPTS\n",
)
"""Its datagrams have an option before them of the type that messages have."""
