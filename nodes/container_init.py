"""What a container does before it becomes a node: gives its interface the run's DAD policy.

``python -m nodes.container_init COMMAND...`` with the policy in HOPBED_DAD, as root with NET_ADMIN. Docker
adds its own address without duplicate address detection and leaves the link-local address to the kernel,
whatever the run's policy is; and on an internal network some engines still set an IPv6 default route, by
which nodes of different runs would meet in the host. Once the interface is as it should be this says
``node.up`` and becomes COMMAND.

It asks iproute2, for every node of a testbed starts at the same time, and importing pyroute2 alone would
take each of them 150 ms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

from nodes import INTERFACE

FLAGS = {"nodad": ["nodad"], "optimistic": ["optimistic"], "full": []}
"""What ``ip address add`` is told under each policy."""


class Refused(Exception):
    """The kernel refused a change, or an address is a duplicate."""


def settle(interface: str, dad: str) -> None:
    """Give every address of ``interface`` the policy ``dad``, and wait until each is usable.

    So is an optimistic one only when its detection is over: until then the kernel asks for no neighbour with
    it (RFC 4429 §3.3), and a router, by which it would go on, is not here.

    Raises:
        Refused: the kernel refused, or an address is a duplicate.
    """
    monitor = ["ip", "-6", "monitor", "address", "dev", interface]
    with subprocess.Popen(monitor, stdout=subprocess.PIPE, text=True) as changes:
        assert changes.stdout is not None
        try:
            _ip("route", "del", "default", may_fail=True)
            for address in _addresses(interface):
                if dad == "nodad" and not address.get("tentative"):
                    continue  # it is in use already, as it should be
                _replace(interface, f"{address['local']}/{address['prefixlen']}", FLAGS[dad])
            while any(_is_tentative(address) for address in _addresses(interface)):
                changes.stdout.readline()
        finally:
            changes.kill()


def _replace(interface: str, address: str, flags: list[str]) -> None:
    """Remove an address and add it anew: the kernel judges flags only when it adds."""
    scope = ["scope", "link"] if address.startswith("fe80:") else []
    _ip("address", "del", address, "dev", interface)
    _ip("address", "add", address, "dev", interface, *scope, *flags)


def _addresses(interface: str) -> list[dict[str, Any]]:
    shown = json.loads(_ip("-json", "address", "show", "dev", interface))
    return [address for link in shown for address in link.get("addr_info", [])]


def _is_tentative(address: dict[str, Any]) -> bool:
    if address.get("dadfailed"):
        raise Refused(f"{address['local']} is in use on the bridge already (duplicate address detection)")
    return bool(address.get("tentative"))


def _ip(*words: str, may_fail: bool = False) -> str:
    done = subprocess.run(["ip", "-6", *words], capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        raise Refused(f"ip -6 {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _say(kind: str, **data: str) -> None:
    """Say an event as :mod:`nodes.program` does, without what that imports: 33 ms of 43 in each node."""
    node = os.environ.get("HOPBED_NODE", "")
    line = json.dumps({"time_ns": time.monotonic_ns(), "node": node, "kind": kind, "data": data})
    os.write(1, line.encode() + b"\n")


def main() -> None:
    """Settle the interface and become the command."""
    try:
        settle(INTERFACE, os.environ["HOPBED_DAD"])
        _say("node.up")
        os.execvp(sys.argv[1], sys.argv[1:])
    except (Refused, OSError) as error:
        _say("failed", type="NodeError", text=str(error))
        sys.exit(4)


if __name__ == "__main__":
    main()
