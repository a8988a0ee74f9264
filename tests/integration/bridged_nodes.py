"""Two nodes on a bridge, for tests that need real frames but no testbed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from held_namespaces import HeldNamespaces, held_namespaces

from orchestrator.runtimes.base import BRIDGE

ADDRESSES = {"a": "fd68:6f70:6264:1::a", "b": "fd68:6f70:6264:1::b"}
PLACES = (BRIDGE, *ADDRESSES)

_SENDER = """
import socket, sys
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
receiver = socket.getaddrinfo(sys.argv[1], 9)[0][4]
for line in sys.stdin.buffer:
    sender.sendto(line.strip(), receiver)
    print("sent", flush=True)
"""


class BridgedNodes(HeldNamespaces):
    """The nodes ``a`` and ``b`` and their bridge, as a runtime offers them to captures."""

    name = "bridged"

    def bridge_interface(self) -> str:
        return "br0"

    @contextmanager
    def sender(self, node: str, *, to: str | None = None) -> Iterator[Sender]:
        """What sends UDP packets from a node, by default to the other one."""
        other = to or ADDRESSES["b" if node == "a" else "a"]
        with subprocess.Popen(
            self.command(node, [sys.executable, "-c", _SENDER, other]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            yield Sender(process)

    @contextmanager
    def second_interface(self, node: str) -> Iterator[str]:
        """A second interface in a node, up, whose other end is in the same node."""
        self.run(node, "ip link add other type veth peer name far")
        self.run(node, "ip address add fd00:2::1/64 dev other nodad")
        self.run(node, "ip link set far up")
        self.run(node, "ip link set other up")
        self.wait_for_carrier(node, "other")
        yield "other"
        subprocess.run(self.command(node, ["ip", "link", "del", "far"]), check=False, capture_output=True)


class Sender:
    """Sends packets one by one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def send(self, *payloads: str) -> None:
        """Send packets with these payloads; they are on their way when it returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for payload in payloads:
            self._process.stdin.write(payload.encode() + b"\n")
            self._process.stdin.flush()
            assert self._process.stdout.readline() == b"sent\n"


@contextmanager
def bridged_nodes(logs: Path) -> Iterator[BridgedNodes]:
    """Bring bridge and nodes up with :data:`ADDRESSES`; take them away at the end."""
    with held_namespaces(logs, PLACES) as holders:
        nodes = BridgedNodes(logs, holders)
        nodes.run(BRIDGE, "ip link add br0 address 02:00:00:00:00:ff type bridge mcast_snooping 0")
        nodes.run(BRIDGE, "ip link set br0 up")
        for node, address in ADDRESSES.items():
            peer = f"peer name eth0 netns {holders[node]}"
            nodes.run(BRIDGE, f"ip link add port-{node} type veth {peer}")
            nodes.run(BRIDGE, f"ip link set port-{node} master br0 up")
            nodes.run(node, f"ip address add {address}/64 dev eth0 nodad")
            nodes.run(node, "ip link set eth0 up")
        for node in ADDRESSES:
            nodes.wait_for_carrier(node, "eth0")
        with nodes.sender("a") as a, nodes.sender("b") as b:  # the neighbours know each other from now on
            a.send("hello")
            b.send("hello")
        yield nodes
