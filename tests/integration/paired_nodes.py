"""Two nodes joined by a veth pair, for tests that need real packets but no testbed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from held_namespaces import HeldNamespaces, held_namespaces

ADDRESSES = {
    "a": ipaddress.IPv6Address("fd68:6f70:6264:1::a"),
    "b": ipaddress.IPv6Address("fd68:6f70:6264:1::b"),
}

MACS = {"a": "02:00:00:00:00:0a", "b": "02:00:00:00:00:0b"}


class PairedNodes(HeldNamespaces):
    """The nodes ``a`` and ``b``, as a runtime offers them to the flows."""

    name = "paired"

    def pid(self, program: str, log: str) -> int:
        """The process that runs ``program`` with this log."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    argv = (entry / "cmdline").read_bytes().decode().split("\0")
                except OSError:
                    continue
                if program in argv and f"--log=/run/hopbed/log/{log}" in argv:
                    return int(entry.name)
        raise LookupError(f"no {program} with the log {log}")


@contextmanager
def paired_nodes(logs: Path) -> Iterator[PairedNodes]:
    """Bring both nodes up, joined, with :data:`ADDRESSES`; take them away at the end."""
    with held_namespaces(logs, tuple(ADDRESSES)) as holders:
        nodes = PairedNodes(logs, holders)
        nodes.run("a", f"ip link add wire type veth peer name wire netns {holders['b']}")
        for node, address in ADDRESSES.items():
            nodes.run(node, "sysctl -qw net.ipv6.conf.wire.keep_addr_on_down=1")
            nodes.run(node, f"ip address add {address}/64 dev wire nodad")
            nodes.run(node, f"ip link set wire address {MACS[node]} up")
        for node, other in (("a", "b"), ("b", "a")):
            nodes.run(node, f"ip neighbor add {ADDRESSES[other]} lladdr {MACS[other]} dev wire")
            nodes.wait_for_carrier(node, "wire")
        yield nodes
